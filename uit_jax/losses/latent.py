"""Losses on codes of style and content, and on how much of what is drawn styles decide."""

import jax
import jax.numpy as jnp

from uit_jax.types import Array


def prior(mean: Array, log_variance: Array | None = None) -> Array:
    """Return how far styles are from N(0, I): the divergence of their normal distributions (arXiv:1312.6114, B).

    Args:
      mean, log_variance: [B, D].

    Returns:
      The sum over D, averaged over B; where there is no variance, the mean square of the means.
    """
    if log_variance is None:
        return jnp.square(mean).mean()
    return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1).mean()


def mode_seeking(images: Array, others: Array, styles: Array, other_styles: Array, epsilon: float = 1e-5) -> Array:
    """Return how little two images of one content differ by how much their styles do (MSGAN, arXiv:1903.05628, Eq. 5).

    Args:
      images, others: [B, H, W, C], drawn in the styles below.
      styles, other_styles: [B, D].

    Returns:
      The mean over B of 1 / (distance of the images / distance of the styles + epsilon), of mean absolute differences.
    """
    apart = jnp.abs(images - others).mean((1, 2, 3)) / jnp.abs(styles - other_styles).mean(-1)
    return (1 / (apart + epsilon)).mean()


def channel_entropy(maps: Array) -> Array:
    """Return the entropy of which channel is large at a place of maps [B, H, W, C]: the mean of -p log p, p the softmax
    over the channels (SEMIT's published code)."""
    logs = jax.nn.log_softmax(maps)
    return -(jnp.exp(logs) * logs).mean()
