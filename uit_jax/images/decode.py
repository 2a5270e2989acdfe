"""From the bytes of an image file to an array of the wanted size, channels and bits: one rule for every format.

What arrives, whatever the file:

* JPEG, PNG, WebP, BMP, TIFF (first page), GIF, animated WebP and PNG (first frame), and `.npy` arrays.
* EXIF orientation is applied. Embedded colour profiles are not.
* Transparency (an alpha channel or a transparent palette entry) is composited on white, before resizing.
* At depth 8, 16 bits a channel keep their high byte; at depth 16, they are kept, and 8 bits are scaled by 257.
  Floating-point pixels are unreadable: their range is not agreed on.
* CMYK and palettes become RGB. Three channels from gray repeat it; one channel from colour is the luma of
  ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as `PIL.Image.convert("L")` rounds it.
* Any other number of channels is taken from files that have as many, as they are: arrays, multi-channel TIFF, a
  TIFF of that many gray pages, or the four of RGBA and CMYK.
* Resizing ignores the aspect and is Pillow's bilinear or bicubic filter, which are antialiased (torchvision's
  `Resize` on PIL images).
"""

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.images import rasters
from uit_jax.images.rasters import Unreadable, open_image, upright

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_PNG_PLAIN_CHUNKS = frozenset(b"IHDR IDAT IEND sRGB gAMA cHRM pHYs tEXt iCCP tIME bKGD".split())
_JPEG_SIZES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive frames, Huffman coded
_JPEG_SCAN, _JPEG_APP1 = 0xDA, 0xE1


class WrongChannels(UserError):
    """An image of which the wanted channels cannot be made; the text does not name the file.

    Attributes:
      found: the channels it has.
    """

    def __init__(self, found: int, wanted: int):
        super().__init__(f"has {found} channel{'s' * (found != 1)}, of which {wanted} cannot be made")
        self.found = found


class Facts(NamedTuple):
    """What one file is before any conversion: Pillow's format and mode, (width, height), whether EXIF turns it."""

    format: str
    mode: str
    size: tuple[int, int]
    turned: bool


def decode(
    data: bytes, *, size: int | None = None, channels: int, depth: int = 8, resample: str = "bilinear"
) -> np.ndarray:
    """Decode one image to uint8 (depth 8) or uint16 (depth 16) [S, S, C], [H, W, C] of its own size without a size.

    Raises Unreadable, and WrongChannels, a UserError, where the image has other channels than could be brought to C.
    """
    raster = rasters.read(data, channels=channels, depth=depth)
    if raster is None and depth == 8:
        return pixels(open_image(data), size=size, channels=channels, resample=resample)
    if raster is None:
        image = _gray_or_colour(open_image(data), channels)
        raster = rasters.Raster(np.asarray(image).reshape(image.height, image.width, -1))
    image = to_depth(raster.pixels, depth)
    if raster.alpha and channels != image.shape[-1]:
        image = _on_white(image)
    image = to_channels(image, channels)
    return image if size is None else resize(image, (size, size), resample)


def facts(image: Image.Image) -> Facts:
    """Describe an opened image as its file has it."""
    return Facts(image.format or "?", image.mode, image.size, upright(image) is not image)


def pixels(image: Image.Image, *, size: int | None, channels: int, resample: str = "bilinear") -> np.ndarray:
    """Convert an opened image to upright uint8 [S, S, C] by the rules above. Raises Unreadable, WrongChannels."""
    image = _gray_or_colour(image, channels)
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), FILTERS[resample])
    return np.asarray(image).reshape(image.height, image.width, channels)


