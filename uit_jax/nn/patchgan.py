"""Discriminators of patches and of pixels (arXiv:1611.07004; exact forms in the published code)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn.convs import Conv, initializer
from uit_jax.nn.norms import Norm, leaves_bias, widened
from uit_jax.nn.resampling import blur_down
from uit_jax.types import Array


def smallest(layers: int = 3) -> int:
    """Return the smallest side of an image of which `PatchDiscriminator` sees a patch."""
    return 3 * 2 ** max(layers, 1)


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
