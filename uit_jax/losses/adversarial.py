"""Adversarial losses on discriminator logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from uit_jax.types import Array, PyTree


def select(logits: Array, domains: Array) -> Array:
    """Pick each example's logits of its own domain: logits [B, ..., K], domains int32 [B] -> [B, ...]."""
    places = domains.reshape(-1, *[1] * (logits.ndim - 1))
    return jnp.take_along_axis(logits, places, axis=-1)[..., 0]


def hinge_real(logits: Array) -> Array:
    """Return mean(relu(1 - logits)): the discriminator's loss on real images."""
    return jax.nn.relu(1 - logits).mean()


def hinge_fake(logits: Array) -> Array:
    """Return mean(relu(1 + logits)): the discriminator's loss on translated images."""
    return jax.nn.relu(1 + logits).mean()


def hinge_generator(logits: Array) -> Array:
    """Return -mean(logits): the generator's loss."""
    return -logits.mean()


def least_squares(logits: Array, target: float) -> Array:
    """Return mean((logits - target)^2): target 1 is real, 0 is fake (LSGAN, arXiv:1611.04076, Eq. 9)."""
    return jnp.square(logits - target).mean()


def logistic(logits: Array, target: float) -> Array:
    """Return the mean binary cross-entropy: target 1 is real, 0 is fake.

    With the generator aiming at 1 this is the non-saturating objective (arXiv:1406.2661, Section 3).
    """
    return (jax.nn.softplus(logits) - target * logits).mean()


def wasserstein(logits: Array, target: float) -> Array:
    """Return the mean score with its sign: target 1 wants it high, 0 low (WGAN, arXiv:1701.07875, Eq. 3)."""
    return (1 - 2 * target) * logits.mean()


OBJECTIVES = {
    "lsgan": least_squares,
    "vanilla": logistic,
    # The published codes' "vanilla" also aims at 1 with cross-entropy, so that it and "nonsaturating" are one.
    "nonsaturating": logistic,
    "wasserstein": wasserstein,
}
"""Objectives by name: (logits, target: 1 real, 0 fake) -> scalar."""


def r1(discriminate: Callable[[PyTree], Array], images: PyTree) -> tuple[Array, Array]:
    """Penalise the gradient of real logits (arXiv:1801.04406, Eq. 9, without its gamma / 2).

    Args:
      discriminate: images [B, H, W, C] -> one logit for each, [B], or a map of them, [B, ...], whose mean counts.
      images: the real images, or a tree of them whose gradients count together.

    Returns:
      The sum over pixels of the squared gradient of each image's logit, averaged over B; and the logits.
    """

    def total(x):
        logits = discriminate(x)
        return logits.mean(tuple(range(1, logits.ndim))).sum(), logits

    gradient, logits = jax.grad(total, has_aux=True)(images)
    squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient))
    return squares / len(logits), logits
