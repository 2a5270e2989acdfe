"""FUNIT's discriminator, a logit for every domain (arXiv:1905.01723), with TUNIT's filter response norms."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import norms, resampling
from uit_jax.nn.convs import Conv, PooledConv
from uit_jax.types import Array


class _DiscriminatorBlock(nn.Module):
    """A residual block whose filter response norms come first and carry the activation."""

    features: int
    down: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # A mean over pixels and a 1 x 1 convolution without bias commute: the mean first is the cheaper order.
        shortcut = resampling.average_pool(x) if self.down else x
        if x.shape[-1] != self.features:
            shortcut = Conv(self.features, 1, use_bias=False, dtype=self.dtype, name="shortcut")(shortcut)
        y = norms.FilterResponseNorm(name="norm_0")(x)
        if self.down:
            y = PooledConv(x.shape[-1], dtype=self.dtype, name="conv_0")(y)
        else:
            y = Conv(x.shape[-1], 3, pad=1, dtype=self.dtype, name="conv_0")(y)
        y = norms.FilterResponseNorm(name="norm_1")(y)
        y = Conv(self.features, 3, pad=1, dtype=self.dtype, name="conv_1")(y)
        return (shortcut + y) / math.sqrt(2)


class Discriminator(nn.Module):
    """Judge an image once for every domain: [B, S, S, C] -> logits [B, K]; a domain's own logit counts.

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
