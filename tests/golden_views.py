"""Computes with `uit_jax.augment` what a golden file of torchvision's views records."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_recipe
from uit_jax import augment

# Largest mean and 99th percentile of the difference to 8-bit results, in 1 / 255; hues are 8-bit inside PIL too.
LIMITS = {"hue": (2, 8), "jitter": (2, 8), "all": (4, 255)}
LIMITS |= dict.fromkeys(("affine_bilinear", "resized_crop", "brightness", "contrast", "saturation"), (1, 3))


class Runner:
    """The views of one golden file; every key is a group of its own."""

    def __init__(self, manifest, arrays):
        self.manifest = manifest

    @staticmethod
    def group(key: str) -> str:
        return key

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the named view of every image, float [n, S, S, 3] in [0, 255]."""
        drawn = self.manifest["params"]
        size = self.manifest["size"]
        images = golden_recipe.images(self.manifest["salt"] + "views", len(drawn), size)
        view = jax.jit(functools.partial(_view, group, size))
        views = []
        for image, parameters in zip(images, drawn, strict=True):
            parameters = {name: jnp.asarray(value) for name, value in parameters.items()}
            views.append(view(np.round((image + 1) * 127.5) / 255, parameters))
        return {group: 255 * np.stack(views)}

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert the tolerances of 8-bit results."""
        difference = np.abs(ours - theirs.astype(np.float64))
        if key == "affine_nearest":
            # At a border of two pixels either is right.
            assert (difference.max(-1) <= 3).mean() >= 0.97
        else:
            assert key in LIMITS, f"no tolerance known for {key}"
            mean, percentile = LIMITS[key]
            assert difference.mean() <= mean
            assert np.percentile(difference, 99) <= percentile


def _view(name: str, size: int, image, p):
    def affine(image, resample):
        return augment.affine(image, p["angle"], p["translate"], p["shear"], resample=resample)

    def crop(image):
        return augment.resized_crop(image, *p["crop"], (size, size))

    def jitter(image, *changes):
        neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
        parameters = {change: p[change] if change in changes else value for change, value in neutral.items()}
        return augment.color_jitter(image, **parameters, order=p["order"])

    every = ("brightness", "contrast", "saturation", "hue")
    if name in every:
        return jitter(image, name)
    views = {
        "affine_nearest": lambda: affine(image, "nearest"),
        "affine_bilinear": lambda: affine(image, "bilinear"),
        "resized_crop": lambda: crop(image),
        "jitter": lambda: jitter(image, *every),
        "all": lambda: augment.mirror(jitter(crop(affine(image, "nearest")), *every), p["flip"]),
    }
    assert name in views, f"no computation for {name}"
    return views[name]()
