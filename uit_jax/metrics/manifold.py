"""Precision, recall, density and coverage: whether generated features lie among real ones, and among how many of them.

A real feature's neighbourhood is the ball up to its k-th nearest other one (Kynkäänniemi et al., 2019,
arXiv:1904.06991; Naeem et al., 2020, arXiv:2002.09797).
"""

import numpy as np

_BLOCK = 256


def scores(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Compare features [n, D] of true and [m, D] of generated images.

    Returns:
      precision: share of generated ones in the neighbourhood of some true one.
      recall: share of true ones in the neighbourhood of some generated one.
      density: mean number of neighbourhoods of true ones that a generated one lies in, over k; may pass 1.
      coverage: share of true ones in whose neighbourhood some generated one lies.

    Raises:
      ValueError: there are k features or fewer of either, or of other lengths.
    """
    real, fake = _comparable(real, fake, k)
    of_real, of_fake = _radii(real, k), _radii(fake, k)
    inside, reached, nearest = np.zeros(len(fake)), np.zeros(len(real), bool), np.empty(len(real))
    for rows in _blocks(len(real)):
        apart = _distances(real[rows], fake)
        inside += (apart < of_real[rows, None]).sum(0)
        reached[rows] = (apart < of_fake).any(1)
        nearest[rows] = apart.min(1)
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(reached.mean()),
        "density": float(inside.mean() / k),
        "coverage": float((nearest < of_real).mean()),
    }


def coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """Return the last of `scores` alone, for which generated features are not compared with each other."""
    real, fake = _comparable(real, fake, k)
    near = [_distances(real[rows], fake).min(1) for rows in _blocks(len(real))]
    return float((np.concatenate(near) < _radii(real, k)).mean())


def _comparable(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features as float64, around the mean of the true ones. Raises ValueError as `scores` does."""
    real, fake = (np.asarray(features, np.float64) for features in (real, fake))
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features of the shapes {list(real.shape)} and {list(fake.shape)} cannot be compared")
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{len(real)} and {len(fake)} features: more than k={k} of either are needed")
    # Distances are taken from products, which lose digits far from 0.
    return real - real.mean(0), fake - real.mean(0)


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each feature from its k-th nearest other one."""
    radii = np.empty(len(features))
    for rows in _blocks(len(features)):
        # The nearest of all is the feature itself.
        radii[rows] = np.partition(_distances(features[rows], features), k, axis=1)[:, k]
    return radii


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squares, 0))


def _blocks(count: int):
    """Yield slices of so many rows that their distances from all fit in memory."""
    for start in range(0, count, _BLOCK):
        yield slice(start, start + _BLOCK)
