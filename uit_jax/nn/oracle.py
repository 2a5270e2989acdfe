"""The judge of the procedural world: a small classifier and locator, trained on true labels."""

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn.convs import Conv
from uit_jax.types import Array


class Oracle(nn.Module):
    """Name the species and place of the object: [B, S, S, C] -> logits [B, K], x and y [B, 2] in [-1, 1]."""

    species: int
    width: int = 32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        for index, scale in enumerate((1, 2, 3)):
            x = nn.relu(Conv(self.width * scale, 4, 2, pad=1, name=f"conv_{index}")(x))
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.species, name="species")(x), jnp.tanh(nn.Dense(2, name="position")(x))
