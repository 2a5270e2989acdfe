"""Convolutions with the conventions of the papers' reference code, some joined with a change of size; initialisers.

Parameters are float32 whatever the compute `dtype` is.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn.convolution import convolve
from uit_jax.nn.norms import per_channel, widened
from uit_jax.types import Array

_MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge"}

kaiming_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Kaiming normal of gain sqrt(2): std sqrt(2 / (k * k * in))."""

kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Kaiming normal of gain sqrt(2): std sqrt(2 / (k * k * out))."""


def initializer(name: str, gain: float = 0.02) -> Callable:
    """Return the Flax initialiser of weights that torch's has by this name.

    "xavier": normal of std gain * sqrt(2 / (k * k * (in + out))); "normal": of std gain; "kaiming": of std
    sqrt(2 / (k * k * in)), whatever the gain; "orthogonal": orthonormal rows times the gain.
    """
    if name == "kaiming":
        return kaiming_fan_in
    return {
        "xavier": nn.initializers.variance_scaling(gain**2, "fan_avg", "normal"),
        "normal": nn.initializers.normal(gain),
        "orthogonal": nn.initializers.orthogonal(gain),
    }[name]


Phases = tuple[tuple[tuple[int, ...], ...], ...]


def sub_pixel(x: Array, kernel: Array, phases: Phases, pad: tuple[int, int] = (0, 0)) -> Array:
    """Convolve a grid twice as fine as that of the images, without making it: [B, H, W, in] -> [B, 2h, 2w, out].

    Taps that meet one coarse pixel are added up first, which leaves a kernel of n x n on the coarse grid for each of
    the four fine pixels of a coarse one; h = H - n + 1, w = W - n + 1, and more by what is padded.

    Args:
      kernel: [k, k, in, out], on the fine grid.
      phases: [2, n, k], for the first and the second of two fine pixels along an axis: 1 where, of the n coarse pixels
        of a place, that of the row meets the tap of the column, 0 elsewhere.
      pad: zeros before and after both axes.
    """
    reach, features = len(phases[0]), kernel.shape[-1]
    table = jnp.array(phases, kernel.dtype)
    coarse = jnp.einsum("sap,tbq,pqio->abisto", table, table, kernel)
    y = convolve(x, coarse.reshape(reach, reach, x.shape[-1], 4 * features).astype(x.dtype), pad=pad)
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, features)


class Conv(nn.Module):
    """Convolve with explicit symmetric padding: [B, H, W, in] -> [B, H', W', features].

    'SAME' would pad an even image on one side only where the stride is 2, which the papers' code does not.
    """

    features: int
    kernel: int
    stride: int = 1
    pad: int = 0
    pad_mode: str = "zero"
    use_bias: bool = True
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        pad = self.pad
        if pad and self.pad_mode != "zero":
            x, pad = bordered(x, pad, self.pad_mode), 0
        shaped = _KernelAndBias(self.features, self.kernel, self.kernel_init, self.use_bias, name="conv")
        kernel, bias = shaped(x.shape[-1])
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, (pad, pad))
        return y if bias is None else y + per_channel(bias).astype(self.dtype)


# The three coarse pixels around a fine one, for an even and for an odd fine pixel.
_REPEATED_5 = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1)), ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))


class UpsampleConv(nn.Module):
    """Double H and W by repetition, then convolve 5 x 5 with reflected borders: [B, H, W, in] -> [B, 2H, 2W, features].

    Equal to repeating and convolving, with 9 multiplications for every 25: see `sub_pixel`. H and W are 2 at least.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = _KernelAndBias(self.features, name="conv")(x.shape[-1])
        x = x.astype(self.dtype)
        y = sub_pixel(bordered(x, border="edge"), kernel, _REPEATED_5)
        # The coarse grid was continued by its edge; reflecting the fine one differs by one tap in the outermost lines.
        kernel = kernel.astype(self.dtype)
        for line, edge, inner, tap in ((0, 0, 1, 0), (-1, -1, -2, 4)):
            row = (x[:, inner] - x[:, edge]).repeat(2, axis=1)
            row = jnp.pad(row, ((0, 0), (2, 2), (0, 0)), mode="reflect")
            y = y.at[:, line].add(convolve(row[:, None], kernel[None, tap])[:, 0])
            column = (x[:, :, inner] - x[:, :, edge]).repeat(2, axis=1)
            column = jnp.pad(column, ((0, 0), (2, 2), (0, 0)), mode="edge")
            y = y.at[:, :, line].add(convolve(column[:, :, None], kernel[:, tap, None])[:, :, 0])
        return y + per_channel(bias).astype(self.dtype)


class PooledConv(nn.Module):
    """Convolve 3 x 3 with a border of zeros, then halve by the mean of 2 x 2: [B, H, W, in] -> [B, H/2, W/2, features].

    Equal to `Conv` and `average_pool`, with the parameters of `Conv` and 9 multiplications for every 36: the mean
    of four shifted images comes first, of whose convolution every other pixel is wanted.
    """

    features: int
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = _KernelAndBias(self.features, 3, self.kernel_init, name="conv")(x.shape[-1])
        x = bordered(x.astype(self.dtype))
        x = x[:, 1:] + x[:, :-1]
        x = (x[:, :, 1:] + x[:, :, :-1]) / 4
        return convolve(x, kernel.astype(self.dtype), 2) + per_channel(bias).astype(self.dtype)


