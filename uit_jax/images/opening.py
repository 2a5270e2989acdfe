"""The one place that opens image files: the formats there are, what may go wrong with one, and how large one may be.

Nothing but `FORMATS` is opened, whatever a file is called: of Pillow's other formats some run programs. A limit on
pixels is checked against the header before anything is allocated or decompressed; decoded, a file may take `BYTES` for
each pixel of the limit, which is what four channels of 16 bits take.
"""

import contextlib
import ctypes
import functools
import io
import logging
import math
import re
import struct
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, ImageOps, _imaging

from uit_jax.errors import UserError, shown

# TGA, which has no signature, comes last. AVIF is there where Pillow was built with it.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF", "TGA")
MAX_PIXELS = 100_000_000
BYTES = 8

ORIENTATION = 274  # the tag of TIFF and EXIF
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_MOST_TILES = 4096  # of a JPEG 2000, whose decoder takes 12 kB for each, however small
_LONGEST_REASON = 200

_log = logging.getLogger(__name__)

# What decoders have to say of a damaged file is in what they raise. They would say it on the terminal, for every file.
warnings.filterwarnings("ignore", module=r"PIL\.")
for each in ("PIL", "tifffile"):
    logging.getLogger(each).setLevel(logging.CRITICAL)
with contextlib.suppress(OSError, AttributeError):  # a Pillow with its own libtiff inside
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    ctypes.CDLL(_imaging.__file__).TIFFSetWarningHandler(None)


class Unreadable(Exception):
    """An image that cannot be decoded; the text is the reason, in one line, without the file's name."""


class TooLarge(Unreadable):
    """An image of more pixels than may be decoded."""


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Make whatever a decoder raises, which on hostile bytes is nearly any type, an Unreadable."""
    try:
        yield
    except (Unreadable, UserError):
        raise
    except Image.UnidentifiedImageError:
        raise Unreadable("not an image") from None
    except MemoryError:
        raise Unreadable("there is not enough memory to decode it") from None
    except Exception as error:
        reason = shown(" ".join(str(error).split())) or type(error).__name__
        raise Unreadable(reason[:_LONGEST_REASON]) from None


def check_size(height: int, width: int, pixel_bytes: int, max_pixels: int) -> None:
    """Check an image's size, by its header, whose pixels take so many bytes. Raises Unreadable, TooLarge."""
    if height < 1 or width < 1:
        raise Unreadable(f"there is no pixel in an image of {width} x {height}")
    size = f"{width} x {height} px"
    if height * width > max_pixels:
        raise TooLarge(_refusal(size, max_pixels))
    if height * width * pixel_bytes > max_pixels * BYTES:
        raise TooLarge(_refusal(f"{size} of {pixel_bytes} bytes", max_pixels, f"{BYTES} bytes for each of "))


def _refusal(size: str, max_pixels: int, what: str = "") -> str:
    return f"{size} are more than {what}data.max_pixels={max_pixels}: raise it to read this image"


def opened(data: bytes | BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image by its header, its pixels not yet decoded. Raises Unreadable, TooLarge."""
    if not data:
        raise Unreadable("empty file")
    # Ours is the stricter limit, until someone raises it; Pillow refuses by itself what has twice as many pixels.
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    with decoding():
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        _check_canvas(stream.read(30), max_pixels)
        stream.seek(0)
        try:
            image = Image.open(stream, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise TooLarge(_refusal(f"{re.search('[0-9]+', str(error))[0]} px", max_pixels)) from None
        check_size(image.height, image.width, 4, max_pixels)
        if image.format == "TIFF":
            tile = image.tag_v2.get(_TILE_HEIGHT, 1), image.tag_v2.get(_TILE_WIDTH, 1)
            check_size(*tile, 4, max_pixels)
        if image.format == "JPEG2000":
            _check_tiles(stream)
        return image


def loaded(image: Image.Image) -> Image.Image:
    """Decode the pixels of an opened image, and return it. Raises Unreadable."""
    with decoding():
        image.load()
    return image


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; return the very same object where there is none to apply."""
    try:
        if image.getexif().get(ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing against the pixels
        return image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of an opened image as `upright` makes it, decoding it only where need be.

    Raises Unreadable.
    """
    with decoding():
        turned = image.getexif().get(ORIENTATION, 1) >= 5
        if turned and image.format == "TIFF":  # of which Pillow turns the size when it opens it, and the rest later
            return upright(loaded(image)).size[::-1]
        return image.size if turned else image.size[::-1]


def has_more(image: Image.Image) -> bool:
    """Tell whether an image that was just opened, and not decoded, has further pages or frames."""
    if image.format == "TIFF":
        return bool(image.tag_v2.next)
    return bool(getattr(image, "is_animated", False))


@functools.cache
def tell_once(what: str) -> None:
    """Say what images lose; each thing once, for it is often so of all."""
    _log.warning("%s; `uit data check` counts them", what)


def _check_canvas(head: bytes, max_pixels: int) -> None:
    """Check the canvas of a WebP, which is allocated when Pillow opens it."""
    kind = head[12:16] if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) == 30 else b""
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return
    check_size(height, width, 4, max_pixels)


def _check_tiles(stream: BinaryIO) -> None:
    """Check the number of tiles of a JPEG 2000."""
    stream.seek(0)
    head = stream.read(1 << 16)
    stream.seek(0)
    place = head.find(b"\xff\x4f\xff\x51")
    if place < 0 or len(head) < place + 40:
        return
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", head, place + 8)
    if width and height and math.ceil((right - left) / width) * math.ceil((bottom - top) / height) > _MOST_TILES:
        raise TooLarge(f"it is cut into more than {_MOST_TILES} tiles")
