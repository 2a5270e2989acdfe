"""FUNIT's discriminator, logits for every class (arXiv:1905.01723), and the form that TUNIT gives it."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, norms, resampling
from uit_jax.nn.convs import Conv
from uit_jax.types import Array


class _DiscriminatorBlock(nn.Module):
    """A residual block whose filter response norms come first and carry the activation."""

    features: int
    down: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        def activate(index: int, x: Array) -> Array:
            return norms.FilterResponseNorm(name=f"norm_{index}")(x)

        size = "half" if self.down else "same"
        return blocks.preactivated(x, activate, x.shape[-1], self.features, size=size, dtype=self.dtype)


class Discriminator(nn.Module):
    """TUNIT's: an image to a logit for every domain, of which its own counts: [B, S, S, C] -> [B, K].

    log2(S) - 2 stages of `blocks` residual blocks, the last of which doubles the width and halves S, end at
    4 x 4.
    """

    image_size: int
    domains: int
    width: int = 64
    max_width: int = 1024
    blocks: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.width, 3, pad=1, dtype=self.dtype, name="stem")(x.astype(self.dtype))
        features, index = self.width, 0
        for _ in range(int(math.log2(self.image_size)) - 2):
            for block in range(self.blocks):
                down = block == self.blocks - 1
                features = min(2 * features, self.max_width) if down else features
                x = _DiscriminatorBlock(features, down, self.dtype, name=f"block_{index}")(x)
                index += 1
        x = nn.leaky_relu(x, 0.2)
        x = Conv(features, 4, dtype=self.dtype, name="patch")(x)
        x = nn.leaky_relu(x, 0.2)
        x = Conv(self.domains, 1, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32).reshape(x.shape[0], self.domains)


class _PlainBlock(nn.Module):
    """x + (activation, conv, activation, conv)(x), without norms: [B, H, W, C] -> [B, H, W, features].

    Where the width stays and the activation overwrites its input, as in the published code, x is an activation too.
    """

    features: int
    in_place: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        options = dict(pad=1, pad_mode="reflect", dtype=self.dtype)
        y = active = nn.leaky_relu(x, 0.2)
        y = Conv(min(x.shape[-1], self.features), 3, **options, name="conv_0")(y)
        y = Conv(self.features, 3, **options, name="conv_1")(nn.leaky_relu(y, 0.2))
        if x.shape[-1] != self.features:
            return y + Conv(self.features, 1, use_bias=False, dtype=self.dtype, name="shortcut")(x)
        return y + (active if self.in_place else x)


class PatchDiscriminator(nn.Module):
    """FUNIT's: an image to maps of logits for every class, of which its own counts, and to features, their means over
    the map: [B, H, W, C] -> [B, h, w, K], [B, D].

    Each stage has two residual blocks, the second of which doubles the width, and all but the last halve the map.

    Attributes:
      in_place: whether activations overwrite their input, as in the published code: the shortcuts of blocks that keep
        the width, and the features, are then activations.
    """

    classes: int
    width: int = 64
    max_width: int = 1024
    stages: int = 5
    in_place: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = Conv(self.width, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="stem")(x.astype(self.dtype))
        for index in range(2 * self.stages):
            if index and index % 2 == 0:
                x = resampling.blur_down(x, 1 / 3)
            features = min(2 * x.shape[-1], self.max_width) if index % 2 else x.shape[-1]
            x = _PlainBlock(features, self.in_place, self.dtype, name=f"block_{index}")(x)
        active = nn.leaky_relu(x, 0.2)
        logits = norms.widened(Conv(self.classes, 1, dtype=self.dtype, name="logits")(active))
        return logits, norms.widened(active if self.in_place else x).mean((1, 2))


def smallest(stages: int) -> int:
    """Return the smallest side of an image that `PatchDiscriminator` takes: its map then has 2 pixels a side."""
    return max(4, 2**stages)
