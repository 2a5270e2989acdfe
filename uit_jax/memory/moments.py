"""Mean and standard deviation of numbers that come a few at a time (Chan, Golub and LeVeque 1979)."""

from typing import NamedTuple

import jax.numpy as jnp

from uit_jax.types import Array


class Moments(NamedTuple):
    """How many numbers there were, their mean, and the sum of squared differences to it: float32 scalars."""

    count: Array
    mean: Array
    squares: Array

    @property
    def deviation(self) -> Array:
        """The standard deviation, of the numbers themselves; 0 where there are none."""
        return jnp.sqrt(self.squares / jnp.maximum(self.count, 1))


def create() -> Moments:
    """Return the moments of no number."""
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def add(moments: Moments, values: Array, valid: Array | bool = True) -> Moments:
    """Add those of some numbers [n] that are `valid` [n]."""
    weights = jnp.broadcast_to(valid, values.shape).astype(jnp.float32)
    count = weights.sum()
    mean = (weights * values).sum() / jnp.maximum(count, 1)
    squares = (weights * jnp.square(values - mean)).sum()
    total, shift = jnp.maximum(moments.count + count, 1), mean - moments.mean
    return Moments(
        moments.count + count,
        moments.mean + shift * count / total,
        moments.squares + squares + jnp.square(shift) * moments.count * count / total,
    )
