"""Changes of size without weights: pooling, repetition, and those joined with a blur; and blurs themselves."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.nn.convs import bordered
from uit_jax.types import Array

TAPS = (1, 3, 3, 1)


def average_pool(x: Array) -> Array:
    """Halve H and W by the mean of 2 x 2 blocks."""
    return nn.avg_pool(x, (2, 2), (2, 2))


def overlapping_pool(x: Array, stride: int = 2) -> Array:
    """Take the mean of what lies in the image of 3 x 3 blocks around every, or every other, pixel from the first on."""
    total = nn.pool(x, 0.0, jax.lax.add, (3, 3), (stride, stride), ((1, 1), (1, 1)))
    # As numbers: XLA would count by a sum over windows, which is slow to fold.
    rows, columns = (
        np.minimum(np.arange(0, size, stride) + 2, size) - np.maximum(np.arange(0, size, stride) - 1, 0)
        for size in x.shape[1:3]
    )
    return total / jnp.asarray(np.outer(rows, columns)[None, :, :, None], x.dtype)


def max_pool(x: Array) -> Array:
    """Halve H and W by the maximum of 2 x 2 blocks, of which the first in reading order has the gradient."""
    windows = functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
    return jax.lax.platform_dependent(x, cpu=_larger_of_four, default=windows)


def _larger_of_four(x: Array) -> Array:
    """Return what `max_pool` does: on a processor XLA takes 10 to 20 times as long for the gradient of its windows."""
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    first, second, third, fourth = (x[:, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1))
    return _larger(_larger(first, second), _larger(third, fourth))


def _larger(x: Array, y: Array) -> Array:
    """Return the larger of two numbers, x where they are equal, and what is no number where either is none."""
    return jnp.where((x >= y) | jnp.isnan(x), x, y)


def repeat(x: Array) -> Array:
    """Double H and W by repetition of every pixel."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def blur(
    x: Array,
    pad: int | tuple[int, int],
    stride: int = 1,
    gain: float = 1.0,
    taps: tuple[int, ...] = TAPS,
    border: str = "zero",
) -> Array:
    """Filter by gain * taps / their sum along each axis, taps being the same from either end.

    Of the places of the filter in maps that were continued by `pad` (before, after) pixels, of the kinds that
    `convs.bordered` has, every `stride`-th is kept.
    """
    before, after = pad if isinstance(pad, tuple) else (pad, pad)
    x = bordered(x, before, border)
    end = after - before or None
    x, total = x[:, :end, :end], sum(taps)
    for axis in (1, 2):
        count = x.shape[axis] - len(taps) + 1
        parts = [jax.lax.slice_in_dim(x, start, start + count, stride, axis) for start in range(len(taps))]
        pairs = [gain * taps[place] / total * (parts[place] + parts[-1 - place]) for place in range(len(taps) // 2)]
        middle = [gain * taps[place] / total * parts[place] for place in range(len(taps) // 2, -(-len(taps) // 2))]
        x = functools.reduce(jnp.add, pairs + middle)
    return x


def smoothed(x: Array) -> Array:
    """Blur by [1, 2, 1] / 4 along both axes, borders repeated: behind `repeat` this makes what `blur_up` does."""
    return blur(x, 1, taps=(1, 2, 1), border="edge")


def blur_down(x: Array, centre: float = 0.5) -> Array:
    """Halve H and W (rounding up), blurred by [1, 2, 1] / 4 along each axis, borders reflected; both 2 at least.

    Any share of the central pixel can be had; a third makes it the mean of 3 x 3.
    """
    return _along_both(functools.partial(_halve, centre=centre), x)


def blur_up(x: Array) -> Array:
    """Double H and W, blurred by [1, 3, 3, 1] / 4 along each axis (bilinear at half pixels), borders repeated."""
    return _along_both(_double, x)


def _along_both(resample: Callable[[Array, int], Array], x: Array) -> Array:
    products, shifts = (functools.partial(form, resample) for form in (_products, _shifts))
    return jax.lax.platform_dependent(x, tpu=products, default=shifts)


def _shifts(resample: Callable[[Array, int], Array], x: Array) -> Array:
    return resample(resample(x, 1), 2)


def _products(resample: Callable[[Array, int], Array], x: Array) -> Array:
    """Multiply each axis by what `resample` makes of the identity: a TPU copies images to take every other pixel."""
    rows, columns = (resample(jnp.eye(size, dtype=x.dtype), 0) for size in x.shape[1:3])
    x = jnp.einsum("oh,bhwc->bowc", rows, x, precision="highest")
    return jnp.einsum("ow,bhwc->bhoc", columns, x, precision="highest")


def _halve(x: Array, axis: int, centre: float = 0.5) -> Array:
    even, odd = (jax.lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
    pairs = odd.shape[axis]
    before = jnp.concatenate([jax.lax.slice_in_dim(odd, 0, 1, axis=axis), odd], axis)
    before = jax.lax.slice_in_dim(before, 0, even.shape[axis], axis=axis)
    if pairs < even.shape[axis]:
        odd = jnp.concatenate([odd, jax.lax.slice_in_dim(odd, pairs - 1, pairs, axis=axis)], axis)
    return centre * even + (1 - centre) / 2 * (before + odd)


def _double(x: Array, axis: int) -> Array:
    count = x.shape[axis]
    before = jnp.concatenate(
        [jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, 0, count - 1, axis=axis)], axis
    )
    after = jnp.concatenate(
        [jax.lax.slice_in_dim(x, 1, count, axis=axis), jax.lax.slice_in_dim(x, count - 1, count, axis=axis)], axis
    )
    x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return x.reshape(*x.shape[:axis], 2 * count, *x.shape[axis + 2 :])
