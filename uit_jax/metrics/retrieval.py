"""Neighbours in a space of codes, by the cosine, and how often they are of one class."""

import numpy as np

_BLOCK = 1024
# Cosines of unit codes in double precision that differ by less are those of equal codes.
_TIE = 1e-12


def cosines(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the cosine of every query [m, D] with every code [n, D]: float64 [m, n]; 0 for a code of length 0."""
    return directions(queries) @ directions(codes).T


def nearest(
    queries: np.ndarray, codes: np.ndarray, count: int, *, barred: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `count` codes [n, D] of the largest cosine with each query [m, D], the largest first.

    Args:
      barred: bool [m, n], the codes that are not for a query; of equally near ones the first in order comes first.

    Returns:
      their indices int64 [m, count] and cosines float64 [m, count].

    Raises:
      ValueError: there are fewer codes for a query.
    """
    found = cosines(queries, codes)
    if barred is not None:
        found[barred] = -np.inf
    if count > np.isfinite(found).sum(1).min():
        raise ValueError(f"{count} neighbours are more than there are codes")
    indices = np.argsort(-found, axis=1, kind="stable")[:, :count]
    return indices, np.take_along_axis(found, indices, axis=1)


def same_label_share(codes: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of codes [n, D] whose nearest other one has the same label [n], in [0, 1].

    Each code is left out of its own search. Several that are equally near count by their share of the same label, so
    that codes which are all alike score what chance does.

    Raises:
      ValueError: there are fewer than two codes, or not as many labels.
    """
    codes, labels = directions(codes), _labels(labels)
    if len(codes) != len(labels):
        raise ValueError(f"{len(codes)} codes have {len(labels)} labels")
    total = 0.0
    # Not all pairs at once: those of 30,000 images would take 7 GiB.
    for start in range(0, len(codes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(codes)))
        found = codes[rows] @ codes.T
        found[rows - start, rows] = -np.inf
        near = found >= found.max(1, keepdims=True) - _TIE
        same = labels[rows, None] == labels
        total += ((near & same).sum(1) / near.sum(1)).sum()
    return float(total / len(codes))


def same_label_chance(labels: np.ndarray) -> float:
    """Return the chance that another label, drawn at random, is that of one of labels [n]. Raises ValueError."""
    labels = _labels(labels)
    counts = np.unique(labels, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def directions(codes: np.ndarray) -> np.ndarray:
    """Scale codes [n, D] to length 1: float64 [n, D]; one of length 0 stays as it is."""
    codes = np.asarray(codes, np.float64)
    return codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-12)


def _labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if len(labels) < 2:
        raise ValueError(f"of {len(labels)} images none has a neighbour")
    return labels
