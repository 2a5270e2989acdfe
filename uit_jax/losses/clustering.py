"""Losses that sort images into clusters."""

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.types import Array


def iic(
    first: Array, second: Array, *, marginal_weight: float = 1.0, epsilon: float = 1e-10, axis_name: str | None = None
) -> Array:
    """Return the negative mutual information of two views' clusters (IIC, arXiv:1807.06653, Eq. 3).

    Args:
      first: cluster probabilities [B, K] of the images.
      second: those of their other views [B, K].
      marginal_weight: IIC's lambda; above 1 it favours clusters of equal size.
      epsilon: floor of every probability.
      axis_name: the devices whose batches make the joint distribution together; their local joints differ
        much from it where a device has few images.

    Returns:
      A scalar: 0 where the views are independent, -ln K where K equal clusters agree always.
    """
    joint = collectives.mean(first.T @ second / first.shape[0], axis_name)
    joint = (joint + joint.T) / 2
    joint = joint / joint.sum()
    marginal = jnp.maximum(joint.sum(1), epsilon)
    joint = jnp.maximum(joint, epsilon)
    logs = jnp.log(marginal)
    return -(joint * (jnp.log(joint) - marginal_weight * (logs[:, None] + logs[None, :]))).sum()


def iic_of_heads(first: Array, second: Array, marginal_weights: Array, *, axis_name: str | None = None) -> Array:
    """Return what `iic` says of each of some clustering heads (the sub-heads of arXiv:1807.06653).

    Args:
      first, second: every head's logits of the images and of their other views [B, heads, K].
      marginal_weights: each head's lambda [heads].
      axis_name: as in `iic`.

    Returns:
      Their losses [heads].
    """

    def of_head(p, q, weight):
        return iic(p, q, marginal_weight=weight, axis_name=axis_name)

    return jax.vmap(of_head, (1, 1, 0))(jax.nn.softmax(first), jax.nn.softmax(second), marginal_weights)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the mean cross-entropy of logits [B, K] against int32 labels [B]; labels below 0 do not count."""
    known = labels >= 0
    log_probability = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log_probability, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return -jnp.where(known, picked, 0).sum() / jnp.maximum(known.sum(), 1)
