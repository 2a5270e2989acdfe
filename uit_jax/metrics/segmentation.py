"""Label maps against true ones: pixel accuracy, class accuracy and mean intersection over union.

The last is what the tables of CycleGAN and CUT call mean AP or mAP (arXiv:2007.15651, Section 4.1).
"""

import numpy as np


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int, ignored: int = 255) -> np.ndarray:
    """Count the pixels of label maps [H, W] by true class and predicted class: int64 [K, K].

    Pixels whose true label is `ignored` do not count.

    Raises:
      ValueError: the maps have other sizes, or a label that counts is no class.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"maps of {list(true.shape)} and of {list(predicted.shape)} cannot be compared")
    counts = true != ignored
    rows, columns = true[counts].astype(np.int64), predicted[counts].astype(np.int64)
    for which, labels in (("true", rows), ("predicted", columns)):
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            wrong = labels[(labels < 0) | (labels >= classes)][0]
            raise ValueError(f"a {which} label is {wrong}, and classes are 0 to {classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def scores(counts: np.ndarray) -> dict[str, float]:
    """Score counts [K, K] of pixels by true and predicted class; classes that are in neither are left out.

    Returns:
      pixel_accuracy: share of pixels whose class is right.
      class_accuracy: mean over true classes of the share of their pixels whose class is right.
      mean_iou: mean over classes of right ones over those that are truly or by prediction of the class.

    Raises ValueError where no pixel counts.
    """
    counts = np.asarray(counts, np.float64)
    if not counts.sum():
        raise ValueError("no pixel has a label that counts")
    right, of_class = np.diag(counts), counts.sum(1)
    return {
        "pixel_accuracy": float(right.sum() / counts.sum()),
        "class_accuracy": float((right[of_class > 0] / of_class[of_class > 0]).mean()),
        "mean_iou": float(np.nanmean(ious(counts))),
    }


def ious(counts: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class by counts [K, K]: float64 [K], NaN for one in neither."""
    right, either = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    return np.where(either > 0, right / np.maximum(either, 1), np.nan)
