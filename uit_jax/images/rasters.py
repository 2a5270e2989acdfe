"""From the bytes of an image file to its pixels as they are stored: by Pillow, and what Pillow cannot read whole.

Pillow cuts 16-bit colour down to 8 bits and knows no image of more than four channels. Read beside it are

* `.npy` arrays [H, W] or [H, W, C] of uint8 or uint16;
* TIFF of any number of channels, interleaved or in planes, or as that many gray pages (by tifffile);
* 16-bit gray and colour, with and without opacity, of PNG and TIFF (by Pillow, a byte at a time).
"""

import io
import lzma
import math
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from uit_jax.images.opening import (
    BYTES,
    MAX_PIXELS,
    ORIENTATION,
    TooLarge,
    Unreadable,
    check_size,
    decoding,
    loaded,
    opened,
    upright,
    upright_size,
)

PNG, _NPY = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLES, _BITS, _PHOTOMETRIC = 277, 258, 262  # tags of TIFF
# Compressions of TIFF of which tifffile, by itself, decodes all that there is, however much.
_UNBOUNDED = {8: zlib.decompressobj, 32946: zlib.decompressobj, 34925: lzma.LZMADecompressor}
# Pillow's decoders keep the high byte of each 16-bit number, by its order in memory: the order that keeps the low one.
_LOW_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
FLOAT = "floating-point pixels have no agreed range; save the image with 8 or 16 bits"
_MORE_BITS = "more than 16 bits a pixel; save the image with 8 or 16 bits"
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class Raster(NamedTuple):
    """Upright pixels as stored, uint8 or uint16 [H, W, C]; whether the last channel is opacity."""

    pixels: np.ndarray
    alpha: bool = False


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open and fully decode an image, still in the file's mode and orientation. Raises Unreadable."""
    return loaded(opened(data, max_pixels))


def read(data: bytes, *, channels: int, depth: int, max_pixels: int = MAX_PIXELS) -> Raster | None:
    """Read a file of which Pillow alone would lose channels or bits that are wanted; None for any other.

    Raises Unreadable.
    """
    if data[:6] == _NPY:
        return Raster(_npy(data, max_pixels))
    if data[:4] in _TIFF and not _pillow_keeps(data, channels, max_pixels):
        return _tiff(data, channels, max_pixels)
    raw = channels not in (1, 3)
    if (raw or depth == 16) and (deep := _sixteen_bits(data, max_pixels)) is not None:
        return deep
    if raw:
        image = upright(open_image(data, max_pixels))
        if len(image.getbands()) == channels:
            return Raster(np.asarray(image))
    return None


