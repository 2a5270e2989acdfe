"""How the standard tools bring an image to what a feature network reads: to a square, then to about [-1, 1].

Scores of images of another size differ between these ways by more than between methods (arXiv:2104.11222).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image



class Mode(NamedTuple):
    """A change of size, ([H, W, C], side) -> [side, side, C], and the range of what comes of it, of every channel.

    `centre` becomes 0, and `centre + reach` 1.
    """

    change: Callable[[np.ndarray, int], np.ndarray]
    centre: tuple[float, ...] = (127.5,)
    reach: tuple[float, ...] = (127.5,)


def resize(images: np.ndarray, side: int, mode: str) -> np.ndarray:
    """Bring images to a square: [..., H, W, C], uint8 or floats in [0, 255] -> [..., side, side, C].

    Modes, by whose pixels they equal, float32 but for the last:
      pytorch_fid: torch's and TensorFlow 2's, bilinear between the centres of pixels, without antialiasing.
      legacy_pytorch, legacy_tensorflow, clean: clean-fid's. The first is pytorch-fid's; the second TensorFlow 1's and
        torch-fidelity's, bilinear between the corners of pixels; the third Pillow's, bicubic and antialiased, of floats.
      nearest_normalized_twice: the nearest pixel, as in TUNIT's reference code.
      pillow_bilinear: Pillow's, bilinear and antialiased, as torchvision resizes files; uint8 stays uint8, rounded.

    Raises:
      ValueError: there is no such mode.
    """
    change = _named(mode).change
    *leading, height, width, channels = images.shape
    flat = images.reshape(-1, height, width, channels)
    resized = [change(image if image.dtype == np.uint8 else image.astype(np.float32), side) for image in flat]
    return np.stack(resized).reshape(*leading, side, side, channels)


def centred(images: np.ndarray, mode: str) -> np.ndarray:
    """Bring resized images in [0, 255] to the network's range: float32, about [-1, 1].

    pytorch-fid takes 127.5 for its middle and clean-fid and torch-fidelity, like TensorFlow, 128. Raises ValueError.
    """
    _, centre, reach = _named(mode)
    return (np.asarray(images, np.float32) - np.float32(centre)) / np.float32(reach)


def _named(mode: str) -> Mode:
    if mode not in MODES:
        raise ValueError(f"no mode of resizing is called {mode!r}; known: {', '.join(MODES)}")
    return MODES[mode]


def _bilinear(image: np.ndarray, side: int, *, half: float) -> np.ndarray:
    """Interpolate between neighbours; `half` of a pixel lies before its centre."""
    for axis in (0, 1):
        size = image.shape[axis]
        # Where a line lies is rounded as the tools round it.
        places = (np.arange(side, dtype=np.float32) + np.float32(half)) * np.float32(size / side) - np.float32(half)
        places = np.maximum(places, 0)
        first = np.minimum(places.astype(int), size - 1)
        share = np.expand_dims(places - first.astype(np.float32), tuple({0, 1, 2} - {axis}))
        before, after = (image.take(lines, axis) for lines in (first, np.minimum(first + 1, size - 1)))
        image = (1 - share) * before + share * after
    return image


def _nearest(image: np.ndarray, side: int) -> np.ndarray:
    rows, columns = (
        np.minimum((np.arange(side, dtype=np.float32) * np.float32(size / side)).astype(int), size - 1)
        for size in image.shape[:2]
    )
    return image[rows][:, columns].astype(np.float32)


def _clean(image: np.ndarray, side: int) -> np.ndarray:
    return np.clip(_pillow(image.astype(np.float32), side, Image.Resampling.BICUBIC), 0, 255)


def _pillow(image: np.ndarray, side: int, filter: Image.Resampling) -> np.ndarray:
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0))
    return np.stack([np.asarray(plane.resize((side, side), filter)) for plane in planes], -1)


_of_centres = functools.partial(_bilinear, half=0.5)

# The mean and the deviation of ImageNet, in [0, 1], where [-1, 1] is expected.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

MODES = {
    "pytorch_fid": Mode(_of_centres),
    "legacy_pytorch": Mode(_of_centres, (128,), (128,)),
    "legacy_tensorflow": Mode(functools.partial(_bilinear, half=0.0), (128,), (128,)),
    "clean": Mode(_clean, (128,), (128,)),
    "nearest_normalized_twice": Mode(
        _nearest,
        tuple(255 * (mean + deviation / 2) for mean, deviation in zip(_MEANS, _DEVIATIONS, strict=True)),
        tuple(255 * deviation / 2 for deviation in _DEVIATIONS),
    ),
    "pillow_bilinear": Mode(functools.partial(_pillow, filter=Image.Resampling.BILINEAR)),
}