def _gray_or_colour(image: Image.Image, channels: int) -> Image.Image:
    try:
        image = _plain(upright(image))
        if channels not in (1, 3):
            raise WrongChannels(len(image.getbands()), channels)
        return image.convert("L" if channels == 1 else "RGB")
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise Unreadable(str(error)) from None


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image to 8-bit gray or colour without transparency."""
    if image.mode == "F":
        raise Unreadable(rasters.FLOAT)
    if image.mode.startswith("I"):
        return Image.fromarray((rasters.whole_numbers(np.asarray(image)) >> 8).astype(np.uint8))
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode.endswith("A") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Bring images [..., C'] of whole numbers to C channels: gray is repeated, RGB becomes luma as Pillow rounds it.

    Raises WrongChannels for other numbers of channels that differ.
    """
    if images.shape[-1] == channels:
        return images
    if {images.shape[-1], channels} != {1, 3}:
        raise WrongChannels(images.shape[-1], channels)
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    weights = np.array([19595, 38470, 7471], np.uint32)  # .299, .587, .114 in 16 bits
    return ((images.astype(np.uint32) @ weights + 0x8000) >> 16).astype(images.dtype)[..., None]


def to_depth(images: np.ndarray, depth: int) -> np.ndarray:
    """Bring uint8 or uint16 images to uint8 (depth 8: the high byte) or uint16 (depth 16: 255 becomes 65535)."""
    if images.dtype == np.uint8:
        return images if depth == 8 else images.astype(np.uint16) * np.uint16(257)
    return images if depth == 16 else (images >> 8).astype(np.uint8)


def resize(image: np.ndarray, size: tuple[int, int], resample: str = "bilinear") -> np.ndarray:
    """Resize uint8 or uint16 [H, W, C] to (height, width), each channel by itself, rounded."""
    if image.shape[:2] == size:
        return image
    deep = image.dtype == np.uint16
    planes = []
    for plane in np.moveaxis(image, -1, 0):
        plane = Image.fromarray(np.ascontiguousarray(plane, np.float32 if deep else np.uint8))
        planes.append(np.asarray(plane.resize(size[::-1], FILTERS[resample])))
    resized = np.stack(planes, -1)
    return np.clip(np.rint(resized), 0, 65535).astype(np.uint16) if deep else resized


def _on_white(image: np.ndarray) -> np.ndarray:
    """Composite on white what has opacity as its last channel."""
    most = int(np.iinfo(image.dtype).max)
    colours, alpha = image[..., :-1].astype(np.int64), image[..., -1:].astype(np.int64)
    return ((colours * alpha + most * (most - alpha) + most // 2) // most).astype(image.dtype)


def is_plain(data: bytes, *, size: int | tuple[int, int], channels: int) -> bool:
    """Tell from the headers whether a bare JPEG or PNG decoder gives exactly what `decode` gives.

    True for 8-bit gray or RGB files of `size` (a side, or height and width) with nothing that turns, hides or
    converts pixels. Never raises: whatever cannot be understood is not plain.
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    header = _plain_header(data)
    fits = header is not None and header[:2] == (width, height)
    return fits and (channels == 3 or channels == header[2] == 1)


def dimensions(data: bytes) -> tuple[int, int]:
    """Return (height, width) of an image as `decode` gives it at its own size. Raises Unreadable."""
    header = _plain_header(data)
    return header[1::-1] if header is not None else rasters.dimensions(data)


def _plain_header(data: bytes) -> tuple[int, int, int] | None:
    try:
        return _jpeg_header(data) if data[:2] == b"\xff\xd8" else _png_header(data)
    except (struct.error, IndexError):
        return None


def _jpeg_header(data: bytes) -> tuple[int, int, int] | None:
    """Return (width, height, components) of a plain JPEG; EXIF and XMP live in APP1, which makes it not plain."""
    position, header = 2, None
    while True:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == _JPEG_SCAN:
            return header
        if marker == _JPEG_APP1:
            return None
        if marker in _JPEG_SIZES:
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            if precision != 8 or components not in (1, 3):
                return None
            header = width, height, components
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]


def _png_header(data: bytes) -> tuple[int, int, int] | None:
    """Return (width, height, components) of a plain PNG; transparency, EXIF or animation chunks make it not plain."""
    if data[:8] != rasters.PNG:
        return None
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    components = {0: 1, 2: 3}.get(colour)
    if depth != 8 or components is None:
        return None
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind not in _PNG_PLAIN_CHUNKS:
            return None
        position += 12 + length
    return width, height, components
