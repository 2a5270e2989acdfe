"""Translations that evaluators score: which content meets which reference, and the images that come of it."""

from collections.abc import Iterator

import numpy as np

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.evaluation.context import slices
from uit_jax.inference import batched
from uit_jax.method import Method
from uit_jax.types import PyTree

BATCH = 16


def translations(
    method: Method,
    variables: PyTree,
    source: Source,
    chosen: np.ndarray,
    codes: np.ndarray | None,
    others: np.ndarray,
    what: str = "translations",
    *,
    shown: bool = True,
) -> Iterator[np.ndarray]:
    """Yield translations of chosen images [n] in order, in the styles `codes` of `others` [n, R] or as they are.

    R translations of an image come one after another: uint8 or uint16 [m R, S, S, C].
    """
    for rows in slices(len(chosen), BATCH, what, shown=shown):
        contents = np.repeat(data.examples(source, chosen[rows]), others.shape[1], axis=0)
        drawn = None if codes is None else codes[others[rows].ravel()]
        yield batched.translate(method, variables, contents, drawn, batch_size=BATCH)


def of_other_classes(labels: np.ndarray, references: int, seed: int) -> np.ndarray:
    """Draw for each image different ones of other classes, a function of labels int [n] and seed: int64 [n, R].

    R is `references`, or the least number of images that are of another class than one is, where that is smaller.
    """
    rng = np.random.default_rng(seed)
    count = min(references, len(labels) - np.unique(labels, return_counts=True)[1].max())
    drawn = np.empty((len(labels), count), np.int64)
    for label in np.unique(labels):
        others = np.flatnonzero(labels != label)
        for row in np.flatnonzero(labels == label):
            drawn[row] = rng.choice(others, count, replace=False)
    return drawn


def of_any(count: int, among: int, references: int, seed: int) -> np.ndarray:
    """Draw for each of `count` images different ones `among` some: int64 [n, R], R no more than there are."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(among, min(references, among), replace=False) for _ in range(count)])
