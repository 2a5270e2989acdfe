"""The kernel distance between two sets of features: the squared maximum mean discrepancy of a cubic kernel.

Of Inception's features it is the KID (Bińkowski et al., 2018, arXiv:1801.01401), whose expectation, unlike the FID's,
does not depend on the number of images.
"""

import numpy as np

_BLOCK = 256


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased estimate from features [n, D] and [m, D], which may be below 0; kernel (x.y / D + 1)^3.

    Raises ValueError for fewer than two of either, or other lengths.
    """
    first, second = _checked(first, second)
    return _estimate(_within(first), _within(second), _between(first, second))


def interval(first: np.ndarray, second: np.ndarray, errors: float = 1.96) -> tuple[float, float, float]:
    """Return the distance, and the two ends of the interval of so many standard errors on either side of it.

    The error is the jackknife's, taken from how the distance changes as each feature is left out in turn: nothing is
    drawn. Raises ValueError as `distance` does, and for fewer than three of either.
    """
    first, second = _checked(first, second)
    if min(len(first), len(second)) < 3:
        raise ValueError(f"{len(first)} and {len(second)} features: three at least of either are needed for an error")
    own, others, across = _within(first), _within(second), _between(first, second)
    variance = _jackknife(own, across, len(second)) + _jackknife(others, _between(second, first), len(first))
    value, reach = _estimate(own, others, across), errors * float(np.sqrt(variance))
    return value, value - reach, value + reach


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


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.asarray(features, np.float64) for features in (first, second))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features of the shapes {list(first.shape)} and {list(second.shape)} cannot be compared")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} features: two at least of either are needed")
    return first, second


def _estimate(own: np.ndarray, others: np.ndarray, across: np.ndarray) -> float:
    """Return the distance by the sums of kernels of each set with itself, and of one with the other."""
    n, m = len(own), len(others)
    return float(own.mean() / (n - 1) + others.mean() / (m - 1) - 2 * across.mean() / m)


def _jackknife(own: np.ndarray, across: np.ndarray, m: int) -> float:
    """Return the variance that leaving out each of a set in turn tells of, by its sums with itself and m others."""
    n = len(own)
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * m)
    return (n - 1) / n * np.square(without - without.mean()).sum()


def _within(features: np.ndarray) -> np.ndarray:
    """Return the sum of the kernels of each feature with the others of its set: [n]."""
    return _between(features, features) - (np.square(features).mean(1) + 1) ** 3


def _between(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the sum of the kernels of each feature with all of a set: [n]."""
    starts = range(0, len(rows), _BLOCK)
    return np.concatenate([_kernel(rows[start : start + _BLOCK], columns).sum(1) for start in starts])


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3
