"""Contrastive losses."""

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.types import Array


def normalize(codes: Array, epsilon: float = 1e-7) -> Array:
    """Scale codes [..., D] to length 1; 0 stays 0, with a finite gradient."""
    squares = jnp.square(codes).sum(-1, keepdims=True)
    # The root has none at 0, where a patch's hidden units are all silent.
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return codes / (length + epsilon)


def info_nce(
    queries: Array, keys: Array, negatives: Array, temperature: float = 0.07, *, valid: Array | None = None
) -> Array:
    """Tell each query's key from the queue's (Eq. 2, arXiv:2006.06500; MoCo, Eq. 1, arXiv:1911.05722).

    Args:
      queries: [B, D]. Dot products are raw: normalise the codes first where the method does.
      keys: the positives [B, D]; no gradient flows into them.
      negatives: [N, D].
      temperature: the divisor of all dot products.
      valid: bool [N] or [B, N], the negatives that count, for each query; None for all.

    Returns:
      The mean cross-entropy of picking the positive out of N + 1, or of the valid ones and itself.
    """
    keys = jax.lax.stop_gradient(keys)
    positive = (queries * keys).sum(-1, keepdims=True)
    negative = queries @ negatives.T
    if valid is not None:
        negative = jnp.where(valid if valid.ndim == 2 else valid[None, :], negative, -jnp.inf)
    logits = jnp.concatenate([positive, negative], axis=1) / temperature
    return -jax.nn.log_softmax(logits)[:, 0].mean()


def supervised_nce(
    queries: Array, candidates: Array, same: Array, temperature: float = 0.07, *, axis_name: str | None = None
) -> Array:
    """Tell the keys of each query's own class from all others (supervised contrast, Eq. 2 of arXiv:2004.11362).

    Args:
      queries: unit codes [B, D].
      candidates: [N, D], the queue; no gradient flows into them.
      same: bool [B, N], whether a key is known to be of the query's class.
      temperature: the divisor of all dot products.
      axis_name: the devices over which the caller takes the mean; they may differ in how many queries have such keys.

    Returns:
      The mean over the keys of the own class of the cross-entropy of picking them, averaged over the queries that have
      such keys; 0 where none has any.
    """
    log_probability = jax.nn.log_softmax(queries @ jax.lax.stop_gradient(candidates).T / temperature)
    count = same.sum(1)
    per_query = -jnp.where(same, log_probability, 0).sum(1) / jnp.maximum(count, 1)
    counted = collectives.mean((count > 0).sum().astype(jnp.float32), axis_name)
    return per_query.sum() / jnp.where(counted > 0, counted, 1)


def patch_nce(
    queries: Array,
    keys: Array,
    temperature: float = 0.07,
    *,
    candidates: Array | None = None,
    negatives: Array | None = None,
    train_keys: bool = False,
) -> Array:
    """Tell each patch's own place from other patches (PatchNCE, Eq. 2 and 3 of arXiv:2007.15651, one layer).

    Args:
      queries: codes of P patches of each translated image, [B, P, D].
      keys: codes of the same places of the input images [B, P, D].
      temperature: the divisor of all dot products.
      candidates: [N, D], what a query chooses among, its own key included; None for the keys of its own image.
      negatives: [M, D], codes from elsewhere that are no query's own; None for none.
      train_keys: whether gradients flow into the keys; the published loss stops them.

    Returns:
      The mean cross-entropy of choosing the own key.
    """
    if not train_keys:
        keys = jax.lax.stop_gradient(keys)
    positive = (queries * keys).sum(-1) / temperature
    if candidates is None:
        logits = jnp.einsum("bpd,bqd->bpq", queries, keys)
    else:
        logits = jnp.einsum("bpd,nd->bpn", queries, candidates if train_keys else jax.lax.stop_gradient(candidates))
    if negatives is not None:
        others = jnp.einsum("bpd,md->bpm", queries, jax.lax.stop_gradient(negatives))
        logits = jnp.concatenate([logits, others], axis=-1)
    return (jax.nn.logsumexp(logits / temperature, axis=-1) - positive).mean()
