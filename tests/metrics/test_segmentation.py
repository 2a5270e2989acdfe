"""Scores of label maps, counted by hand."""

import numpy as np
import pytest

from uit_jax.metrics import segmentation


def test_scores_are_counted_as_by_hand():
    true, predicted = np.array([[0, 0, 1, 255], [1, 1, 2, 255]]), np.array([[0, 1, 1, 0], [1, 0, 1, 3]])
    counts = segmentation.confusion(true, predicted, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    found = segmentation.scores(counts)
    assert found["pixel_accuracy"] == 3 / 6
    assert found["class_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    # Class 3 is neither true nor predicted where it counts.
    np.testing.assert_allclose(segmentation.ious(counts), [1 / 3, 2 / 5, 0, np.nan])
    assert found["mean_iou"] == pytest.approx((1 / 3 + 2 / 5) / 3)
    perfect = segmentation.scores(segmentation.confusion(true, true, 4))
    assert perfect == {"pixel_accuracy": 1, "class_accuracy": 1, "mean_iou": 1}


def test_counts_add_up():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, (2, 6, 7))
    parts = segmentation.confusion(true[:2], predicted[:2], 5) + segmentation.confusion(true[2:], predicted[2:], 5)
    np.testing.assert_array_equal(parts, segmentation.confusion(true, predicted, 5))


def test_what_is_no_label_is_refused():
    zeros = np.zeros((2, 2), int)
    for true, predicted, message in (
        (zeros, np.zeros((2, 3), int), "cannot be compared"),
        (zeros, zeros + 19, "a predicted label is 19, and classes are 0 to 18"),
        (zeros + 20, zeros, "a true label is 20"),
    ):
        with pytest.raises(ValueError, match=message):
            segmentation.confusion(true, predicted, 19)
    with pytest.raises(ValueError, match="no pixel"):
        segmentation.scores(segmentation.confusion(zeros + 255, zeros, 19))