def dimensions(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of the upright image. Raises Unreadable."""
    with decoding():
        if data[:6] == _NPY:
            return _npy_header(data, max_pixels).shape[:2]
        try:
            return upright_size(opened(data, max_pixels))
        except TooLarge:
            raise
        except Unreadable:
            if data[:4] not in _TIFF:
                raise
            return _tiff(data, 0, max_pixels).pixels.shape[:2]


def file_dimensions(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of the upright image in a file, by its header alone where Pillow knows it.

    Raises Unreadable, and OSError.
    """
    with path.open("rb") as stream:
        try:
            return upright_size(opened(stream, max_pixels))
        except TooLarge:
            raise
        except Unreadable:
            stream.seek(0)
            return dimensions(stream.read(), max_pixels)


def odd(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, Raster] | None:
    """Read an array, or a TIFF of which Pillow cannot make gray or colour, and name its format; None for any other.

    Raises Unreadable.
    """
    if data[:6] == _NPY:
        return "NPY", Raster(_npy(data, max_pixels))
    if data[:4] in _TIFF and not _pillow_keeps(data, 3, max_pixels):
        return "TIFF", _tiff(data, 0, max_pixels)
    return None


class _Header(NamedTuple):
    """What a .npy says of its array, which begins at `start`."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int


def _npy_header(data: bytes, max_pixels: int) -> _Header:
    """Read the header of an array that is an image, and of which all is there."""
    stream, read_header = io.BytesIO(data), np.lib.format.read_array_header_1_0
    try:
        with decoding():
            if np.lib.format.read_magic(stream) != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(stream)
    except Unreadable as error:  # the header is a Python literal
        raise Unreadable(f"a damaged array ({error})") from None
    if dtype.kind in "fc":
        raise Unreadable(FLOAT.replace("the image", "the array"))
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise Unreadable(f"an array of {dtype}; save it as uint8 or uint16"[:100])
    if len(shape) not in (2, 3) or not all(type(side) is int and side > 0 for side in shape):
        raise Unreadable(f"an array of shape {shape}; an image is [H, W] or [H, W, C]"[:100])
    check_size(*shape[:2], math.prod(shape[2:]) * dtype.itemsize, max_pixels)
    missing = math.prod(shape) * dtype.itemsize - (len(data) - stream.tell())
    if missing > 0:
        raise Unreadable(f"a damaged array ({missing} bytes of {shape} are missing)")
    return _Header(shape, dtype, fortran, stream.tell())


def _npy(data: bytes, max_pixels: int) -> np.ndarray:
    shape, dtype, fortran, start = _npy_header(data, max_pixels)
    array = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape, order="F" if fortran else "C")
    return np.array(array, dtype.newbyteorder("="), order="C").reshape(*shape[:2], -1)


def _pillow_keeps(data: bytes, channels: int, max_pixels: int) -> bool:
    """Tell by its header whether Pillow reads of a TIFF all that the wanted channels are made of. Raises TooLarge."""
    try:
        image = opened(data, max_pixels)
    except TooLarge:
        raise
    except Unreadable:
        return False
    samples, bands = image.tag_v2.get(_SAMPLES, 1), len(image.getbands())
    if samples > 4 or (samples > 2 and bands < 3):
        return False
    if image.mode.startswith("I") and image.tag_v2.get(_PHOTOMETRIC) == 0:
        return False  # it inverts gray of 8 bits whose white is 0, but not gray of 16
    return channels in (1, 3) or channels == samples == bands


def _tiff(data: bytes, channels: int, max_pixels: int) -> Raster:
    """Read the first page, or as many gray pages as there are to be channels, with tifffile."""
    import tifffile

    with decoding(), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        if page.axes not in ("YX", "YXS", "SYX"):
            raise Unreadable(f"a TIFF with axes {page.axes}; an image has rows, columns and channels")
        several = channels > 3 and page.axes == "YX" and len(file.pages) == channels
        pages = list(file.pages) if several else [page]
        if any((each.shape, each.dtype) != (page.shape, page.dtype) for each in pages):
            raise Unreadable("a TIFF of pages of several sizes")
        for each in pages:
            _check_page(data, each, len(pages), max_pixels)
        pixels = np.stack([each.asarray() for each in pages], -1) if several else page.asarray()
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        alpha = any(int(sample) in (1, 2) for sample in page.extrasamples)
        turned = page.tags.valueof(ORIENTATION, 1)
    pixels = whole_numbers(np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if white_is_zero:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return Raster(_UPRIGHT.get(turned, lambda a: a)(pixels), alpha and pixels.shape[-1] in (2, 4))


def _check_page(data: bytes, page: Any, pages: int, max_pixels: int) -> None:
    """Check, before any of it is decoded, what a page and each of its strips or tiles come to. Raises Unreadable."""
    if page.dtype is None or 0 in page.shape:
        raise Unreadable("a TIFF without pixels")
    height, width = page.shape[1:] if page.axes == "SYX" else page.shape[:2]
    samples, each = math.prod(page.shape) // (height * width), page.dtype.itemsize
    check_size(height, width, samples * each * pages, max_pixels)
    most = math.prod(page.chunks) * each
    if most > max_pixels * BYTES:
        raise TooLarge(f"its parts of {most} bytes are more than data.max_pixels={max_pixels} allows")
    if (begin := _UNBOUNDED.get(int(page.compression))) is not None:
        for place, length in zip(page.dataoffsets, page.databytecounts, strict=False):
            if len(begin().decompress(data[place : place + length], most + 1)) > most:
                raise Unreadable("a TIFF of which a part holds more than it says")


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Bring pixels to uint8, where they are, or uint16. Raises Unreadable."""
    if not values.size:
        raise Unreadable("there is no pixel in it")
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind not in "ui":
        raise Unreadable(FLOAT)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(_MORE_BITS)
    return values.astype(np.uint16)


def _sixteen_bits(data: bytes, max_pixels: int) -> Raster | None:
    """Read 16-bit gray or colour with Pillow; None for what has 8 bits."""
    if data[:8] == PNG and data[24:26] == b"\x10\x04":
        # Gray and opacity of 16 bits lie in the file as four channels of 8 do: its filters work on bytes.
        header = data[12:24] + b"\x08\x06" + data[26:29]
        data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        pixels = np.asarray(upright(open_image(data, max_pixels))).astype(np.uint16)
        return Raster(pixels[..., ::2] << 8 | pixels[..., 1::2], alpha=True)
    image = opened(data, max_pixels)
    if image.mode.startswith("I"):
        return Raster(whole_numbers(np.asarray(upright(loaded(image))))[..., None])
    modes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args}
    colours, _, order = str(next(iter(modes), "")).partition(";")
    if len(modes) != 1 or order not in _LOW_BYTE or colours not in ("RGB", "RGBA"):
        # Other colour spaces are left to Pillow, which converts them, with 8 bits.
        plain = data[:4] in _TIFF and image.mode != "F" and image.tag_v2.get(_PHOTOMETRIC) in (0, 1, 2)
        return _tiff(data, 0, max_pixels) if plain and max(image.tag_v2.get(_BITS, (1,))) > 8 else None
    low = opened(data, max_pixels)
    mode = f"{colours};{_LOW_BYTE[order]}"
    low.tile = [t._replace(args=mode if isinstance(t.args, str) else (mode, *t.args[1:])) for t in low.tile]
    high, low = (np.asarray(upright(loaded(part))).astype(np.uint16) for part in (image, low))
    pixels = high << 8 | low
    if (hidden := image.info.get("transparency")) is not None:
        shown = (pixels != np.array(hidden, np.uint16)).any(-1, keepdims=True)
        return Raster(np.concatenate([pixels, shown * np.uint16(65535)], -1), alpha=True)
    return Raster(pixels, alpha=colours == "RGBA")
