"""Real image files for the tests, drawn from a seed."""

import io

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    """Return a smooth random picture, uint8 [H, W, 3], that JPEG keeps well."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: Image.Image, format: str, **options) -> bytes:
    """Return the bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()