# The two coarse pixels that a fine one sees: an odd one looks ahead from its coarse pixel, an even one back.
_REPEATED_3 = ((1, 1, 0), (0, 0, 1)), ((1, 0, 0), (0, 1, 1))


class RepeatedConv(nn.Module):
    """Double H and W by repetition, then convolve 3 x 3 with a border of zeros: [B, H, W, in] -> [B, 2H, 2W, features].

    Equal to repeating and `Conv`, with the parameters of `Conv` and 4 multiplications for every 9: see `sub_pixel`.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = _KernelAndBias(self.features, 3, self.kernel_init, self.use_bias, name="conv")(x.shape[-1])
        # Between two coarse pixels lie the odd fine one of the first and the even one of the second.
        y = sub_pixel(bordered(x.astype(self.dtype)), kernel, _REPEATED_3)[:, 1:-1, 1:-1]
        return y if bias is None else y + per_channel(bias).astype(self.dtype)


# The two fine pixels of a coarse one, by the coarse pixel and the next: coarse pixel i adds tap k to the fine pixel
# 2 i - 1 + k.
_TRANSPOSED_3 = ((0, 1, 0), (0, 0, 0)), ((0, 0, 1), (1, 0, 0))


class TransposedConv(nn.Module):
    """Double H and W by a transposed 3 x 3 convolution: [B, H, W, in] -> [B, 2H, 2W, features].

    It is torch's of stride 2, padding 1 and output padding 1, without its zeros between the pixels: see `sub_pixel`.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self._initial, (3, 3, x.shape[-1], self.features))
        y = sub_pixel(x.astype(self.dtype), kernel, _TRANSPOSED_3, pad=(0, 1))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + per_channel(bias).astype(self.dtype)
        return y

    def _initial(self, key: Array, shape: tuple[int, ...]) -> Array:
        # Torch keeps transposed kernels as (in, out), and its initialisers take the first for the output.
        return self.kernel_init(key, (3, 3, shape[3], shape[2])).swapaxes(2, 3)


class NarrowConv(nn.Module):
    """Convolve to a few channels, such as an image's, without padding: [B, H, W, in] -> [B, H', W', features].

    Equal to `Conv`, with its parameters. A matrix product of very few columns is slow, so that every column of the
    kernel is convolved to channels of its own first, which are then shifted and added up.
    """

    features: int
    kernel: int
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv, size = _KernelAndBias(self.features, self.kernel, self.kernel_init, name="conv"), self.kernel
        kernel, bias = conv(x.shape[-1])
        columns = kernel.transpose(0, 2, 1, 3).reshape(size, 1, x.shape[-1], size * self.features)
        y = widened(convolve(x.astype(self.dtype), columns.astype(self.dtype)))
        width = y.shape[2] - size + 1
        y = y.reshape(*y.shape[:3], size, self.features)
        y = sum(y[:, :, column : column + width, column] for column in range(size))
        return (y + per_channel(bias)).astype(self.dtype)


class _KernelAndBias(nn.Module):
    """The parameters of a convolution, a square kernel and a bias or None, under the names that `Conv` has."""

    features: int
    kernel: int = 5
    kernel_init: Callable = kaiming_fan_in
    use_bias: bool = True

    @nn.compact
    def __call__(self, channels: int):
        kernel = self.param("kernel", self.kernel_init, (self.kernel, self.kernel, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,)) if self.use_bias else None
        return kernel, bias


def bordered(x: Array, pad: int = 1, border: str = "zero") -> Array:
    """Continue images by `pad` pixels on every side: [B, H, W, C] -> [B, H + 2 pad, W + 2 pad, C].

    Equal to `jnp.pad`, whose derivative writes out all of the images once for every side. Here images and borders are
    placed among zeros and added up, which is one pass over memory, and so is its derivative.

    Args:
      border: "zero", "reflect" (without the outermost pixel) or "edge" (the outermost pixel repeated).
    """
    mode, total = _MODES[border], jnp.pad(x, _around((pad, pad), (pad, pad)))
    if border == "zero":
        return total
    near, far = slice(pad + 1), slice(-pad - 1, None)
    top = jnp.pad(x[:, near], _around((pad, 0), (pad, pad)), mode)[:, :pad]
    bottom = jnp.pad(x[:, far], _around((0, pad), (pad, pad)), mode)[:, -pad:]
    left = jnp.pad(x[:, :, near], _around((0, 0), (pad, 0)), mode)[:, :, :pad]
    right = jnp.pad(x[:, :, far], _around((0, 0), (0, pad)), mode)[:, :, -pad:]
    height, width = (size + pad for size in x.shape[1:3])
    for part, rows, columns in (
        (top, (0, height), (0, 0)),
        (bottom, (height, 0), (0, 0)),
        (left, (pad, pad), (0, width)),
        (right, (pad, pad), (width, 0)),
    ):
        total += jnp.pad(part, _around(rows, columns))
    return total


def _around(rows: tuple[int, int], columns: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return for `jnp.pad` how many rows and columns are put before and after those of images."""
    return (0, 0), rows, columns, (0, 0)
