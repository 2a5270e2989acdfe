"""The Swapping Autoencoder's networks (arXiv:2007.00653): StyleGAN2's layers, and a modulation of their own.

Widths are those of the published code times a `scale` of each network.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import norms
from uit_jax.nn.convolution import convolve
from uit_jax.nn.equalized import (
    Layer,
    Linear,
    ResidualBlock,
    ResidualDiscriminator,
    activated,
    demodulated,
    doubled,
    flat,
    noisy,
    rectified,
    scaled_weight,
)
from uit_jax.nn.resampling import blur_up
from uit_jax.types import Array

FINEST_PATCH = 4
"""The side of the maps on which halvings end in both discriminators, for images of a power of two."""


def unit(codes: Array) -> Array:
    """Divide codes by their length over the last axis, in float32."""
    codes = codes.astype(jnp.float32)
    return codes * jax.lax.rsqrt(jnp.square(codes).sum(-1, keepdims=True) + 1e-8)


class Encoder(nn.Module):
    """Encode images: [B, H, W, C] -> structure [B, H / 2^downs, W / 2^downs, S], texture [B, D], both of length 1.

    Behind the halvings the structure sees one place at a time. The texture is the mean over places; H and W must leave
    it one, as `smallest` tells.
    """

    structure_dim: int = 8
    texture_dim: int = 2048
    scale: float = 1.0
    downs: int = 4
    texture_downs: int = 2
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        """H and W must be multiples of this."""
        return 2**self.downs

    @property
    def smallest(self) -> int:
        """The least H and W."""
        return self.multiple * (2 ** (self.texture_downs + 1) - 1)

    def width(self, halvings: int) -> int:
        """Return the channels behind so many halvings."""
        return max(1, min(self.texture_dim, round(32 * 2**halvings * self.scale)))

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        x = Layer(self.width(0), 1, dtype=self.dtype, name="stem")(images)
        how = dict(taps=(1, 2, 1), border="reflect")
        for index in range(self.downs):
            x = ResidualBlock(self.width(index + 1), True, self.dtype, name=f"block_{index}", **how)(x)
        structure = Layer(x.shape[-1], 1, dtype=self.dtype, name="structure_0")(x)
        last = Layer(self.structure_dim, 1, activate=False, biased=True, dtype=self.dtype, name="structure_1")
        for index in range(self.texture_downs):
            width = self.width(self.downs + index + 1)
            x = Layer(width, 3, down=True, valid=True, dtype=self.dtype, name=f"texture_{index}")(x)
        texture = Linear(self.texture_dim, name="texture")(norms.widened(x).mean((1, 2)))
        return unit(last(structure)), unit(texture)


class _Modulated(nn.Module):
    """Scale the channels of maps by a texture, convolve and, unless they make an image, demodulate.

    Differs from StyleGAN2: scales and weights are each brought to a fixed size, not their products.
    """

    features: int
    kernel: int = 3
    up: bool = False
    demodulate: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, texture: Array) -> Array:
        scale = Linear(x.shape[-1], bias=1.0, name="style")(texture)
        weight = scaled_weight(self, (self.kernel, self.kernel, x.shape[-1], self.features), jnp.float32)
        if self.demodulate:
            scale = scale * jax.lax.rsqrt(jnp.square(scale).mean(-1, keepdims=True) + 1e-8)
            weight = demodulated(weight)
        x = x.astype(self.dtype) * scale[:, None, None, :].astype(self.dtype)
        if self.up:
            return doubled(x, weight)
        pad = self.kernel // 2
        return convolve(x, weight.astype(self.dtype), pad=(pad, pad))


class StyledLayer(nn.Module):
    """Convolve in a texture, add noise of a learned strength, and activate; H and W double if `up`."""

    features: int
    up: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, texture: Array, noise: Array) -> Array:
        x = _Modulated(self.features, up=self.up, dtype=self.dtype, name="conv")(x, texture)
        x = noisy(self, x, noise)
        return activated(x, self.param("bias", nn.initializers.zeros_init(), (self.features,)))


class _StyledBlock(nn.Module):
    """(shortcut + two styled layers) / sqrt(2); H and W double if `up`."""

    features: int
    up: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, texture: Array, noise: tuple[Array, Array]) -> Array:
        y = StyledLayer(self.features, self.up, self.dtype, name="layer_0")(x, texture, noise[0])
        y = StyledLayer(self.features, dtype=self.dtype, name="layer_1")(y, texture, noise[1])
        if x.shape[-1] != self.features:
            x = Layer(self.features, 1, activate=self.up, dtype=self.dtype, name="shortcut")(x)
        return ((blur_up(x) if self.up else x) + y) / math.sqrt(2)


class Generator(nn.Module):
    """Draw a structure [B, h, w, S] in a texture [B, D], with noise: images [B, h 2^ups, w 2^ups, C], not bounded.

    Only the directions of codes count. Of noise there is one array N(0, 1) for each of `noise_sides`, [B, ..., 1].
    """

    channels: int = 3
    scale: float = 1.0
    ups: int = 4
    head_blocks: int = 2
    dtype: Any = jnp.float32

    def width(self, doublings: int) -> int:
        """Return the channels behind so many doublings."""
        return max(1, int(min(512, 128 * 2 ** (self.ups - doublings)) * self.scale))

    def noise_sides(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Return height and width of each of the maps that noise is added to, for a structure of this size."""
        doublings = [0] * self.head_blocks + [index + 1 for index in range(self.ups)]
        return tuple((height * 2**times, width * 2**times) for times in doublings for _ in range(2))

    @nn.compact
    def __call__(self, structure: Array, texture: Array, noise: tuple[Array, ...]) -> Array:
        structure, texture, dim = unit(structure), unit(texture), structure.shape[-1]
        scale, shift = (Linear(dim, name=f"structure_{part}")(texture) for part in ("scale", "shift"))
        x = (structure * scale[:, None, None, :] + shift[:, None, None, :]).astype(self.dtype)
        pairs = zip(noise[0::2], noise[1::2], strict=True)
        for index in range(self.head_blocks):
            width = max(dim, round((index + 1) / self.head_blocks * self.width(0)))
            x = _StyledBlock(width, dtype=self.dtype, name=f"head_{index}")(x, texture, next(pairs))
        for index in range(self.ups):
            x = _StyledBlock(self.width(index + 1), True, self.dtype, name=f"up_{index}")(x, texture, next(pairs))
        x = _Modulated(self.channels, 1, demodulate=False, dtype=self.dtype, name="image")(x, texture)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        return norms.widened(x) + norms.per_channel(bias)


