"""VGG-16 up to its last convolution (arXiv:1409.1556), and how far two images are apart in what it sees.

Its weights are a file's. They are constants of whatever is computed with them, and learn nothing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.errors import UserError
from uit_jax.nn.convolution import convolve
from uit_jax.nn.norms import instance_norm, per_channel
from uit_jax.nn.resampling import max_pool
from uit_jax.types import Array

COUNTS = (2, 2, 3, 3, 3)
"""The convolutions of every block."""

LAYERS = tuple(f"conv{block}_{index + 1}" for block, count in enumerate(COUNTS, 1) for index in range(count))
"""The convolutions in their order, by the names of the authors' files."""

NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""What files call them whose names begin with "features."."""

# As in MUNIT's published code, none lies between conv4_3 and conv5_1.
POOLED = ("conv1_2", "conv2_2", "conv3_3")

MEANS = (103.939, 116.779, 123.680)
"""Of blue, green and red, 0 to 255, which the authors' weights expect to be taken away."""

Weights = tuple[tuple[np.ndarray, np.ndarray], ...]


@functools.lru_cache(maxsize=1)
def load(path: str) -> Weights:
    """Read the convolutions of an .npz file: kernel [3, 3, in, out] and bias [out] of each, in order.

    The file holds torch's layouts as "conv1_1.weight" and "conv1_1.bias", or as "features.0.weight", and so on; others
    in it are left out.

    Raises:
      UserError: it is not there, no such file, or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name.startswith(("conv", "features."))}
    # A damaged file shows as almost any error: of zip, of numpy, of the file system.
    except Exception as error:
        raise UserError(f"{path} cannot be read as an .npz file of VGG-16's weights: {_told(error)}") from error
    numbered = "features.0.weight" in found
    names = [f"features.{number}" for number in NUMBERS] if numbered else LAYERS
    weights, channels = [], 3
    for name in names:
        kernel, bias = (found.get(f"{name}.{leaf}", np.zeros(())) for leaf in ("weight", "bias"))
        if bias.ndim != 1 or not bias.size or kernel.shape != (len(bias), channels, 3, 3):
            raise UserError(f"{path} holds no weights of VGG-16: {name} is missing or of another shape")
        if not all(each.dtype.kind == "f" and np.isfinite(each).all() for each in (kernel, bias)):
            raise UserError(f"{path} holds no weights of VGG-16: {name} is not all finite numbers")
        weights.append((np.float32(kernel.transpose(2, 3, 1, 0)), np.float32(bias)))
        channels = len(bias)
    return tuple(weights)


def features(weights: Weights, images: Array) -> Array:
    """Return what the last convolution sees of images in [-1, 1]: [B, H, W, 3] -> [B, H / 8, W / 8, 512]."""
    x = (images[..., ::-1] + 1) * 127.5 - per_channel(jnp.array(MEANS))
    for name, (kernel, bias) in zip(LAYERS, weights, strict=True):
        x = jax.nn.relu(convolve(x, jnp.asarray(kernel), pad=(1, 1)) + per_channel(jnp.asarray(bias)))
        x = max_pool(x) if name in POOLED else x
    return x


def distance(weights: Weights, images: Array, others: Array) -> Array:
    """Return the mean squared difference of features, normalised image by image (arXiv:1804.04732, Section 5.1).

    What an instance norm takes away is of a domain rather than of the scene.
    """
    one, other = (instance_norm(features(weights, each)) for each in (images, others))
    return jnp.square(one - other).mean()


def _told(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
