"""How well pseudo domains agree with true classes, and the baseline that needs no learning."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment


def contingency(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Count the images of each pair of cluster and class: int64 [clusters, classes].

    Args:
      predicted, true: integers [n], 0 at least.

    Raises:
      ValueError: lengths differ, there are no images, or a label is negative.
    """
    predicted, true = np.asarray(predicted, np.int64), np.asarray(true, np.int64)
    if predicted.shape != true.shape or predicted.ndim != 1 or predicted.size == 0:
        raise ValueError(f"two equally long lists of labels are needed, not {predicted.shape} and {true.shape}")
    if min(predicted.min(), true.min()) < 0:
        raise ValueError("labels must not be negative: leave unlabelled images out")
    counts = np.zeros((predicted.max() + 1, true.max() + 1), np.int64)
    np.add.at(counts, (predicted, true), 1)
    return counts


def matching(counts: np.ndarray) -> dict[int, int]:
    """Assign clusters to classes one to one so that most images agree (Kuhn 1955): cluster -> class.

    With more clusters than classes the rest stay without one, and the other way round.
    """
    clusters, classes = linear_sum_assignment(counts, maximize=True)
    return dict(zip(clusters.tolist(), classes.tolist(), strict=True))


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the share of images whose cluster is matched with their class, in [0, 1].

    Images of a cluster without a class count as wrong, so splitting a class into two clusters costs.
    """
    counts = contingency(predicted, true)
    return sum(counts[pair] for pair in matching(counts).items()) / counts.sum()


def normalized_mutual_information(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return 2 I(predicted; true) / (H(predicted) + H(true)), in [0, 1]; 1 where both are one single group."""
    joint = contingency(predicted, true) / len(predicted)
    rows, columns = joint.sum(1), joint.sum(0)
    entropies = _entropy(rows) + _entropy(columns)
    if entropies == 0:
        return 1.0
    return float(np.clip(2 * (entropies - _entropy(joint.ravel())) / entropies, 0, 1))


def sizes(predicted: np.ndarray, clusters: int) -> np.ndarray:
    """Count the images of each of `clusters` clusters, empty ones included: int64 [clusters]."""
    return np.bincount(predicted, minlength=clusters)


class KMeans(NamedTuple):
    """Centres [clusters, D], each point's nearest one int64 [n], and the mean squared distance to it."""

    centres: np.ndarray
    assignment: np.ndarray
    inertia: float


def kmeans(
    points: np.ndarray,
    clusters: int,
    *,
    seed: int = 0,
    restarts: int = 5,
    iterations: int = 100,
    progress: Callable[[range], Iterable[int]] = iter,
) -> KMeans:
    """Cluster points [n, D] by Lloyd's algorithm from k-means++ starts; the best of `restarts` counts.

    `progress` wraps these, as tqdm does.

    Raises:
      ValueError: there are fewer points than clusters.
    """
    points = np.asarray(points, np.float32)
    if len(points) < clusters:
        raise ValueError(f"{len(points)} points cannot form {clusters} clusters")
    rng, squares = np.random.default_rng(seed), _squares(points)
    starts = (_spread(points, squares, clusters, rng) for _ in progress(range(restarts)))
    runs = (_lloyd(points, squares, centres, iterations) for centres in starts)
    return min(runs, key=lambda run: run.inertia)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the index of each point's nearest centre: int64 [n]."""
    points = np.asarray(points, np.float32)
    return _squared_distances(points, _squares(points), centres).argmin(1)


def inter_over_intra(codes: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean cosine distance of codes [n, D] of different labels [n] over that of codes of one, 0 or more.

    None where there are not both kinds of pairs, or those of one label are no distance apart.
    """
    lengths = np.linalg.norm(codes.astype(np.float64), axis=1, keepdims=True)
    unit = codes / np.where(lengths > 0, lengths, 1)
    _, labels = np.unique(labels, return_inverse=True)
    sizes = np.bincount(labels)
    sums = np.zeros((len(sizes), codes.shape[1]))
    np.add.at(sums, labels, unit)
    # A sum's square has every pair of its codes twice, and each code with itself.
    squares = np.square(unit).sum()
    within, of_all = np.square(sums).sum() - squares, np.square(sums.sum(0)).sum() - squares
    pairs_within, pairs = (sizes * (sizes - 1)).sum(), len(codes) * (len(codes) - 1)
    if not pairs_within or pairs == pairs_within:
        return None
    intra, inter = 1 - within / pairs_within, 1 - (of_all - within) / (pairs - pairs_within)
    return float(inter / intra) if intra > 1e-12 else None


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def _squares(points: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", points, points)


def _squared_distances(points: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return those of points [n, D], whose own squares [n] are known, from centres [K, D]: float32 [n, K]."""
    return np.maximum(squares[:, None] + _squares(centres) - 2 * (points @ centres.T), 0)


def _spread(points: np.ndarray, squares: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Draw centres among the points, each with a chance that grows with its squared distance to the former ones."""
    chosen = [int(rng.integers(len(points)))]
    distances = _squared_distances(points, squares, points[chosen])[:, 0]
    while len(chosen) < clusters:
        total = distances.sum(dtype=np.float64)
        # All remaining points coincide with a centre: any of them will do.
        chances = distances.astype(np.float64) / total if total > 0 else None
        chosen.append(int(rng.choice(len(points), p=chances)))
        distances = np.minimum(distances, _squared_distances(points, squares, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _lloyd(points: np.ndarray, squares: np.ndarray, centres: np.ndarray, iterations: int) -> KMeans:
    assignment = np.full(len(points), -1)
    for _ in range(iterations):
        previous, distances = assignment, _squared_distances(points, squares, centres)
        assignment = distances.argmin(1)
        if np.array_equal(assignment, previous):
            break
        members = np.eye(len(centres), dtype=np.float32)[assignment]
        counts = members.sum(0)
        # A centre that lost all its points stays where it is.
        centres = np.where(counts[:, None] > 0, members.T @ points / np.maximum(counts, 1)[:, None], centres)
    distances = _squared_distances(points, squares, centres)
    assignment = distances.argmin(1)
    return KMeans(centres, assignment, float(distances.min(1).mean()))
