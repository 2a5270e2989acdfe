"""Decode damaged and hostile files by the thousand: python -m tests.images.fuzz LAST COUNT [FORMAT ...] prints JSON.

Every mutant is made from (format, number), so that one that fails can be made again: `mutant("PNG", 17)`.
"""

import collections
import functools
import io
import json
import random
import resource
import signal
import struct
import sys
import traceback
import zlib

import numpy as np
import tifffile
from PIL import Image, ImageCms

from tests.data.image_files import encode, picture
from uit_jax.data.check import _looked_at
from uit_jax.errors import UserError
from uit_jax.images import opening
from uit_jax.images.decode import Unreadable, decode
from uit_jax.images.encode import _deep_png
from uit_jax.images.opening import BYTES
from uit_jax.images.rasters import dimensions

MAX_PIXELS = 1_000_000
MEMORY = 2**30  # bytes of addresses beyond what is there when it begins
SECONDS = 20
_EXTREMES = (0, 1, 2, 3, 5, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63)


def originals() -> dict[str, list[bytes]]:
    """Return whole files of each format, in many of its ways."""
    colours = picture(0, 24, 20)
    colour, profile = Image.fromarray(colours), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray, palette, clear = colour.convert("L"), colour.quantize(16), colour.convert("RGBA")
    clear.putalpha(gray)

    def frames():  # Pillow's writers leave their options on images
        return dict(save_all=True, append_images=[colour.rotate(90), colour.rotate(180)])

    exif = Image.Exif()
    exif[274], exif[271] = 6, "someone"
    deep = np.random.default_rng(0).integers(0, 65536, (24, 20, 5), np.uint16)
    npy = io.BytesIO()
    np.save(npy, deep)
    tiffs = [
        dict(photometric="minisblack", planarconfig="contig", compression="zlib", predictor=True),
        dict(photometric="minisblack", planarconfig="contig", tile=(16, 16), compression="lzma"),
        dict(photometric="minisblack", planarconfig="separate"),
    ]
    made = []
    for options in tiffs:
        stream = io.BytesIO()
        stored = np.moveaxis(deep, -1, 0) if options["planarconfig"] == "separate" else deep
        tifffile.imwrite(stream, stored, metadata=None, **options)
        made.append(stream.getvalue())
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.moveaxis(deep, -1, 0), photometric="minisblack", metadata=None)
    made.append(stream.getvalue())
    ways = ("raw", "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
    compressed = [encode(colour, "TIFF", compression=way) for way in ways]
    found = {
        "JPEG": [
            encode(colour, "JPEG", icc_profile=profile, exif=exif), encode(gray, "JPEG"),
            encode(colour, "MPO", **frames()),
            encode(colour.convert("CMYK"), "JPEG"), encode(colour, "JPEG", progressive=True, quality=95),
        ],
        "PNG": [
            encode(colour, "PNG", icc_profile=profile, exif=exif), encode(palette, "PNG", transparency=3),
            encode(clear, "PNG"), encode(colour, "PNG", **frames()), encode(gray.convert("1"), "PNG"),
            _deep_png(deep[..., :3]), _deep_png(deep[..., :4]), _deep_png(deep[..., :2]), _deep_png(deep[..., :1]),
        ],
        "WEBP": [
            encode(colour, "WEBP", icc_profile=profile, exif=exif), encode(clear, "WEBP", lossless=True),
            encode(clear, "WEBP"), encode(colour, "WEBP", **frames()), encode(colour, "WEBP"),
        ],
        "BMP": [encode(each, "BMP") for each in (colour, gray, palette, clear, gray.convert("1"))],
        "TIFF": [*made, *compressed, encode(colour, "TIFF", **frames()), encode(gray.convert("1"), "TIFF",
                 compression="group4"), encode(clear, "TIFF", icc_profile=profile, exif=exif)],
        "GIF": [encode(palette, "GIF", transparency=2), encode(gray, "GIF"), encode(colour, "GIF", **frames())],
        "PPM": [encode(each, "PPM") for each in (colour, gray, gray.convert("1"), Image.fromarray(deep[..., 0]))]
        + [b"P3 2 2 255 " + b"1 2 3 " * 4, b"P1 3 2 101010", b"P2 2 2 7000 1 2 3 4"],
        "TGA": [encode(each, "TGA", **how) for each in (colour, gray, palette, clear)
                for how in ({}, {"compression": "tga_rle"})],
        "NPY": [npy.getvalue(), *(_npy(deep[..., :n].astype(np.uint8)) for n in (1, 3))],
    }  # fmt: skip
    Image.init()
    if "JPEG2000" in Image.SAVE:
        ways = ({}, {"no_jp2": True}, {"tile_size": (8, 8)})
        found["JPEG2000"] = [encode(each, "JPEG2000", **how) for each in (colour, clear, gray) for how in ways]
    if "AVIF" in Image.SAVE:
        found["AVIF"] = [encode(each, "AVIF") for each in (colour, clear)] + [encode(colour, "AVIF", **frames())]
    return found


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


ORIGINALS = originals()


def mutant(format: str, number: int) -> bytes:
    """Return a file of a format with one to three kinds of damage."""
    draw = random.Random(f"{format} {number}")
    data = bytearray(draw.choice(ORIGINALS[format]))
    for _ in range(draw.choice((1, 1, 2, 3))):
        if len(data) < 8:
            break
        draw.choice(_DAMAGES)(draw, data, ORIGINALS[format])
    return _mended(bytes(data)) if format == "PNG" and draw.random() < 0.8 else bytes(data)


def _mended(data: bytes) -> bytes:
    """Return a PNG with the checksums right, so that what is wrong is read."""
    place, found = 8, data[:8]
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        found += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return found + data[place:]


@functools.cache
def bombs() -> dict[str, bytes]:
    """Return small files that come to gigabytes, or would."""
    colour = Image.fromarray(picture(0, 24, 20))
    zeros = zlib.compress(bytes(2**28), 1)
    png, chunk = encode(colour, "PNG"), lambda kind, body: struct.pack(">I", len(body)) + kind + body + bytes(4)
    webp = bytearray(encode(colour.convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"))
    webp[24:30] = b"\xff\xff\x00" * 2
    stream, strip = io.BytesIO(), np.zeros((8, 8, 5), np.uint8)
    tifffile.imwrite(stream, iter([zeros]), shape=strip.shape, dtype=strip.dtype, compression="zlib", rowsperstrip=8,
                     photometric="minisblack", planarconfig="contig", metadata=None)  # fmt: skip
    gif = bytearray(encode(colour, "GIF"))
    gif[6:10] = b"\xff" * 4
    found = {
        "tiff": _tiff(25_000, 20_000, 5), "flat tiff": _tiff(2**31, 1, 5),
        "many samples": _tiff(10_000, 10_000, 60_000),
        "tiff strip": stream.getvalue(),
        "npy": _declared("(1000000, 1000000, 1)"), "npy channels": _declared("(1, 1, 999999999)"),
        "png": _mended(png[:16] + struct.pack(">II", 2**30, 2**30) + png[24:]),
        "png text": png[:33] + _mended(b"." * 8 + chunk(b"zTXt", b"a\0\0" + zeros))[8:] + png[33:],
        "png profile": png[:33] + _mended(b"." * 8 + chunk(b"iCCP", b"a\0\0" + zeros))[8:] + png[33:],
        "webp": bytes(webp), "gif": bytes(gif), "ppm": b"P6 100000 100000 255 ", "bmp": _sized("BMP", "<ii", 18),
        "tga": _sized("TGA", "<HH", 12, 2**16 - 1), "jpeg": _large_jpeg(),
    }  # fmt: skip
    for name, tile in (("tiles", 1), ("stream", 2**30)) if "JPEG2000" in ORIGINALS else ():
        data = bytearray(ORIGINALS["JPEG2000"][1])
        size = 20_000 if name == "stream" else 200
        struct.pack_into(">8I", data, 8, size, size, 0, 0, tile, tile, 0, 0)
        found[f"jpeg 2000 {name}"] = bytes(data)
    return found


def _sized(format: str, how: str, place: int, side: int = 2**30) -> bytes:
    data = bytearray(encode(Image.fromarray(picture(0)), format))
    struct.pack_into(how, data, place, side, side)
    return bytes(data)


def _large_jpeg() -> bytes:
    data = bytearray(encode(Image.fromarray(picture(0)), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65_500, 65_500)
    return bytes(data)


def _declared(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"abc"


def _tiff(width: int, height: int, samples: int) -> bytes:
    """Return a TIFF of one empty strip, whatever size it declares."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 0), (277, 3, samples)]
    tags += [(278, 4, height), (279, 4, 0), (284, 3, 1)]
    data = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, kind, value in tags:
        data += struct.pack("<HHI", tag, kind, 1) + value.to_bytes(4, "little")
    return data + struct.pack("<I", 0)


def _flip(draw, data, _):
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(draw, data, _):
    del data[draw.randrange(len(data)) :]


def _splice(draw, data, others):
    other = draw.choice(others)
    data[draw.randrange(len(data)) :] = other[draw.randrange(len(other)) :]


def _field(draw, data, _):
    """Put an extreme number where the header is likely to have one."""
    kind = draw.choice("BHIQ")
    place = draw.randrange(max(1, min(len(data), draw.choice((32, 64, 256, 10**6))) - struct.calcsize(kind)))
    value = draw.choice(_EXTREMES) % 256 ** struct.calcsize(kind)
    if place + struct.calcsize(kind) <= len(data):
        struct.pack_into(draw.choice("<>") + kind, data, place, value)


def _repeat(draw, data, _):
    start = draw.randrange(len(data))
    data[start:start] = data[start : start + draw.randrange(64)] * draw.choice((1, 3, 100))


def _words(draw, data, _):
    """Write other digits, for the headers that are text."""
    places = [i for i, byte in enumerate(data[:256]) if 48 <= byte < 58]
    if places:
        place = draw.choice(places)
        data[place : place + 1] = draw.choice((b"0", b"-1", b"99999", b"1e9", b"99999999999999999999", b"True", b"(1,"))


_DAMAGES = (_flip, _cut, _splice, _field, _field, _field, _repeat, _words)


def attempt(format: str, number: int) -> str:
    """Read a mutant in every way there is; return "accepted" or "refused". Raises what should not have been."""
    data, draw = mutant(format, number), random.Random(number)
    channels, depth = draw.choice((1, 3, 3, 3, 4, 5)), draw.choice((8, 8, 16))
    size = draw.choice((None, 16))
    outcome = "refused"
    try:
        image = decode(data, size=size, channels=channels, depth=depth, max_pixels=MAX_PIXELS)
        assert image.ndim == 3 and image.shape[-1] == channels and image.size, image.shape
        assert image.dtype == (np.uint8 if depth == 8 else np.uint16), image.dtype
        assert size is None or image.shape[:2] == (size, size), image.shape
        assert image.shape[0] * image.shape[1] <= MAX_PIXELS and image.nbytes <= MAX_PIXELS * BYTES
        outcome = "accepted"
    except (Unreadable, UserError) as error:
        _one_line(error)
    for look in (dimensions, _looked_at):
        try:
            look(data, MAX_PIXELS)
        except (Unreadable, UserError) as error:
            _one_line(error)
    return outcome


def _one_line(error: Exception) -> None:
    text = str(error)
    assert text and text.isprintable() and len(text) < 250, text


def main(last: str, count: int, formats: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + MEMORY,) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: dict[str, collections.Counter] = {}
    failures = []
    for name, data in bombs().items():
        try:
            for look in (dimensions, decode, _looked_at):
                look(data, **({"channels": 5} if look is decode else {"max_pixels": opening.MAX_PIXELS}))
            failures.append(f"{name} was read")
        except Unreadable as error:
            _one_line(error)
    more_for_bombs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for format in formats or ORIGINALS:
        found = counts[format] = collections.Counter()
        for number in range(count):
            with open(last, "w") as file:
                file.write(f"{format} {number}")  # of a decoder that dies or hangs, which it was
            signal.alarm(SECONDS)
            try:
                found[attempt(format, number)] += 1
            except Exception:
                failures.append(f"{format} {number}: {traceback.format_exc()}")
            signal.alarm(0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"bombs": more_for_bombs // 1024, "all": (after - before) // 1024}
    print(json.dumps({"counts": counts, "failures": failures, "more_memory_mb": memory}))


def _addresses() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
