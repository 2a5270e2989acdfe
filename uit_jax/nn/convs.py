"""Convolutions with the conventions of the papers' reference code; some joined with a change of size.

Parameters are float32 whatever the compute `dtype` is.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn.norms import per_channel
from uit_jax.types import Array

PADDING = {"zero": "constant", "reflect": "reflect", "edge": "edge"}


kaiming_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Kaiming normal of gain sqrt(2): std sqrt(2 / (k * k * in))."""


kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Kaiming normal of gain sqrt(2): std sqrt(2 / (k * k * out))."""


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
            x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=PADDING[self.pad_mode])
            pad = 0
        return nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding=((pad, pad), (pad, pad)),
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)


# Rows: the three coarse pixels around a fine one, for an even and for an odd fine pixel; columns: the five taps.
_PHASES = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1)), ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))


class UpsampleConv(nn.Module):
    """Double H and W by repetition, then convolve 5 x 5 with reflected borders: [B, H, W, in] -> [B, 2H, 2W, features].

    Equal to repeating and convolving, with 9 multiplications for every 25: taps that fall on copies of one pixel are
    added up first, which leaves a 3 x 3 kernel on the coarse grid for each of the four fine pixels of a coarse
    one. H and W are 2 at least.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = _KernelAndBias(self.features, name="conv")
        kernel, bias = (value.astype(self.dtype) for value in conv(x.shape[-1]))
        x = x.astype(self.dtype)
        batch, height, width, channels = x.shape
        phases = jnp.array(_PHASES, self.dtype)
        coarse = jnp.einsum("sap,tbq,pqio->abisto", phases, phases, kernel)
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        y = _convolve(padded, coarse.reshape(3, 3, channels, 4 * self.features))
        y = y.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        # The coarse grid was continued by its edge; reflecting the fine one differs by one tap in the outermost lines.
        for line, edge, inner, tap in ((0, 0, 1, 0), (-1, -1, -2, 4)):
            row = (x[:, inner] - x[:, edge]).repeat(2, axis=1)
            row = jnp.pad(row, ((0, 0), (2, 2), (0, 0)), mode="reflect")
            y = y.at[:, line].add(_convolve(row[:, None], kernel[None, tap])[:, 0])
            column = (x[:, :, inner] - x[:, :, edge]).repeat(2, axis=1)
            column = jnp.pad(column, ((0, 0), (2, 2), (0, 0)), mode="edge")
            y = y.at[:, :, line].add(_convolve(column[:, :, None], kernel[:, tap, None])[:, :, 0])
        return y + per_channel(bias)


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
        x = _bordered(x.astype(self.dtype))
        x = x[:, 1:] + x[:, :-1]
        x = (x[:, :, 1:] + x[:, :, :-1]) / 4
        return _convolve_by_2(x, kernel.astype(self.dtype)) + per_channel(bias).astype(self.dtype)


class RepeatedConv(nn.Module):
    """Double H and W by repetition, then convolve 3 x 3 with a border of zeros: [B, H, W, in] -> [B, 2H, 2W, features].

    Equal to repeating and `Conv`, with the parameters of `Conv` and 4 multiplications for every 9: taps that fall on
    copies of one pixel are added up first, which leaves 2 x 2 taps for each of the four fine pixels of a coarse one.
    """

    features: int
    kernel_init: Callable = kaiming_fan_in
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel, bias = _KernelAndBias(self.features, 3, self.kernel_init, name="conv")(x.shape[-1])
        batch, height, width, channels = x.shape
        # Rows: the two coarse pixels that a fine one sees, for an even and for an odd one; columns: the three taps.
        phases = jnp.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], kernel.dtype)
        coarse = jnp.einsum("sap,tbq,pqio->abisto", phases, phases, kernel).reshape(2, 2, channels, -1)
        y = _convolve(_bordered(x.astype(self.dtype)), coarse.astype(self.dtype))
        y = y.reshape(batch, height + 1, width + 1, 2, 2, self.features)
        # An even fine pixel looks back from its coarse one, an odd one ahead.
        y = jnp.stack([y[:, row : row + height, :, row] for row in (0, 1)], axis=2)
        y = jnp.stack([y[:, :, :, column : column + width, column] for column in (0, 1)], axis=4)
        return y.reshape(batch, 2 * height, 2 * width, self.features) + per_channel(bias).astype(self.dtype)


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
        y = _convolve(x.astype(self.dtype), columns.astype(self.dtype)).astype(jnp.float32)
        width = y.shape[2] - size + 1
        y = y.reshape(*y.shape[:3], size, self.features)
        y = sum(y[:, :, column : column + width, column] for column in range(size))
        return (y + per_channel(bias)).astype(self.dtype)


class _KernelAndBias(nn.Module):
    """The parameters of a convolution under the names that `Conv` has."""

    features: int
    kernel: int = 5
    kernel_init: Callable = kaiming_fan_in

    @nn.compact
    def __call__(self, channels: int):
        kernel = self.param("kernel", self.kernel_init, (self.kernel, self.kernel, channels, self.features))
        return kernel, self.param("bias", nn.initializers.zeros_init(), (self.features,))


def _convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    steps = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, steps, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def _convolve_by_2(x: Array, kernel: Array) -> Array:
    return _convolve(x, kernel, 2)


@jax.custom_vjp
def _input_gradient(x: Array, kernel: Array, cotangent: Array) -> Array:
    """Return the gradient of `_convolve_by_2` by x, of which only the shape counts."""
    return jax.vjp(lambda x: _convolve(x, kernel, 2), x)[1](cotangent)[0]


def _kernel_gradient(x: Array, kernel: Array, cotangent: Array) -> Array:
    return jax.vjp(lambda kernel: _convolve(x, kernel, 2), kernel)[1](cotangent)[0]


def _convolve_by_2_back(arguments, cotangent: Array):
    return _input_gradient(*arguments, cotangent), _kernel_gradient(*arguments, cotangent)


def _input_gradient_back(arguments, direction: Array):
    x, kernel, cotangent = arguments
    return jnp.zeros_like(x), _kernel_gradient(direction, kernel, cotangent), _convolve_by_2(direction, kernel)


_convolve_by_2.defvjp(lambda *arguments: (_convolve_by_2(*arguments), arguments), _convolve_by_2_back)


_input_gradient.defvjp(lambda *arguments: (_input_gradient(*arguments), arguments), _input_gradient_back)


def _bordered(x: Array) -> Array:
    """Put a border of zeros, one pixel wide, around images."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


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
