"""From the bytes of an image file to its pixels as they are stored: by Pillow, and what Pillow cannot read whole.

Pillow cuts 16-bit colour down to 8 bits and knows no image of more than four channels. Read beside it are

* `.npy` arrays [H, W] or [H, W, C] of uint8 or uint16;
* TIFF of any number of channels, interleaved or in planes, or as that many gray pages (by tifffile);
* 16-bit gray and colour, with and without opacity, of PNG and TIFF (by Pillow, a byte at a time).
"""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

PNG, _NPY = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _SAMPLES, _BITS, _PHOTOMETRIC = 274, 277, 258, 262  # tags of TIFF, the first of EXIF too
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


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, without the file's name."""


class Raster(NamedTuple):
    """Upright pixels as stored, uint8 or uint16 [H, W, C]; whether the last channel is opacity."""

    pixels: np.ndarray
    alpha: bool = False


def open_image(data: bytes) -> Image.Image:
    """Open and fully load an image, still in the file's mode and orientation. Raises Unreadable."""
    return loaded(_opened(data))


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; return the very same object where there is none to apply."""
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing against the pixels
        return image


def read(data: bytes, *, channels: int, depth: int) -> Raster | None:
    """Read a file of which Pillow alone would lose channels or bits that are wanted; None for any other.

    Raises Unreadable.
    """
    if data[:6] == _NPY:
        return Raster(_npy(data))
    if data[:4] in _TIFF and not _pillow_keeps(data, channels):
        return _tiff(data, channels)
    raw = channels not in (1, 3)
    if (raw or depth == 16) and (deep := _sixteen_bits(data)) is not None:
        return deep
    if raw:
        image = upright(open_image(data))
        if len(image.getbands()) == channels:
            return Raster(np.asarray(image))
    return None


def dimensions(data: bytes) -> tuple[int, int]:
    """Return (height, width) of the upright image. Raises Unreadable."""
    if data[:6] == _NPY:
        return _npy_header(data)[:2]
    try:
        return upright(open_image(data)).size[::-1]
    except Unreadable:
        if data[:4] not in _TIFF:
            raise
        return _tiff(data, 0).pixels.shape[:2]


def file_dimensions(path: Path) -> tuple[int, int]:
    """Return (height, width) of the upright image in a file, by its header alone where Pillow knows it.

    Raises Unreadable, and OSError.
    """
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except Exception:  # Pillow's parsers raise nearly any type on corrupt bytes
        return dimensions(path.read_bytes())


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of an opened image as `upright` makes it, loading it only where need be."""
    turned = image.getexif().get(_ORIENTATION, 1) >= 5
    if turned and image.format == "TIFF":  # of which Pillow turns the size when it opens it, and the rest later
        return upright(loaded(image)).size[::-1]
    return image.size if turned else image.size[::-1]


def odd(data: bytes) -> tuple[str, Raster] | None:
    """Read an array, or a TIFF of which Pillow cannot make gray or colour, and name its format; None for any other.

    Raises Unreadable.
    """
    if data[:6] == _NPY:
        return "NPY", Raster(_npy(data))
    if data[:4] in _TIFF and not _pillow_keeps(data, 3):
        return "TIFF", _tiff(data, 0)
    return None


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise Unreadable("not an image" if data else "empty file") from None
    except Exception as error:  # Pillow's parsers raise nearly any type on corrupt bytes
        raise Unreadable(_reason(error)) from None


def loaded(image: Image.Image) -> Image.Image:
    """Load an opened image, and return it. Raises Unreadable."""
    try:
        image.load()
    except Exception as error:
        raise Unreadable(_reason(error)) from None
    return image


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _npy_header(data: bytes) -> tuple[int, ...]:
    """Return the shape of an array that is an image."""
    stream, read_header = io.BytesIO(data), np.lib.format.read_array_header_1_0
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    except Exception as error:  # the header is a Python literal
        raise Unreadable(f"a damaged array ({_reason(error)})") from None
    if dtype.kind in "fc":
        raise Unreadable(FLOAT.replace("the image", "the array"))
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise Unreadable(f"an array of {dtype}; save it as uint8 or uint16")
    if len(shape) not in (2, 3) or not all(shape):
        raise Unreadable(f"an array of shape {shape}; an image is [H, W] or [H, W, C]")
    return shape


