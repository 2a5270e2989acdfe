"""From the bytes of an image file to a uint8 array: one rule for every format, with Pillow alone.

What arrives, whatever the file:

* JPEG, PNG, WebP, BMP, TIFF (first page), GIF, animated WebP and PNG (first frame).
* EXIF orientation is applied. Embedded colour profiles are not.
* Transparency (an alpha channel or a transparent palette entry) is composited on white, before resizing.
* 16 bits a channel keep their high byte. Floating-point pixels are unreadable: their range is not agreed on.
* CMYK and palettes become RGB. Three channels from gray repeat it; one channel from colour is the luma of
  ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as `PIL.Image.convert("L")` rounds it.
* Resizing ignores the aspect and is Pillow's bilinear filter, which is antialiased (torchvision's `Resize` on
  PIL images).
"""

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PLAIN_CHUNKS = frozenset(b"IHDR IDAT IEND sRGB gAMA cHRM pHYs tEXt iCCP tIME bKGD".split())
_JPEG_SIZES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive frames, Huffman coded
_JPEG_SCAN, _JPEG_APP1 = 0xDA, 0xE1


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, without the file's name."""


class Facts(NamedTuple):
    """What one file is before any conversion: Pillow's format and mode, (width, height), whether EXIF turns it."""

    format: str
    mode: str
    size: tuple[int, int]
    turned: bool


def decode(data: bytes, *, size: int | None, channels: int) -> np.ndarray:
    """Decode one image to uint8 [S, S, C], or [H, W, C] of the file's own size where `size` is None.

    Raises Unreadable.
    """
    return pixels(open_image(data), size=size, channels=channels)


def open_image(data: bytes) -> Image.Image:
    """Open and fully load an image, still in the file's mode and orientation. Raises Unreadable."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Image.UnidentifiedImageError:
        raise Unreadable("not an image" if data else "empty file") from None
    except Exception as error:  # Pillow's parsers raise nearly any type on corrupt bytes
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from None
    return image


def facts(image: Image.Image) -> Facts:
    """Describe an opened image as its file has it."""
    return Facts(image.format or "?", image.mode, image.size, upright(image) is not image)


def pixels(image: Image.Image, *, size: int | None, channels: int) -> np.ndarray:
    """Convert an opened image to upright uint8 [S, S, C] by the rules above. Raises Unreadable."""
    try:
        image = _plain(upright(image)).convert("L" if channels == 1 else "RGB")
    except (ValueError, OSError) as error:
        raise Unreadable(str(error)) from None
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, channels)


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; return the very same object where there is none to apply."""
    try:
        if image.getexif().get(0x0112, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing against the pixels
        return image


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image to 8-bit gray or colour without transparency."""
    if image.mode == "F":
        raise Unreadable("floating-point pixels have no agreed range; save the image with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable("more than 16 bits a pixel; save the image with 8 or 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode.endswith("A") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Bring uint8 [B, S, S, 1 or 3] to C channels: gray is repeated, RGB becomes luma as Pillow rounds it."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    weights = np.array([19595, 38470, 7471], np.uint32)  # .299, .587, .114 in 16 bits
    return ((images.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]


def is_plain(data: bytes, *, size: int, channels: int) -> bool:
    """Tell from the headers whether a bare JPEG or PNG decoder gives exactly what `decode` gives.

    True for 8-bit gray or RGB files of `size` x `size` with nothing that turns, hides or converts pixels.
    Never raises: whatever cannot be understood is not plain.
    """
    try:
        header = _jpeg_header(data) if data[:2] == b"\xff\xd8" else _png_header(data)
    except (struct.error, IndexError):
        return False
    return header is not None and header[:2] == (size, size) and (channels == 3 or header[2] == 1)


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
    if data[:8] != _PNG:
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
