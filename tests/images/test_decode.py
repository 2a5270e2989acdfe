"""Every format and mode arrives right, and the header test never calls a file plain that is not."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.images import decode as decoding
from uit_jax.images import opening
from uit_jax.images.decode import Unreadable, decode, to_channels

RGB = picture(0)
GRAY = np.asarray(Image.fromarray(RGB).convert("L"))


def test_lossless_colour_formats_keep_every_pixel():
    image = Image.fromarray(RGB)
    for format, options in [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
                            ("WebP", {"lossless": True})]:  # fmt: skip
        np.testing.assert_array_equal(decode(encode(image, format, **options), size=None, channels=3), RGB, format)


def test_jpeg_matches_pillow_and_resembles_the_original():
    for options in [{}, {"progressive": True}, {"subsampling": 0}]:
        data = encode(Image.fromarray(RGB), "JPEG", quality=95, **options)
        decoded = decode(data, size=None, channels=3)
        np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(data))))
        assert np.abs(decoded.astype(int) - RGB).mean() < 6


def test_gray_is_repeated_and_colour_becomes_luma():
    for format in ("PNG", "JPEG", "TIFF", "BMP"):
        data = encode(Image.fromarray(GRAY), format, **({"quality": 100} if format == "JPEG" else {}))
        colour, gray = decode(data, size=None, channels=3), decode(data, size=None, channels=1)
        assert gray.shape == (16, 16, 1)
        np.testing.assert_array_equal(colour, np.repeat(gray, 3, -1))
        assert np.abs(gray[..., 0].astype(int) - GRAY).max() <= (2 if format == "JPEG" else 0)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(RGB), "PNG"), size=None, channels=1)[..., 0], GRAY)
    np.testing.assert_array_equal(to_channels(RGB[None], 1)[0, ..., 0], GRAY)
    np.testing.assert_array_equal(to_channels(GRAY[None, ..., None], 3)[0], np.repeat(GRAY[..., None], 3, -1))


def test_one_bit_images_become_black_and_white():
    bits = GRAY > 128
    decoded = decode(encode(Image.fromarray(bits), "PNG"), size=None, channels=1)
    np.testing.assert_array_equal(decoded[..., 0], np.where(bits, 255, 0))


def test_palettes_become_their_colours():
    image = Image.fromarray(RGB).quantize(32)
    expected = np.asarray(image.convert("RGB"))
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        np.testing.assert_array_equal(decode(encode(image, format), size=None, channels=3), expected, format)


def test_first_frame_of_animations():
    frames = [Image.fromarray(RGB).quantize(32), Image.fromarray(255 - RGB).quantize(32)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data, size=None, channels=3), np.asarray(frames[0].convert("RGB")))
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for format, options in [("WebP", {"lossless": True}), ("PNG", {}), ("TIFF", {})]:
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(data, size=None, channels=3), RGB, format)


def test_transparency_is_composited_on_white():
    alpha = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    for colours, channels in [(RGB, 3), (GRAY[..., None], 1)]:
        image = Image.fromarray(np.concatenate([colours, alpha[..., None]], -1))
        weight = alpha[..., None] / 255
        expected = colours * weight + 255 * (1 - weight)
        for format in ("PNG", "TIFF"):
            decoded = decode(encode(image, format), size=None, channels=channels)
            assert np.abs(decoded - expected).max() <= 1, (format, channels)
    data = encode(Image.fromarray(np.dstack([RGB, alpha])), "WebP", lossless=True, exact=True)
    decoded = decode(data, size=None, channels=3)
    assert np.abs(decoded - (RGB * (alpha / 255)[..., None] + 255 * (1 - (alpha / 255)[..., None]))).max() <= 1


def test_transparent_palette_entries_and_colours_become_white():
    image = Image.fromarray(RGB).quantize(32)
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == 7] = 255
    assert (np.asarray(image) == 7).any()
    for format in ("PNG", "GIF"):
        data = encode(image, format, transparency=7)
        np.testing.assert_array_equal(decode(data, size=None, channels=3), expected, format)
    data = encode(Image.fromarray(GRAY), "PNG", transparency=int(GRAY[3, 4]))
    np.testing.assert_array_equal(decode(data, size=None, channels=1)[..., 0], np.where(GRAY == GRAY[3, 4], 255, GRAY))


def test_sixteen_bits_keep_their_high_byte():
    deep = (GRAY.astype(np.uint16) << 8) | 0x37
    for format in ("PNG", "TIFF"):
        data = encode(Image.fromarray(deep), format)
        assert Image.open(io.BytesIO(data)).mode.startswith("I")
        np.testing.assert_array_equal(decode(data, size=None, channels=1)[..., 0], GRAY, format)


def test_sixteen_bit_colour_png_keeps_its_high_byte():
    deep = (RGB.astype(">u2") << 8) | 0x37
    data = _png(bit_depth=16, colour_type=2, rows=[row.astype(">u2").tobytes() for row in deep])
    np.testing.assert_array_equal(decode(data, size=None, channels=3), RGB)


def test_cmyk_jpeg_and_tiff_become_rgb():
    image = Image.fromarray(RGB).convert("CMYK")
    decoded = decode(encode(image, "TIFF"), size=None, channels=3)
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))
    data = encode(image, "JPEG", quality=100, subsampling=0)
    assert np.abs(decode(data, size=None, channels=3).astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = picture(1, height=16, width=16)
    # What a camera stores, so that applying the orientation's transformation gives `upright` back.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    for format, options in [("PNG", {}), ("WebP", {"lossless": True}), ("JPEG", {"quality": 100, "subsampling": 0})]:
        data = encode(image, format, exif=exif, **options)
        off = np.abs(decode(data, size=None, channels=3).astype(int) - upright)
        assert off.max() <= (8 if format == "JPEG" else 0), format


def test_resize_is_pillows_antialiased_bilinear_and_ignores_the_aspect():
    image = Image.fromarray(picture(2, height=50, width=90))
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(encode(image, "PNG"), size=16, channels=3), expected)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    halves = decode(encode(Image.fromarray(stripes), "PNG"), size=8, channels=3)
    assert np.abs(halves.astype(int) - 127).max() < 8  # a sampled resize would give 0 or 255


def test_unreadable_files_say_why():
    whole = encode(Image.fromarray(RGB), "JPEG")
    cases = {
        b"": "empty file",
        b"this is text": "not an image",
        whole[: len(whole) // 2]: "(?i)truncated",
        b"\xff\xd8\xff": ".",
        encode(Image.fromarray(RGB), "PNG")[:60]: ".",
        encode(Image.fromarray(GRAY.astype(np.float32)), "TIFF"): "floating",
        encode(Image.fromarray(GRAY.astype(np.int32) * 1000), "TIFF"): "16 bits",
    }
    for data, reason in cases.items():
        with pytest.raises(Unreadable, match=reason):
            decode(data, size=16, channels=3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_spoil_the_pixels():
    data = encode(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    np.testing.assert_array_equal(
        decode(data, size=None, channels=3), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


def test_facts_are_the_files_own():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = opening.opened(encode(Image.fromarray(RGB[:8]), "JPEG", exif=exif))
    assert decoding.facts(image) == ("JPEG", "RGB", (16, 8), True, False, False, "")


def _png(*, bit_depth: int, colour_type: int, rows: list[bytes]) -> bytes:
    """Write a PNG by hand, of a mode that Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 16, len(rows), bit_depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
