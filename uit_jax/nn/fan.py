"""The network that finds 98 landmarks of a face, one hourglass (arXiv:1904.07399), and what of a face StarGAN v2 keeps
by them: masks (arXiv:1912.01865, appendix).

Its weights are a file's. They are constants of whatever is computed with them, and learn nothing.
"""

import functools
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.nn.convolution import convolve
from uit_jax.nn.norms import per_channel
from uit_jax.nn.resampling import average_pool, repeat
from uit_jax.types import Array

SIDE, LANDMARKS, DEPTH = 256, 98, 4
"""Pixels a side of what the network sees and of the masks; the halvings of its hourglass."""

Weights = Mapping[str, np.ndarray]

OWNER = re.compile(r"^(state_dict\.|fan\.)?(module\.)?")
"""What stands before the names of the weights in the files that hold them."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights by their published names, in torch's layouts."""
    found = {"conv1.conv.weight": (64, 6, 7, 7), "conv1.conv.bias": (64,), **_norm("bn1", 64)}
    for name, channels, features in (("conv2", 64, 128), ("conv3", 128, 128), ("conv4", 128, 256)):
        found |= _block(name, channels, features)
    found |= {"m0.coordconv.conv.weight": (256, 259, 1, 1), "m0.coordconv.conv.bias": (256,)}
    levels = [f"b{branch}_{level}" for branch in (1, 2, 3) for level in range(1, DEPTH + 1)]
    for name in (*(f"m0.{level}" for level in (*levels, "b2_plus_1")), "top_m_0"):
        found |= _block(name, 256, 256)
    found |= {"conv_last0.weight": (256, 256, 1, 1), "conv_last0.bias": (256,), **_norm("bn_end0", 256)}
    return found | {"l0.weight": (LANDMARKS + 1, 256, 1, 1), "l0.bias": (LANDMARKS + 1,)}


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def _block(name: str, channels: int, features: int) -> dict[str, tuple[int, ...]]:
    found, read = {}, channels
    for index, made in enumerate((features // 2, features // 4, features // 4), 1):
        found |= _norm(f"{name}.bn{index}", read) | {f"{name}.conv{index}.weight": (made, read, 3, 3)}
        read = made
    if channels != features:
        found |= _norm(f"{name}.downsample.0", channels)
        found[f"{name}.downsample.2.weight"] = (features, channels, 1, 1)
    return found


@functools.lru_cache(maxsize=1)
def load(path: str) -> Weights:
    """Read the weights under their published names, in torch's layouts.

    Args:
      path: the published file, a checkpoint of StarGAN v2 that holds them as `fan`, or a copy of either as another
        kind of file (`tensors`); whatever else is in it is left out.

    Raises:
      UserError: it is not there, no such file, or lacks one of them.
    """
    try:
        found = {OWNER.sub("", name): value for name, value in tensors.read(path).items()}
    except UserError as error:
        raise UserError(f"a face's landmarks network cannot be read: {error}") from error
    for name, shape in shapes().items():
        value = found.get(name, np.zeros(()))
        if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
            raise UserError(f"{path} holds no landmarks network: {name} is missing, of another shape or not all finite")
    # Copies, so that no more of the file is kept.
    return {name: np.array(found[name], np.float32) for name in shapes()}


def state_dict(weights: Weights) -> dict[str, np.ndarray]:
    """Return weights as a published checkpoint holds them, with the norms' counts of batches, which nothing reads."""
    found = {}
    for name, value in weights.items():
        found[name] = value
        if name.endswith("running_var"):
            found[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return found


def heat_maps(weights: Weights, images: Array) -> Array:
    """Return where the landmarks are in images in [-1, 1]: [B, H, W, 3] -> [B, 64, 64, 98]."""

    def conv(name: str, x: Array, stride: int = 1, pad: int = 0) -> Array:
        y = convolve(x, jnp.asarray(weights[f"{name}.weight"].transpose(2, 3, 1, 0)), stride, (pad, pad))
        bias = weights.get(f"{name}.bias")
        return y if bias is None else y + per_channel(jnp.asarray(bias))

    def active(name: str, x: Array) -> Array:
        """Normalise by running statistics, and cut off what is negative."""
        scale, bias, mean, var = (weights[each] for each in _norm(name, 0))
        scale = scale / np.sqrt(var + 1e-5)
        return jax.nn.relu(x * per_channel(jnp.asarray(scale)) + per_channel(jnp.asarray(bias - mean * scale)))

    def block(name: str, x: Array) -> Array:
        """Add to maps three convolutions, each of the last, side by side."""
        y, made = x, []
        for index in (1, 2, 3):
            y = conv(f"{name}.conv{index}", active(f"{name}.bn{index}", y), pad=1)
            made.append(y)
        if f"{name}.downsample.2.weight" in weights:
            x = conv(f"{name}.downsample.2", active(f"{name}.downsample.0", x))
        return jnp.concatenate(made, -1) + x

    def hourglass(level: int, x: Array) -> Array:
        low = block(f"m0.b2_{level}", average_pool(x))
        low = hourglass(level - 1, low) if level > 1 else block("m0.b2_plus_1", low)
        return block(f"m0.b1_{level}", x) + repeat(block(f"m0.b3_{level}", low))

    x = jax.image.resize(images, (len(images), SIDE, SIDE, 3), "linear", antialias=False)
    x = active("bn1", conv("conv1.conv", _placed((x + 1) / 2), 2, 3))
    x = block("conv4", block("conv3", average_pool(block("conv2", x))))
    x = block("top_m_0", hourglass(DEPTH, conv("m0.coordconv.conv", _placed(x))))
    return conv("l0", active("bn_end0", conv("conv_last0", x)))[..., :LANDMARKS]


def _placed(x: Array) -> Array:
    """Put behind the channels of maps three more: their rows, columns and distances from the middle."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in x.shape[1:3]), indexing="ij")
    radius = np.sqrt(rows**2 + columns**2)
    places = jnp.asarray(np.stack([rows, columns, radius / radius.max()], -1))
    return jnp.concatenate([x, jnp.broadcast_to(places[None], (len(x), *places.shape))], -1)


def masks(heat: Array) -> tuple[Array, Array]:
    """Return what of a face is kept, of heat maps [B, 64, 64, 98]: all its parts, and its nose and eyes alone, each
    [B, 256, 256, 1] in [0, 1]; the rules are the published code's."""
    x = _enlarged(heat)
    x = jnp.where(x < 0.1, 0, x)
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    x = (x - low) / (high - low + 1e-6)

    out = x
    for first, last, rows, power in RULES:
        part = jnp.roll(x[..., first : last + 1], -rows, 1) ** power
        if (first, last) == EYES:
            part = part + jnp.roll(x[..., first : last + 1], 24, 1)
        out = out.at[..., first : last + 1].set(part)
    keep = np.ones(LANDMARKS, np.float32)
    keep[[*range(8), *range(25, 34), 46, 76, 82]] = 0
    few = keep.copy()
    few[[*range(8, 25), *range(33, 51), *range(76, 96)]] = 0
    return tuple((out * per_channel(jnp.asarray(which))).sum(-1, keepdims=True).clip(0, 1) for which in (keep, few))


EYES = 60, 75
RULES = (
    (8, 24, 0, 3),
    (33, 50, -7, 2),
    (52, 54, 4, 1),
    (55, 59, 8, 4),
    (*EYES, -8, 3),
    (77, 81, -8, 4),
    (83, 87, 8, 4),
    (88, 95, -2, 3),
)
"""Of landmarks from one to another, the pixels by which they are moved up, and the power that narrows them."""


def _enlarged(x: Array) -> Array:
    """Enlarge maps to 256 x 256, linearly between the middles of pixels, of which the outermost stay where they are."""
    places = np.linspace(0, x.shape[1] - 1, SIDE)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(x.shape[1])[None])).astype(np.float32)
    return jnp.einsum("ih,bhwc,jw->bijc", weights, x, weights, precision="highest")
