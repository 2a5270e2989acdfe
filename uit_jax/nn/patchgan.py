"""Discriminators of patches and of pixels (arXiv:1611.07004; exact forms in the published code)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn.convs import Conv, initializer
from uit_jax.nn.norms import Norm, leaves_bias, widened
from uit_jax.nn.resampling import blur_down, overlapping_pool
from uit_jax.types import Array


def smallest(layers: int = 3) -> int:
    """Return the smallest side of an image of which `PatchDiscriminator` sees a patch."""
    return 3 * 2 ** max(layers, 1)


def smallest_of_scales(layers: int, scales: int) -> int:
    """Return the smallest side of an image of which every one of `MultiScaleDiscriminator`'s sees a patch."""
    return 2 ** (scales - 1) * (2**layers - 1) + 1


class PatchDiscriminator(nn.Module):
    """Discriminate overlapping patches of images: [B, H, W, C] -> logits [B, h, w, 1].

    `layers` halvings, then two convolutions; sides of `smallest(layers)` at least. With three layers and
    anti-aliasing a logit sees 84 pixels a side (70 without).
    """

    width: int = 64
    layers: int = 3
    antialias: bool = True
    norm: str = "instance"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        x, halvings = x.astype(self.dtype), max(self.layers, 1)
        for index in range(halvings + 1):
            halves = index < halvings
            x = self._conv(
                self.width * min(2 ** min(index, self.layers), 8),
                stride=2 if halves and not self.antialias else 1,
                use_bias=index == 0 or leaves_bias(self.norm),
                name=f"conv_{index}",
            )(x)
            if index > 0:
                norm = Norm(self.norm, self.gain, self.axis_name, name=f"norm_{index}")
                x = norm(x, train=train)
            x = nn.leaky_relu(x, 0.2)
            x = blur_down(x) if halves and self.antialias else x
        return widened(self._conv(1, name="logits")(x))

    def _conv(self, features: int, **options) -> Conv:
        kernel_init = initializer(self.initializer, self.gain)
        return Conv(features, 4, pad=1, kernel_init=kernel_init, dtype=self.dtype, **options)


class PixelDiscriminator(nn.Module):
    """Discriminate pixels by their colour alone (arXiv:1611.07004, 6.1.2): [B, H, W, C] -> logits [B, H, W, 1]."""

    width: int = 64
    norm: str = "instance"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        options = dict(kernel_init=initializer(self.initializer, self.gain), dtype=self.dtype)
        inner = options | dict(use_bias=leaves_bias(self.norm))
        x = nn.leaky_relu(Conv(self.width, 1, **options, name="conv_0")(x.astype(self.dtype)), 0.2)
        x = Conv(2 * self.width, 1, **inner, name="conv_1")(x)
        x = Norm(self.norm, self.gain, self.axis_name, name="norm_1")(x, train=train)
        x = nn.leaky_relu(x, 0.2)
        return widened(Conv(1, 1, **inner, name="logits")(x))


class MultiScaleDiscriminator(nn.Module):
    """Discriminate patches of images at several sizes, each half the last: [B, H, W, C] -> logits [B, h, w, 1] of each.

    As MUNIT's published code has it (arXiv:1804.04732): `layers` halvings that double the width, then a logit for each
    place, by networks of their own at every size; no norm, borders reflected. Sides are `smallest_of_scales` at least.
    """

    width: int = 64
    layers: int = 4
    scales: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        options, logits = dict(kernel_init=initializer("normal", 0.02), dtype=self.dtype), []
        for scale in range(self.scales):
            x = overlapping_pool(x) if scale else x
            y = x.astype(self.dtype)
            for index in range(self.layers):
                conv = Conv(
                    self.width * 2**index, 4, 2, pad=1, pad_mode="reflect", **options, name=f"conv_{scale}_{index}"
                )
                y = nn.leaky_relu(conv(y), 0.2)
            logits.append(widened(Conv(1, 1, **options, name=f"logits_{scale}")(y)))
        return logits
