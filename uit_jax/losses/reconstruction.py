"""Reconstruction losses."""

import jax.numpy as jnp

from uit_jax.types import Array


def l1(first: Array, second: Array) -> Array:
    """Return the mean absolute difference (Eq. 5, arXiv:2006.06500)."""
    return jnp.abs(first - second).mean()
