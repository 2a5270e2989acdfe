"""MUNIT's content encoder and AdaIN decoder (arXiv:1804.04732) in the form that TUNIT gives them (arXiv:2006.06500)."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, convs, norms
from uit_jax.nn.convs import Conv
from uit_jax.types import Array


class _ResidualBlock(nn.Module):
    """x + 0.1 * (conv, norm, relu, conv, norm)(x); norms are adaptive where `styles` yields their (bias, weight)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array, styles=None) -> Array:
        def normalize(index: int, x: Array) -> Array:
            return norms.instance_norm(x) if styles is None else norms.adaptive_instance_norm(x, *next(styles))

        return blocks.normalized(x, normalize, 0.1, dtype=self.dtype)


class _ContentEncoder(nn.Module):
    """Images [B, H, W, C] -> content codes [B, H / 2**downs, W / 2**downs, width * 2**downs]."""

    width: int
    downs: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.astype(self.dtype)
        x = Conv(self.width, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="stem")(x)
        x = nn.relu(norms.instance_norm(x))
        for index in range(self.downs):
            features = self.width * 2 ** (index + 1)
            x = Conv(features, 4, 2, pad=1, pad_mode="reflect", dtype=self.dtype, name=f"down_{index}")(x)
            x = nn.relu(norms.instance_norm(x))
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, name=f"block_{index}")(x)
        return x


class _Decoder(nn.Module):
    """Content codes and AdaIN parameters [B, P] -> images in [-1, 1]."""

    channels: int
    width: int
    downs: int
    blocks: int
    dtype: Any

    def norm_widths(self) -> list[int]:
        """Return the channels of every adaptive norm in the order in which they take their parameters."""
        top = self.width * 2**self.downs
        return [top] * (2 * self.blocks) + [top // 2 ** (index + 1) for index in range(self.downs)]

    @nn.compact
    def __call__(self, x: Array, parameters: Array) -> Array:
        styles = self._split(parameters)
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, name=f"block_{index}")(x, styles)
        for index in range(self.downs):
            features = self.width * 2 ** (self.downs - index - 1)
            x = convs.UpsampleConv(features, self.dtype, name=f"up_{index}")(x)
            x = nn.relu(norms.adaptive_instance_norm(x, *next(styles)))
        x = Conv(self.channels, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="image")(x)
        return jnp.tanh(x.astype(jnp.float32))

    def _split(self, parameters: Array):
        """Yield (bias, weight) [B, C] of each norm: its first C numbers are the bias, the next C the weight."""
        start = 0
        for width in self.norm_widths():
            yield parameters[:, start : start + width], parameters[:, start + width : start + 2 * width]
            start += 2 * width


class Generator(nn.Module):
    """Translate the content of one image to the style of another.

    `image_size` fixes the depth (the bottleneck is `bottleneck` pixels a side at that size); the
    network takes images of any H and W that are multiples of `multiple`.
    """

    image_size: int
    channels: int = 3
    width: int = 64
    bottleneck: int = 16
    blocks: int = 2
    mlp_width: int = 256
    dtype: Any = jnp.float32

    @property
    def downs(self) -> int:
        return int(math.log2(self.image_size // self.bottleneck))

    @property
    def multiple(self) -> int:
        return 2**self.downs

    def setup(self):
        self.encoder = _ContentEncoder(self.width, self.downs, self.blocks, self.dtype)
        self.decoder = _Decoder(self.channels, self.width, self.downs, self.blocks, self.dtype)
        count = 2 * sum(self.decoder.norm_widths())
        self.mlp = [
            nn.Dense(features, kernel_init=convs.kaiming_fan_in)
            for features in (self.mlp_width, self.mlp_width, count)
        ]

    def encode(self, images: Array) -> Array:
        """Return content codes [B, H / multiple, W / multiple, width * multiple] of images [B, H, W, C]."""
        return self.encoder(images)

    def decode(self, content: Array, style: Array) -> Array:
        """Generate images in [-1, 1] from content codes and style codes [B, D]."""
        hidden = nn.relu(self.mlp[1](nn.relu(self.mlp[0](style))))
        return self.decoder(content, self.mlp[2](hidden))

    def __call__(self, images: Array, style: Array) -> Array:
        return self.decode(self.encode(images), style)
