"""From the bytes of an image file to an array of the wanted size, channels and bits: one rule for every format.

What arrives, whatever the file:

* JPEG, PNG, WebP, BMP, TIFF (first page), GIF, animated WebP, PNG and AVIF (first frame), PPM and its kin, TGA,
  JPEG 2000, AVIF where Pillow has it, and `.npy` arrays; nothing else is opened, whatever its name (`images.opening`).
* Larger images than a number of pixels are unreadable, by their header, before anything of them is decoded.
* EXIF orientation is applied.
* Colours with an embedded profile (RGB, gray or CMYK) are converted to sRGB, where they are not that; a profile that
  is broken, or of another kind of colours, is ignored. At depth 16, and of any other number of channels than 1 and 3,
  pixels are kept as they are stored.
* Transparency (an alpha channel or a transparent palette entry) is composited on white, before resizing.
* At depth 8, 16 bits a channel keep their high byte; at depth 16, they are kept, and 8 bits are scaled by 257.
  Floating-point pixels are unreadable: their range is not agreed on.
* CMYK and palettes become RGB. Three channels from gray repeat it; one channel from colour is the luma of
  ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as `PIL.Image.convert("L")` rounds it.
* Any other number of channels is taken from files that have as many, as they are: arrays, multi-channel TIFF, a
  TIFF of that many gray pages, or the four of RGBA and CMYK.
* Resizing ignores the aspect and is Pillow's bilinear or bicubic filter, which are antialiased (torchvision's
  `Resize` on PIL images).

What files lose in this (opacity, further pages and frames, profiles) is said once, and counted by `uit data check`.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from uit_jax.errors import UserError
from uit_jax.images import profiles, rasters
from uit_jax.images.opening import MAX_PIXELS, Unreadable, decoding, has_more, loaded, opened, tell_once, upright

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class WrongChannels(UserError):
    """An image of which the wanted channels cannot be made; the text does not name the file.

    Attributes:
      found: the channels it has.
    """

    def __init__(self, found: int, wanted: int):
        super().__init__(f"has {found} channel{'s' * (found != 1)}, of which {wanted} cannot be made")
        self.found = found


class Facts(NamedTuple):
    """What one file is before any conversion.

    Attributes:
      format, mode: as Pillow calls them.
      size: (width, height).
      turned: whether EXIF turns it.
      alpha: whether it has opacity, as a channel or a colour.
      more: whether there are further pages or frames.
      profile: "sRGB", "converted" to that, or "unusable"; "" without one.
    """

    format: str
    mode: str
    size: tuple[int, int]
    turned: bool
    alpha: bool = False
    more: bool = False
    profile: str = ""


def decode(
    data: bytes,
    *,
    size: int | None = None,
    channels: int,
    depth: int = 8,
    resample: str = "bilinear",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode one image to uint8 (depth 8) or uint16 (depth 16) [S, S, C], [H, W, C] of its own size without a size.

    Raises Unreadable, and WrongChannels, a UserError, where the image has other channels than could be brought to C.
    """
    with decoding():
        raster = rasters.read(data, channels=channels, depth=depth, max_pixels=max_pixels)
        if raster is None:
            image = opened(data, max_pixels)
            if has_more(image):
                tell_once("of files with several pages or frames the first is read")
            if depth == 8:
                return pixels(loaded(image), size=size, channels=channels, resample=resample)
            image = _gray_or_colour(loaded(image), channels, as_stored=True)
            raster = rasters.Raster(np.asarray(image).reshape(image.height, image.width, -1))
        image = to_depth(raster.pixels, depth)
        if raster.alpha and channels != image.shape[-1]:
            image = _on_white(image)
        image = to_channels(image, channels)
        return image if size is None else resize(image, (size, size), resample)


def is_plain(data: bytes, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> bool:
    """Tell by its header whether an image is a JPEG or PNG of a height and width. Raises Unreadable."""
    image = opened(data, max_pixels)
    return image.format in ("JPEG", "PNG") and image.size == size[::-1]


def facts(image: Image.Image) -> Facts:
    """Describe an image that was just opened, as its file has it, and decode it. Raises Unreadable."""
    with decoding():
        more = has_more(image)
        found = profiles.conversion(loaded(image))
        turned, state = upright(image) is not image, "" if found is None else found.state
        return Facts(image.format or "?", image.mode, image.size, turned, _has_alpha(image), more, state)


def pixels(image: Image.Image, *, size: int | None, channels: int, resample: str = "bilinear") -> np.ndarray:
    """Convert a decoded image to upright uint8 [S, S, C] by the rules above. Raises Unreadable, WrongChannels."""
    with decoding():
        image = _gray_or_colour(image, channels)
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), FILTERS[resample])
        return np.asarray(image).reshape(image.height, image.width, channels)


def _gray_or_colour(image: Image.Image, channels: int, *, as_stored: bool = False) -> Image.Image:
    """Bring an image to 8-bit gray or colour, upright, its colours to sRGB but `as_stored`."""
    if channels not in (1, 3):
        raise WrongChannels(len(image.getbands()), channels)
    found = profiles.conversion(image)
    transform = None if found is None else _transform(found, as_stored)
    image = upright(image)
    if transform is None or image.mode != "CMYK":
        image = _plain(image)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform)
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _transform(found: profiles.Conversion, as_stored: bool) -> ImageCms.ImageCmsTransform | None:
    """Return how colours are converted, None where they are not, and say it once."""
    if found.state == "unusable":
        tell_once("embedded colour profiles that cannot be used are ignored")
    elif found.state == "converted":
        done = "are not applied at depth 16" if as_stored else "are applied: colours are converted to sRGB"
        tell_once(f"embedded colour profiles {done}")
    return None if as_stored else found.transform


def _has_alpha(image: Image.Image) -> bool:
    return image.mode[-1] in "Aa" or "transparency" in image.info


def _plain(image: Image.Image) -> Image.Image:
    """Bring an image to 8-bit gray or colour without transparency."""
    if image.mode == "F":
        raise Unreadable(rasters.FLOAT)
    if image.mode.startswith("I"):
        return Image.fromarray((rasters.whole_numbers(np.asarray(image)) >> 8).astype(np.uint8))
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if _has_alpha(image):
        image = image.convert("RGBA")
        if image.getextrema()[-1] != (255, 255):
            tell_once("images with opacity (an alpha channel) are read as they look on white")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


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
