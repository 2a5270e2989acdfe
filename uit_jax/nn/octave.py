"""SEMIT's auto-encoder of content and class (arXiv:2003.13853), of octave convolutions (arXiv:1904.05049).

Maps are pairs (high, low), the second half as fine as the first. Every channel is in both, but of its C channels a
layer keeps the first floor(C (1 - alpha)) in the high maps and the others in the low ones; the rest of each is zero. So
alpha, float32 [B], the share of low channels, is no part of the weights: one network takes any.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import munit, norms, resampling
from uit_jax.nn.convs import Conv, RepeatedConv
from uit_jax.types import Array

Pair = tuple[Array, Array]

DOWNS = 2
"""Halvings on the way to a content, and to a class code."""
MULTIPLE = 2 ** (DOWNS + 1)
"""Of the sides of images."""


def parted(maps: Pair, alpha: Array) -> Pair:
    """Keep the first channels of the high maps and the others of the low ones: their shares are 1 - alpha and alpha."""
    high, low = maps
    channels = high.shape[-1]
    is_high = jnp.arange(channels)[None] < jnp.floor(channels * (1 - alpha))[:, None]
    is_high = is_high[:, None, None, :]
    return jnp.where(is_high, high, 0), jnp.where(is_high, 0, low)


def _each(function, maps: Pair) -> Pair:
    return function(maps[0]), function(maps[1])


class _First(nn.Module):
    """Images [B, H, W, C] -> maps of both kinds."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, alpha: Array) -> Pair:
        options = dict(pad=3, use_bias=False, dtype=self.dtype)
        high = Conv(self.features, 7, **options, name="high")(x)
        low = Conv(self.features, 7, **options, name="low")(resampling.average_pool(x))
        return parted((high, low), alpha)


class _Octave(nn.Module):
    """Maps of both kinds, each to maps of both kinds; a stride of 2 halves them."""

    features: int
    kernel: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, maps: Pair, alpha: Array) -> Pair:
        def conv(name: str, x: Array) -> Array:
            options = dict(pad=1, use_bias=False, dtype=self.dtype)
            return Conv(self.features, self.kernel, self.stride, **options, name=name)(x)

        high, low = maps
        to_high = conv("high_high", high) + resampling.repeat(conv("low_high", low))
        to_low = conv("low_low", low) + conv("high_low", resampling.average_pool(high))
        return parted((to_high, to_low), alpha)


