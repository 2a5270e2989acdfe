"""A small convolutional network whose weights are drawn and never learn: features that need no file.

Each layer halves the image and activates; features are the means over the image of what every layer gives.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.nn.convolution import convolve
from uit_jax.types import Array

WIDTHS = (16, 32, 64, 128)


def draw(seed: int, channels: int, widths: Sequence[int] = WIDTHS) -> tuple[np.ndarray, ...]:
    """Draw the kernels of all layers, float32 [3, 3, in, out]: a function of the arguments on any machine."""
    rng, kernels = np.random.default_rng(seed), []
    for before, after in zip((channels, *widths), widths, strict=False):
        scale = np.sqrt(2 / (9 * before))
        kernels.append(np.float32(rng.standard_normal((3, 3, before, after)) * scale))
    return tuple(kernels)


def features(kernels: Sequence[Array], images: Array) -> Array:
    """Map images [B, S, S, C] in [-1, 1] to the means of all layers' channels: [B, D]."""
    x, means = images, []
    for kernel in kernels:
        x = jax.nn.leaky_relu(convolve(x, jnp.asarray(kernel), 2, (1, 1)), 0.2)
        means.append(x.mean((1, 2)))
    return jnp.concatenate(means, -1)