class Discriminator(ResidualDiscriminator):
    """Discriminate images of sides near S, as large as the nearest power of two at most: [B, H, W, C] -> [B, 1]."""

    image_size: int = 256
    scale: float = 1.0
    max_width: int = 512
    dtype: Any = jnp.float32

    @property
    def widths(self) -> tuple[int, ...]:
        halvings = max(0, round(math.log2(self.image_size / FINEST_PATCH)))
        return tuple(self.width(FINEST_PATCH << times) for times in reversed(range(halvings + 1)))

    def width(self, side: int) -> int:
        """Return the channels of maps of a side, a power of two."""
        if side <= 8:
            return self.max_width
        wide = int(32768 * self.scale / max(side, 32))
        return max(1, min(self.max_width, wide) if side <= 32 else wide)


class PatchDiscriminator(nn.Module):
    """Say of pairs of patches whether their textures are of one image: [B, P, P, C] twice -> logits [B]."""

    patch_size: int = 128
    scale: float = 4.0
    max_width: int = 384
    pair_width: int = 2048
    dtype: Any = jnp.float32

    def width(self, side: int) -> int:
        """Return the channels of maps of a side, a power of two."""
        wide = int(1024 * self.scale / side)
        return max(1, min(self.max_width, wide) if side <= 16 else wide)

    def setup(self):
        sides = [self.patch_size >> times for times in range(int(math.log2(self.patch_size // FINEST_PATCH)) + 1)]
        last = self.width(FINEST_PATCH)
        self.stem = Layer(self.width(sides[0]), 3, dtype=self.dtype)
        self.block = [ResidualBlock(self.width(side), True, self.dtype) for side in sides[1:]]
        self.wide = ResidualBlock(2 * last, False, self.dtype)
        self.last = Layer(last, 3, valid=True, dtype=self.dtype)
        self.pair = [Linear(width) for width in (self.pair_width, self.pair_width, max(1, self.pair_width // 2))]
        self.logit = Linear(1)

    def features(self, patches: Array) -> Array:
        """Return what is compared of patches: [B, P, P, C] -> float32 [B, 2, 2, D]."""
        x = self.stem(patches)
        for block in self.block:
            x = block(x)
        return norms.widened(self.last(self.wide(x)))

    def compare(self, references: Array, features: Array) -> Array:
        """Return the logits [B] of features being of the same texture as those of references, both [B, 2, 2, D]."""
        x = jnp.concatenate([flat(references), flat(features)], -1)
        for layer in self.pair:
            x = rectified(layer(x))
        return self.logit(x)[:, 0]

    def __call__(self, references: Array, patches: Array) -> Array:
        return self.compare(self.features(references), self.features(patches))
