"""The kernel distance between two sets of features: the squared maximum mean discrepancy of a cubic kernel.

Of Inception's features it is the KID (Bińkowski et al., 2018, arXiv:1801.01401), whose expectation, unlike the FID's,
does not depend on the number of images.
"""

import numpy as np


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased estimate from features [n, D] and [m, D], which may be below 0; kernel (x.y / D + 1)^3.

    Raises ValueError for fewer than two of either, or other lengths.
    """
    first, second = (np.asarray(features, np.float64) for features in (first, second))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features of the shapes {list(first.shape)} and {list(second.shape)} cannot be compared")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} features: two at least of either are needed")

    def others(features):
        """Return the mean kernel of different ones of a set."""
        found, count = _kernel(features, features), len(features)
        return (found.sum() - np.trace(found)) / (count * (count - 1))

    return float(others(first) + others(second) - 2 * _kernel(first, second).mean())


def of_subsets(
    first: np.ndarray, second: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return mean and standard deviation of the distance over subsets, as papers report the KID.

    Args:
      subsets: how many pairs of them are drawn, each without repetition.
      size: features in each; all, where there are fewer.
    """
    rng = np.random.default_rng(seed)
    size = min(size, len(first), len(second))

    def some(features):
        return features[rng.choice(len(features), size, replace=False)]

    found = [distance(some(first), some(second)) for _ in range(subsets)]
    return float(np.mean(found)), float(np.std(found))


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3
