"""Names for the images without labels, where some have labels: SEMIT's first part (arXiv:2003.13853, Section 3.2).

A classifier learns of the labelled images. As it then is it names the others, and each name becomes a belief, which is
righted as PENCIL does (arXiv:1903.07788): belief and classifier come nearer to each other. The memory holds, by the
number of an image, the name that it was given first and by how much its beliefs have changed since. All of it is ours
where the paper leaves it open; `semit.py` has the rest.
"""

import dataclasses

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.losses import noisy_labels
from uit_jax.settings import Adam, setting
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class Labels:
    """Which images have labels, and how the others are named; where all have, nothing of this happens."""

    share: float = setting(1.0, "of each class, the share of images with labels; 1: all", above=0, high=1)
    steps: int = setting(
        20_000, "first iterations, in which a classifier learns of labelled images alone", low=0, follows="steps"
    )
    naming_steps: int = setting(
        10_000, "those after, in which it names the others and rights the names", low=0, follows="steps"
    )
    batch_size: int = setting(128, "global batch of both, which are cheap; 0 for the run's own", low=0)
    images: int = setting(100_000, "images whose names are remembered: the training set has no more", low=1)
    certainty: float = setting(10.0, "by which the first name of an image is ahead of other classes", low=0)
    righting: float = setting(600 / 128, "step size of beliefs, each image's down the gradient of its own loss", low=0)
    anchor_weight: float = setting(0.4, "of names staying what they were first", low=0)
    entropy_weight: float = setting(0.1, "of the classifier being sure", low=0)
    width: int = setting(64, "first width of the classifier", low=1)
    max_width: int = setting(512, "its largest width", low=1)
    adam: Adam = Adam(1e-4, b1=0.0, b2=0.99)

    @property
    def some(self) -> bool:
        """Whether there are images without labels, which are named."""
        return self.share < 1

    def stage(self, step: int) -> str:
        """Return what an iteration does: "classify", "name", or, by the names, "train"."""
        return "classify" if step < self.steps else "name" if step < self.steps + self.naming_steps else "train"

    def names(self, memory: PyTree, views: Batch, logits: Array) -> tuple[Array, Array]:
        """Return the first names int32 [B] of images, labels where there are any, and beliefs [B, K] about their class.

        An image that never was named gets the name that the classifier's logits [B, K] say.
        """
        label, known = views["label"], memory["name"][views["number"]]
        first = jnp.where(label >= 0, label, jnp.where(known >= 0, known, logits.argmax(-1)))
        beliefs = self.certainty * jax.nn.one_hot(first, logits.shape[-1]) + memory["change"][views["number"]]
        return first, beliefs

    def disagreement(self, logits: Array, beliefs: Array, first: Array) -> tuple[Array, Metrics]:
        """Return PENCIL's loss of a classifier's logits and of beliefs, and its terms."""
        terms = noisy_labels.terms(logits, beliefs, first)
        loss = terms["agreement"] + self.anchor_weight * terms["anchor"] + self.entropy_weight * terms["entropy"]
        return loss, terms

    def righted(self, logits: Array, beliefs: Array, first: Array) -> Array:
        """Return by how much beliefs [B, K] change, each image's by the loss of its own, not its part in the mean."""
        gradient = jax.grad(lambda beliefs: self.disagreement(logits, beliefs, first)[0])(beliefs)
        return jax.lax.stop_gradient(-self.righting * len(beliefs) * gradient)


def begin(images: int, classes: int) -> PyTree:
    """Return the memory of so many images, none of which has been named."""
    return {"name": jnp.full(images, -1, jnp.int32), "change": jnp.zeros((images, classes))}


def remember(memory: PyTree, views: Batch, first: Array, change: Array, axis_name: str | None) -> PyTree:
    """Put first names and changes of beliefs into the memory; those of labelled images stay as they are."""
    unlabelled = views["label"] < 0
    first, change = jnp.where(unlabelled, first, -1), jnp.where(unlabelled[:, None], change, 0)
    number, first, change = (collectives.gather(each, axis_name) for each in (views["number"], first, change))
    # An image may be in a batch twice: what is put in must not depend on the order.
    name, change = memory["name"].at[number].max(first), memory["change"].at[number].add(change)
    return {**memory, "name": name, "change": change}
