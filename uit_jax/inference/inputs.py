"""Images as users hand them in: files and folders, PIL images, arrays; brought to what a run reads.

Arrays are one image [H, W, C] or, gray, [H, W], or many [n, H, W, C], of uint8 (0 to 255), uint16 (0 to 65535) or
floats from 0 to 1. Every kind is brought to a run's channels and bits by the rules of `images.decode`.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from uit_jax.errors import UserError, shown
from uit_jax.images import decode, rasters
from uit_jax.images.opening import MAX_PIXELS, Unreadable, decoding, loaded, upright, upright_size
from uit_jax.listing import find_images
from uit_jax.paths import PathLike, as_path

ACCEPTED = "images are file names, PIL images, or arrays [H, W, C], [H, W] or [n, H, W, C] of uint8, uint16 or floats"
UNREADABLE = (Unreadable, UserError, OSError)
"""What `pixels` and `own_size` raise for an image that cannot be read."""

_log = logging.getLogger(__name__)

Images = PathLike | Image.Image | np.ndarray | Iterable[Any]
"""One image, or several; a folder stands for the images in it."""


class Given(NamedTuple):
    """Images that were handed in.

    Attributes:
      items: each a path, a PIL image or an array [H, W, C] of uint8, uint16 or floats from 0 to 1.
      name: what messages call them all.
      single: whether they are one image that did not come in a list.
      stacked: whether they came as one array [n, H, W, C].
    """

    items: list[Path | Image.Image | np.ndarray]
    name: str
    single: bool = False
    stacked: bool = False

    def called(self, index: int) -> str:
        """Say in a few words which image it is: its file's name, or its number."""
        item = self.items[index]
        return shown(item.name if isinstance(item, PurePath) else getattr(item, "filename", "") or f"image {index}")

    def returned(self, found: list[Any]) -> Any:
        """Return what was made of each as they were handed in: one, an array of many, or a list."""
        if self.single:
            return found[0]
        return np.stack(found) if self.stacked and isinstance(found[0], np.ndarray) else found

    def told(self, index: int) -> str:
        """Say where an image is to be found: its path, or its number among those that were handed in."""
        item = self.items[index]
        return shown(item) if isinstance(item, PurePath) else self.called(index)


def gather(images: Images, name: str) -> Given:
    """List images that were handed in, without reading files; `name` is what messages call them, such as "content".

    Raises:
      UserError: there is no such file, no image, or an array is none: of other axes or numbers, or out of its range.
    """
    if isinstance(images, Given):
        return images
    if isinstance(images, PathLike):
        found = find_images(images)
        return Given(found, f"--{name}={images}", single=found == [as_path(images)])
    if isinstance(images, Image.Image):
        if 0 in images.size:
            raise UserError(f"{name}: there is no pixel in an image of {images.width} x {images.height}")
        return Given([images], name, single=True)
    if hasattr(images, "__array__"):
        array = _checked(np.asarray(images), name)
        if array.ndim == 4 and not len(array):
            raise UserError(f"{name}: there is no image in an array of {list(array.shape)}")
        return Given(list(array), name, stacked=True) if array.ndim == 4 else Given([array], name, single=True)
    if not isinstance(images, Iterable) or isinstance(images, bytes | bytearray | dict):
        raise UserError(f"{name}: {type(images).__name__} is no image; {ACCEPTED}")
    found = [item for each in images for item in gather(each, name).items]
    if not found:
        raise UserError(f"{name}: no images are given")
    return Given(found, name)


def pixels(
    item: Path | Image.Image | np.ndarray,
    *,
    size: int | None = None,
    channels: int,
    depth: int,
    resample: str,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read one image: uint8 (depth 8) or uint16 (depth 16) [S, S, C], [H, W, C] of its own size without a size.

    `max_pixels` is the limit of a file's image.

    Raises:
      Unreadable, OSError: a file that cannot be read.
      UserError: an image of which the channels cannot be made.
    """
    form = dict(size=size, channels=channels, resample=resample)
    if isinstance(item, PurePath):
        return decode.decode(item.read_bytes(), depth=depth, max_pixels=max_pixels, **form)
    if isinstance(item, Image.Image):
        deep = item.mode.startswith("I") and depth == 16
        if channels in (1, 3) and not deep:
            return decode.to_depth(decode.pixels(loaded(item), **form), depth)
        with decoding():
            item = np.asarray(upright(loaded(item)))
            item = rasters.whole_numbers(item).reshape(*item.shape[:2], -1)
    image = decode.to_channels(decode.to_depth(_whole(item, depth), depth), channels)
    return image if size is None else decode.resize(image, (size, size), resample)


def readable(given: Given, what: str, **form: Any) -> tuple[Given, np.ndarray]:
    """Read those images that can be, to one size, as `pixels` does: which these are, and [n, S, S, C].

    The others are named in a warning, `what` saying what the images are. Raises UserError where none can be read.
    """
    kept, images, reason = [], [], ""
    for index, item in enumerate(given.items):
        try:
            images.append(pixels(item, **form))
            kept.append(item)
        except UNREADABLE as error:
            reason = reason or f"{given.told(index)} cannot be read: {error}"
            _log.warning("%s %s is left out: %s", what, given.told(index), error)
    if not images:
        raise UserError(f"{what} {reason}")
    return given._replace(items=kept), np.stack(images)


def in_parts(given: Given, together: int, **form: Any) -> Iterator[np.ndarray]:
    """Read all images to one size, as `pixels` does, so many at once: [n, S, S, C]. Raises UserError."""
    for start in range(0, len(given.items), together):
        part = []
        for index in range(start, min(start + together, len(given.items))):
            try:
                part.append(pixels(given.items[index], **form))
            except UNREADABLE as error:
                raise UserError(f"image {given.told(index)} cannot be read: {error}") from error
        yield np.stack(part)


def to_pil(image: np.ndarray) -> Image.Image:
    """Make a PIL image of [H, W, C]: uint8 of 1, 3 or 4 channels, or uint16 of 1."""
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image))


def own_size(item: Path | Image.Image | np.ndarray, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return height and width of an upright image; of a file from its header, if Pillow knows it. Raises Unreadable."""
    if isinstance(item, np.ndarray):
        return item.shape[:2]
    return upright_size(item) if isinstance(item, Image.Image) else rasters.file_dimensions(item, max_pixels)


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of images with an axis of channels. Raises UserError where it is none."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim not in (3, 4) or 0 in array.shape[-3:]:
        raise UserError(f"{name}: an array of {list(array.shape)} is no image; {ACCEPTED}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind != "f":
        raise UserError(f"{name}: an array of {array.dtype} is no image; {ACCEPTED}")
    low, high = (float(value) for value in (array.min(initial=0), array.max(initial=0)))
    if not (low >= 0 and high <= 1):
        found = "NaN" if np.isnan(low + high) else f"{low:g} to {high:g}"
        raise UserError(f"{name}: floats are images where they lie in 0 to 1, and these are {found}")
    return array


def _whole(image: np.ndarray, depth: int) -> np.ndarray:
    """Bring floats from 0 to 1 to whole numbers of as many bits as are wanted; whole numbers stay."""
    if image.dtype.kind != "f":
        return image
    kind = np.uint8 if depth == 8 else np.uint16
    return np.rint(image.astype(np.float64) * np.iinfo(kind).max).astype(kind)
