"""The Fréchet distance between two sets of features, each taken for normally distributed (Heusel et al., 2017).

Of Inception's features it is the FID (arXiv:1706.08500). Moments are float64, and add up over any parts of a set.
"""

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """How many features [D] there were, their mean [D], and the sum of the outer products of what differs from it."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """float64 [D, D], unbiased. Raises ValueError for a single feature."""
        if self.count < 2:
            raise ValueError(f"{self.count} features have no covariance")
        return self.scatter / (self.count - 1)


class Normal(NamedTuple):
    """A distribution by its mean [D] and covariance [D, D] alone, as files of reference statistics have it."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(features: np.ndarray) -> Moments:
    """Return the moments of features [n, D]. Raises ValueError where there are none, or one is not finite."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"features have the shape {list(features.shape)}, not [n, D]")
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite")
    mean = features.mean(0)
    return Moments(len(features), mean, (features - mean).T @ (features - mean))


def merge(first: Moments, second: Moments) -> Moments:
    """Return the moments of both sets together (Chan et al., 1979)."""
    count, apart = first.count + second.count, second.mean - first.mean
    scatter = first.scatter + second.scatter + np.outer(apart, apart) * (first.count * second.count / count)
    return Moments(count, first.mean + apart * (second.count / count), scatter)


def distance(first: Moments | Normal, second: Moments | Normal) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), 0 or more.

    The root's trace is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric, so that
    a singular covariance, of fewer features than they have entries, needs no small number on its diagonal.
    Raises ValueError for features of other lengths, or a single one.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {first.mean.size} and of {second.mean.size} entries cannot be compared")
    one, two = first.covariance, second.covariance
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = root @ two @ root
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0))
    found = np.square(first.mean - second.mean).sum() + np.trace(one) + np.trace(two) - 2 * roots.sum()
    return max(0.0, float(found))
