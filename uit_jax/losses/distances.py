"""Distances between images, and within one, that a translation should keep (DistanceGAN, arXiv:1706.00826)."""

import jax.numpy as jnp
import numpy as np

from uit_jax.types import Array


def between(images: Array) -> Array:
    """Return the mean absolute difference of every pair of images [B, H, W, C], i < j: [B (B - 1) / 2] (Eq. 4)."""
    first, second = np.triu_indices(len(images), 1)
    return jnp.abs(images[first] - images[second]).mean((1, 2, 3))


def within(images: Array) -> Array:
    """Return the mean absolute difference of the upper and the lower halves of a batch [B, H, W, C]: [1] (Eq. 6).

    As in the published code it is one number for a batch; H is even.
    """
    upper, lower = jnp.split(images, 2, axis=1)
    return jnp.abs(upper - lower).mean()[None]
