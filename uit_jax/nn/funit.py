"""FUNIT's discriminator, a logit for every domain (arXiv:1905.01723), with TUNIT's filter response norms."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, norms
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
    """Discriminate an image once for every domain: [B, S, S, C] -> logits [B, K]; a domain's own logit counts.

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
