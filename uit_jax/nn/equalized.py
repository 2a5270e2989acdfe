"""Layers whose weights are N(0, 1) and scaled when they are used ("equalised learning rate", arXiv:1912.04958), so that
Adam moves all of them at one relative rate; sizes change behind the filter [1, 3, 3, 1], or another.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import norms
from uit_jax.nn.convolution import convolve
from uit_jax.nn.convs import bordered, sub_pixel
from uit_jax.nn.resampling import TAPS, blur
from uit_jax.types import Array


def scaled_weight(module: nn.Module, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the module's kernel, N(0, 1) at first, times 1 / sqrt(inputs of one output)."""
    kernel = module.param("kernel", nn.initializers.normal(1.0), shape)
    return (kernel / math.sqrt(math.prod(shape[:-1]))).astype(dtype)


def demodulated(weight: Array) -> Array:
    """Divide a kernel [h, w, in, out] by the norm of each output's weights (arXiv:1912.04958, Eq. 3)."""
    return weight * jax.lax.rsqrt(jnp.square(weight).sum((0, 1, 2), keepdims=True) + 1e-8)


def rectified(x: Array) -> Array:
    """Apply a leaky rectifier that keeps the variance."""
    return nn.leaky_relu(x, 0.2) * math.sqrt(2)


def activated(x: Array, bias: Array) -> Array:
    """Add a bias of every channel and rectify."""
    return rectified(x + norms.per_channel(bias.astype(x.dtype)))


def noisy(module: nn.Module, x: Array, noise: Array) -> Array:
    """Add noise [B, H, W, 1] of a strength that the module learns, 0 at first."""
    strength = module.param("strength", nn.initializers.zeros_init(), (1,))
    return x + (norms.per_channel(strength) * noise).astype(x.dtype)


class Layer(nn.Module):
    """Convolve, add a bias and activate: [B, H, W, C] -> [B, H, W, features], sides halved behind a blur if `down`.

    Without `activate` nothing is done behind the convolution but, if `biased`, to add a bias. A `valid` one has no
    border and halves without a blur.
    """

    features: int
    kernel: int
    down: bool = False
    activate: bool = True
    dtype: Any = jnp.float32
    taps: tuple[int, ...] = TAPS
    border: str = "zero"
    valid: bool = False
    biased: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = self.kernel
        weight = scaled_weight(self, (size, size, x.shape[-1], self.features), self.dtype)
        x, stride, pad = x.astype(self.dtype), 1, 0 if self.valid else size // 2
        if self.down and self.valid:
            stride = 2
        elif self.down:
            # A 1 x 1 kernel reads every second pixel only, so that no other need be filtered.
            stride, pad = (1, 0) if size == 1 else (2, 0)
            total = len(self.taps) + size - 3
            around = -(-total // 2), total // 2
            x = blur(x, around, 2 if size == 1 else 1, taps=self.taps, border=self.border)
        elif pad and self.border != "zero":
            x, pad = bordered(x, pad, self.border), 0
        x = convolve(x, weight, stride, (pad, pad))
        if not self.activate and not self.biased:
            return x
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return activated(x, bias) if self.activate else x + norms.per_channel(bias).astype(self.dtype)


class ResidualBlock(nn.Module):
    """(shortcut + two layers) / sqrt(2), sides halved if `down`; the shortcut's border is always of zeros."""

    features: int
    down: bool
    dtype: Any
    taps: tuple[int, ...] = TAPS
    border: str = "zero"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        how = dict(dtype=self.dtype, taps=self.taps)
        y = Layer(x.shape[-1], 3, border=self.border, name="layer_0", **how)(x)
        y = Layer(self.features, 3, self.down, border=self.border, name="layer_1", **how)(y)
        if self.down or x.shape[-1] != self.features:
            x = Layer(self.features, 1, self.down, activate=False, name="shortcut", **how)(x)
        return (x + y) / math.sqrt(2)


# The two fine pixels of a coarse one, by the coarse pixel before it and itself: coarse pixel i adds tap k to the fine
# pixel 2 i + k.
_TRANSPOSED = ((0, 0, 1), (1, 0, 0)), ((0, 0, 0), (0, 1, 0))


def doubled(x: Array, weight: Array) -> Array:
    """Double H and W by a transposed convolution with a kernel [3, 3, in, out], and the blur."""
    # Padded beforehand: XLA's CPU compiler finds no fast kernel gradient for a kernel of 2 with padding 1.
    y = sub_pixel(bordered(x), weight, _TRANSPOSED)
    return blur(y[:, :-1, :-1], 1, gain=2.0)


def flat(x: Array) -> Array:
    """Lay out maps [B, H, W, C] as float32 [B, C H W]: the channels come first, as in the published weights."""
    return x.astype(jnp.float32).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


class Linear(nn.Module):
    """A linear layer whose weights are scaled when they are used: [B, C] -> [B, features]; biases begin at `bias`."""

    features: int
    bias: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = scaled_weight(self, (x.shape[-1], self.features), jnp.float32)
        return x @ weight + self.param("bias", nn.initializers.constant(self.bias), (self.features,))[None]


class ResidualDiscriminator(nn.Module):
    """Discriminate whole images: [B, H, W, C] -> logits [B, 1], by halvings and two dense layers.

    A kind says in `widths` the channels of the maps of every size, and in what `dtype` they are computed. StyleGAN2's
    minibatch statistics are left out.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first, *others = self.widths
        x = Layer(first, 1, dtype=self.dtype, name="stem")(x)
        for index, features in enumerate(others):
            x = ResidualBlock(features, True, self.dtype, name=f"block_{index}")(x)
        x = Layer(self.widths[-1], 3, dtype=self.dtype, name="last")(x)
        x = rectified(Linear(self.widths[-1], name="dense")(flat(x)))
        return Linear(1, name="logit")(x)
