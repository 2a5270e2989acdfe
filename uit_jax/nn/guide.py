"""TUNIT's guiding network: VGG-11 with batch norm, a clustering head and a style head (arXiv:2006.06500)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import convs, norms, resampling
from uit_jax.nn.convs import Conv
from uit_jax.types import Array


class GuidingNetwork(nn.Module):
    """Cluster images and encode their style: [B, H, W, C] -> logits [B, K], style codes [B, D].

    A VGG-11 with batch normalisation, a global average and two linear heads; any H and W of at least
    2 ** len(stages). `stages` counts the convolutions before each of the poolings.
    """

    domains: int
    style_dim: int = 128
    width: int = 64
    stages: tuple[int, ...] = (1, 1, 2, 2, 2)
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        x = x.astype(self.dtype)
        index = 0
        for stage, convolutions in enumerate(self.stages):
            for _ in range(convolutions):
                features = self.width * min(2**stage, 8)
                x = Conv(
                    features, 3, pad=1, kernel_init=convs.kaiming_fan_out, dtype=self.dtype, name=f"conv_{index}"
                )(x)
                x = norms.BatchNorm(self.axis_name, name=f"norm_{index}")(x, train=train)
                x = nn.relu(x)
                index += 1
            x = resampling.max_pool(x)
        pooled = x.astype(jnp.float32).mean((1, 2))
        head = nn.initializers.normal(0.01)
        logits = nn.Dense(self.domains, kernel_init=head, name="cluster")(pooled)
        style = nn.Dense(self.style_dim, kernel_init=head, name="style")(pooled)
        return logits, style