class _Enlarging(nn.Module):
    """`_Octave` of 3 x 3 behind a repetition of every pixel, without making it."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, maps: Pair, alpha: Array) -> Pair:
        def enlarged(name: str, x: Array) -> Array:
            return RepeatedConv(self.features, use_bias=False, dtype=self.dtype, name=name)(x)

        high, low = maps
        to_high = enlarged("high_high", high) + resampling.repeat(enlarged("low_high", low))
        # The means of what was repeated are what it was.
        kept = Conv(self.features, 3, pad=1, use_bias=False, dtype=self.dtype, name="high_low")(high)
        return parted((to_high, enlarged("low_low", low) + kept), alpha)


class _Last(nn.Module):
    """Maps of both kinds -> maps of one."""

    features: int
    kernel: int
    dtype: Any
    stride: int = 1
    pad: int = 1

    @nn.compact
    def __call__(self, maps: Pair) -> Array:
        def conv(name: str, x: Array) -> Array:
            options = dict(pad=self.pad, use_bias=False, dtype=self.dtype)
            return Conv(self.features, self.kernel, self.stride, **options, name=name)(x)

        high, low = maps
        return conv("high", high) + conv("low", resampling.repeat(low))


class _ResidualBlock(nn.Module):
    """x + (octave, norm, relu, octave, norm)(x); norms are adaptive where `styles` yields their (bias, weight)."""

    dtype: Any

    @nn.compact
    def __call__(self, maps: Pair, alpha: Array, styles=None) -> Pair:
        def normalize(x: Array) -> Array:
            return norms.instance_norm(x) if styles is None else norms.adaptive_instance_norm(x, *next(styles))

        y = maps
        for index in range(2):
            y = _Octave(maps[0].shape[-1], 3, 1, self.dtype, name=f"conv_{index}")(y, alpha)
            y = _each(normalize, y)
            y = _each(nn.relu, y) if index == 0 else y
        return maps[0] + y[0], maps[1] + y[1]


class _ContentEncoder(nn.Module):
    width: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, alpha: Array) -> Pair:
        maps = _First(self.width, self.dtype, name="stem")(x.astype(self.dtype), alpha)
        maps = _each(nn.relu, _each(norms.instance_norm, maps))
        for index in range(DOWNS):
            maps = _Octave(self.width * 2 ** (index + 1), 4, 2, self.dtype, name=f"down_{index}")(maps, alpha)
            maps = _each(nn.relu, _each(norms.instance_norm, maps))
        for index in range(self.blocks):
            maps = _ResidualBlock(self.dtype, name=f"block_{index}")(maps, alpha)
        return maps


class _StyleEncoder(nn.Module):
    style_dim: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, alpha: Array) -> Array:
        maps = _each(nn.relu, _First(self.width, self.dtype, name="stem")(x.astype(self.dtype), alpha))
        for index in range(DOWNS - 1):
            octave = _Octave(self.width * 2 ** (index + 1), 4, 2, self.dtype, name=f"down_{index}")
            maps = _each(nn.relu, octave(maps, alpha))
        x = nn.relu(_Last(self.width * 2**DOWNS, 4, self.dtype, 2, name="joined")(maps))
        x = norms.widened(x).mean((1, 2), keepdims=True)
        return Conv(self.style_dim, 1, name="code")(x)[:, 0, 0]


class _Decoder(nn.Module):
    channels: int
    width: int
    blocks: int
    dtype: Any

    def norm_widths(self) -> list[int]:
        """Return the channels of every adaptive norm in the order in which they take their parameters."""
        return [self.width * 2**DOWNS] * (4 * self.blocks)

    @nn.compact
    def __call__(self, maps: Pair, parameters: Array, alpha: Array) -> Array:
        styles = munit.split(parameters, self.norm_widths())
        for index in range(self.blocks):
            maps = _ResidualBlock(self.dtype, name=f"block_{index}")(maps, alpha, styles)
        for index in range(DOWNS):
            features = self.width * 2 ** (DOWNS - index - 1)
            maps = _Enlarging(features, self.dtype, name=f"up_{index}")(maps, alpha)
            maps = _each(nn.relu, _each(norms.instance_norm, maps))
        return jnp.tanh(norms.widened(_Last(self.channels, 7, self.dtype, pad=3, name="image")(maps)))


class AutoEncoder(nn.Module):
    """An image [B, H, W, C] to its content and class code, and any two of these to an image, at a share alpha [B].

    Borders are zeros. H and W are multiples of `multiple`.
    """

    channels: int = 3
    style_dim: int = 64
    width: int = 64
    blocks: int = 6
    mlp_width: int = 256
    mlp_layers: int = 3
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        return MULTIPLE

    def setup(self):
        self.style = _StyleEncoder(self.style_dim, self.width, self.dtype)
        self.encoder = _ContentEncoder(self.width, self.blocks, self.dtype)
        self.decoder = _Decoder(self.channels, self.width, self.blocks, self.dtype)
        self.mlp = munit.perceptron(self.mlp_width, self.decoder.norm_widths(), self.mlp_layers)

    def read_content(self, images: Array, alpha: Array) -> Pair:
        """Return content codes, high [B, H / 4, W / 4, 4 width] and low [B, H / 8, W / 8, 4 width]."""
        return _each(norms.widened, self.encoder(images, alpha))

    def read_style(self, images: Array, alpha: Array) -> Array:
        """Return class codes [B, D]."""
        return self.style(images, alpha)

    def decode(self, content: Pair, style: Array, alpha: Array) -> Array:
        """Generate images in [-1, 1] from both codes."""
        high, low = content
        maps = high.astype(self.dtype), low.astype(self.dtype)
        return self.decoder(maps, munit.parameters_of(self.mlp, style), alpha)

    def __call__(self, images: Array, alpha: Array) -> Array:
        return self.decode(self.read_content(images, alpha), self.read_style(images, alpha), alpha)
