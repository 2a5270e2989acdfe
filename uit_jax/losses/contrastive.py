"""Contrastive losses."""

import jax
import jax.numpy as jnp

from uit_jax.types import Array


def normalize(codes: Array, epsilon: float = 1e-7) -> Array:
    """Scale codes [..., D] to length 1."""
    return codes / (jnp.sqrt(jnp.square(codes).sum(-1, keepdims=True)) + epsilon)


def info_nce(
    queries: Array, keys: Array, negatives: Array, temperature: float = 0.07, *, valid: Array | None = None
) -> Array:
    """Tell each query's key from the queue's (Eq. 2, arXiv:2006.06500; MoCo, Eq. 1, arXiv:1911.05722).

    Args:
      queries: [B, D]. Dot products are raw: normalise the codes first where the method does.
      keys: the positives [B, D]; no gradient flows into them.
      negatives: [N, D].
      temperature: the divisor of all dot products.
      valid: bool [N], the negatives that count; None for all.

    Returns:
      The mean cross-entropy of picking the positive out of N + 1, or of the valid ones and itself.
    """
    keys = jax.lax.stop_gradient(keys)
    positive = (queries * keys).sum(-1, keepdims=True)
    negative = queries @ negatives.T
    if valid is not None:
        negative = jnp.where(valid[None, :], negative, -jnp.inf)
    logits = jnp.concatenate([positive, negative], axis=1) / temperature
    return -jax.nn.log_softmax(logits)[:, 0].mean()