def _npy(data: bytes) -> np.ndarray:
    shape = _npy_header(data)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError as error:
        raise Unreadable(f"a damaged array ({_reason(error)})") from None
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(*shape[:2], -1)


def _pillow_keeps(data: bytes, channels: int) -> bool:
    """Tell by its header whether Pillow reads of a TIFF all that the wanted channels are made of."""
    try:
        image = _opened(data)
    except Unreadable:
        return False
    samples, bands = image.tag_v2.get(_SAMPLES, 1), len(image.getbands())
    if samples > 4 or (samples > 2 and bands < 3):
        return False
    if image.mode.startswith("I") and image.tag_v2.get(_PHOTOMETRIC) == 0:
        return False  # it inverts gray of 8 bits whose white is 0, but not gray of 16
    return channels in (1, 3) or channels == samples == bands


def _tiff(data: bytes, channels: int) -> Raster:
    """Read the first page, or as many gray pages as there are to be channels, with tifffile."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page, count = file.pages[0], len(file.pages)
            pixels, axes = page.asarray(), page.axes
            if channels > 3 and count == channels and axes == "YX":
                pixels, axes = np.stack([p.asarray() for p in file.pages], -1), "YXS"
            white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
            alpha = any(int(sample) in (1, 2) for sample in page.extrasamples)
            turned = page.tags.valueof(_ORIENTATION, 1)
    except Exception as error:  # as many types as Pillow's
        raise Unreadable(_reason(error)) from None
    if axes not in ("YX", "YXS", "SYX"):
        raise Unreadable(f"a TIFF with axes {axes}; an image has rows, columns and channels")
    pixels = whole_numbers(np.moveaxis(pixels, 0, -1) if axes == "SYX" else pixels)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if white_is_zero:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return Raster(_UPRIGHT.get(turned, lambda a: a)(pixels), alpha and pixels.shape[-1] in (2, 4))


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Bring pixels to uint8, where they are, or uint16. Raises Unreadable."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind not in "ui":
        raise Unreadable(FLOAT)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable(_MORE_BITS)
    return values.astype(np.uint16)


def _sixteen_bits(data: bytes) -> Raster | None:
    """Read 16-bit gray or colour with Pillow; None for what has 8 bits."""
    if data[:8] == PNG and data[24:26] == b"\x10\x04":
        # Gray and opacity of 16 bits lie in the file as four channels of 8 do: its filters work on bytes.
        header = data[12:24] + b"\x08\x06" + data[26:29]
        data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        pixels = np.asarray(upright(open_image(data))).astype(np.uint16)
        return Raster(pixels[..., ::2] << 8 | pixels[..., 1::2], alpha=True)
    image = _opened(data)
    if image.mode.startswith("I"):
        return Raster(whole_numbers(np.asarray(upright(loaded(image))))[..., None])
    modes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args}
    colours, _, order = str(next(iter(modes), "")).partition(";")
    if len(modes) != 1 or order not in _LOW_BYTE or colours not in ("RGB", "RGBA"):
        # Other colour spaces are left to Pillow, which converts them, with 8 bits.
        plain = data[:4] in _TIFF and image.mode != "F" and image.tag_v2.get(_PHOTOMETRIC) in (0, 1, 2)
        return _tiff(data, 0) if plain and max(image.tag_v2.get(_BITS, (1,))) > 8 else None
    low = _opened(data)
    mode = f"{colours};{_LOW_BYTE[order]}"
    low.tile = [t._replace(args=mode if isinstance(t.args, str) else (mode, *t.args[1:])) for t in low.tile]
    high, low = (np.asarray(upright(loaded(part))).astype(np.uint16) for part in (image, low))
    pixels = high << 8 | low
    if (hidden := image.info.get("transparency")) is not None:
        shown = (pixels != np.array(hidden, np.uint16)).any(-1, keepdims=True)
        return Raster(np.concatenate([pixels, shown * np.uint16(65535)], -1), alpha=True)
    return Raster(pixels, alpha=colours == "RGBA")
