"""Learning from labels of which some are wrong, and righting them: PENCIL (arXiv:1903.07788).

What an image's label is believed to be is a distribution over the classes, the softmax of its beliefs [K]. A classifier
learns it, and it comes nearer to what the classifier says.
"""

import jax
import jax.numpy as jnp

from uit_jax.types import Array, Metrics


def terms(logits: Array, beliefs: Array, labels: Array) -> Metrics:
    """Return the losses of a classifier and of beliefs, means over the images.

    As in the published code, the first and the last are means over the classes too, and `anchor` takes the softmax of
    what is a distribution already.

    Args:
      logits: the classifier's [B, K].
      beliefs: [B, K].
      labels: those the beliefs began with, int32 [B].

    Returns:
      agreement: the divergence of the classifier's distribution from the believed one.
      anchor: the cross-entropy of the believed distribution with the first labels.
      entropy: of the classifier's distribution.
    """
    said, believed = jax.nn.log_softmax(logits), jax.nn.log_softmax(beliefs)
    anchored = jax.nn.log_softmax(jnp.exp(believed))
    return {
        "agreement": (jnp.exp(said) * (said - believed)).mean(),
        "anchor": -jnp.take_along_axis(anchored, labels[:, None], axis=1).mean(),
        "entropy": -(jnp.exp(said) * said).mean(),
    }
