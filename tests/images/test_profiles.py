"""Colours with an embedded profile become sRGB; without one, or with one that cannot be used, no pixel changes."""

import io
import logging
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.data.image_files import encode, picture
from uit_jax.images import opening, profiles
from uit_jax.images.decode import decode, facts

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RGB = picture(0)


def exchanged() -> bytes:
    """Return the profile of sRGB with red and green exchanged."""
    data = bytearray(SRGB)
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def linear_gray() -> bytes:
    """Return a profile of gray that is proportional to light."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">III", 63190, 65536, 54061), b"kTRC": b"curv" + bytes(8)}
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(body), len(value))
        body += value
    header = bytearray(SRGB[:128])
    header[:4], header[8:12] = struct.pack(">I", place + len(body)), b"\x02\x40\0\0"
    header[16:20] = b"GRAY"
    return bytes(header) + table + body


def state(data: bytes) -> str:
    return facts(opening.opened(data)).profile


def test_colours_are_converted():
    for format in ("PNG", "TIFF"):
        data = encode(Image.fromarray(RGB), format, icc_profile=exchanged())
        assert state(data) == "converted"
        decoded = decode(data, channels=3).astype(int)
        assert np.abs(decoded - RGB[..., [1, 0, 2]]).max() <= 2
        gray = np.asarray(Image.fromarray(RGB[..., [1, 0, 2]]).convert("L")).astype(int)
        assert np.abs(decode(data, channels=1)[..., 0] - gray).max() <= 2
    clear = Image.fromarray(RGB).convert("RGBA")
    clear.putalpha(0)
    assert decode(encode(clear, "PNG", icc_profile=exchanged()), channels=3).min() >= 254


def test_gray_is_converted():
    gray = np.asarray(Image.fromarray(RGB).convert("L"))
    data = encode(Image.fromarray(gray), "PNG", icc_profile=linear_gray())
    assert state(data) == "converted"
    light = gray / 255
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(decode(data, channels=1)[..., 0] - expected).max() <= 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_srgb_changes_no_pixel(format):
    for image in (Image.fromarray(RGB), Image.fromarray(RGB).rotate(90)):
        with_profile, without = (encode(image, format, **how) for how in ({"icc_profile": SRGB}, {}))
        assert state(with_profile) == "sRGB" and state(without) == ""
        for channels in (1, 3):
            np.testing.assert_array_equal(decode(with_profile, channels=channels), decode(without, channels=channels))


def test_what_cannot_be_used_is_ignored_and_told(caplog):
    opening.tell_once.cache_clear()
    plain = decode(encode(Image.fromarray(RGB), "JPEG"), channels=3)
    for profile in (b"garbage", SRGB[:200], linear_gray()):
        data = encode(Image.fromarray(RGB), "JPEG", icc_profile=profile)
        assert state(data) == "unusable"
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(decode(data, channels=3), plain)
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "embedded colour profiles that cannot be used are ignored"
    ]


def test_sixteen_bits_and_other_channels_stay_as_stored():
    data = encode(Image.fromarray(RGB), "PNG", icc_profile=exchanged())
    np.testing.assert_array_equal(decode(data, channels=3, depth=16), RGB.astype(np.uint16) * 257)
    clear = Image.fromarray(RGB).convert("RGBA")
    raw = decode(encode(clear, "PNG", icc_profile=exchanged()), channels=4)
    np.testing.assert_array_equal(raw, np.asarray(clear))


def test_one_conversion_for_all_images_of_a_profile():
    profiles._conversion.cache_clear()
    data = encode(Image.fromarray(RGB), "PNG", icc_profile=exchanged())
    for _ in range(3):
        decode(data, channels=3)
    assert profiles._conversion.cache_info().misses == 1
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == exchanged()


def black_inks() -> bytes:
    """Return a profile of CMYK of which every ink is black: Lab of the 16 corners of the inks, linear between them."""
    ramp = bytes(range(256))
    corners = b"\xff\x80\x80" + b"\0\x80\x80" * 15
    matrix = struct.pack(">9I", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + corners + ramp * 3
    header = bytearray(SRGB[:128])
    header[:4], header[8:12] = struct.pack(">I", 144 + len(table)), b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    return bytes(header) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_inks_are_converted():
    inks = np.zeros((1, 3, 4), np.uint8)
    inks[0, 1, 0] = inks[0, 2, 3] = 255
    data = encode(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=black_inks())
    assert state(data) == "converted"
    assert [pixel.tolist() for pixel in decode(data, channels=3)[0]] == [[255] * 3, [0] * 3, [0] * 3]
    plain = decode(encode(Image.fromarray(inks, "CMYK"), "TIFF"), channels=3)[0]
    assert [pixel.tolist() for pixel in plain] == [[255] * 3, [0, 255, 255], [0] * 3]
