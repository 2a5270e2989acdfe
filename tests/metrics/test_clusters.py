import itertools

import numpy as np
import pytest

from uit_jax.metrics import clusters


def test_accuracy_of_a_case_counted_by_hand():
    predicted = [0, 0, 0, 1, 1, 1, 2, 2]
    true = [1, 1, 0, 0, 0, 2, 2, 2]
    # 0 -> 1 (two of three), 1 -> 0 (two of three), 2 -> 2 (both)
    assert clusters.accuracy(predicted, true) == 6 / 8
    counts = clusters.contingency(predicted, true)
    np.testing.assert_array_equal(counts, [[1, 2, 0], [2, 0, 1], [0, 0, 2]])
    assert clusters.matching(counts) == {0: 1, 1: 0, 2: 2}


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_the_best_over_all_matchings(seed):
    rng = np.random.default_rng(seed)
    predicted, true = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    best = max(np.mean(np.array(order)[predicted] == true) for order in itertools.permutations(range(4)))
    assert clusters.accuracy(predicted, true) == pytest.approx(best)


def test_a_greedy_matching_would_be_worse():
    # Greedily 0 -> 0 (5) leaves 1 -> 1 (0); the optimum is 4 + 4.
    predicted = [0] * 9 + [1] * 4
    true = [0] * 5 + [1] * 4 + [0] * 4
    assert clusters.accuracy(predicted, true) == 8 / 13


def test_more_clusters_than_classes_and_fewer():
    true = np.repeat([0, 1], 10)
    split = np.repeat([0, 1, 2, 3], 5)
    assert clusters.accuracy(split, true) == 0.5  # each class keeps one of its two clusters
    assert clusters.accuracy(np.zeros(20, int), true) == 0.5
    assert clusters.accuracy(true, split) == 0.5


def test_scores_do_not_depend_on_the_names_of_clusters():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 200)
    predicted = np.where(rng.random(200) < 0.7, true, rng.integers(0, 7, 200))
    renamed = rng.permutation(7)[predicted]
    for score in (clusters.accuracy, clusters.normalized_mutual_information):
        assert score(predicted, true) == pytest.approx(score(renamed, true))


def test_limits():
    true = np.repeat(np.arange(4), 50)
    renamed = (true + 1) % 4
    assert clusters.accuracy(renamed, true) == 1
    assert clusters.normalized_mutual_information(renamed, true) == pytest.approx(1)
    assert clusters.normalized_mutual_information(np.zeros(200, int), true) == 0
    assert clusters.normalized_mutual_information(np.zeros(3, int), np.zeros(3, int)) == 1
    chance = np.random.default_rng(0).integers(0, 4, 200)
    assert clusters.normalized_mutual_information(chance, true) < 0.05


def test_mutual_information_of_a_case_computed_by_hand():
    # joint 1/2, 1/4, 1/4 over (0,0), (0,1), (1,1)
    entropy_joint = -(0.5 * np.log(0.5) + 0.5 * np.log(0.25))
    entropy_predicted = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    entropy_true = np.log(2)
    expected = 2 * (entropy_predicted + entropy_true - entropy_joint) / (entropy_predicted + entropy_true)
    assert clusters.normalized_mutual_information([0, 0, 0, 1], [0, 0, 1, 1]) == pytest.approx(expected)


def test_sizes_name_empty_clusters():
    np.testing.assert_array_equal(clusters.sizes(np.array([0, 2, 2]), 5), [1, 0, 2, 0, 0])


@pytest.mark.parametrize(("predicted", "true"), [([], []), ([0], [0, 1]), ([0, 1], [0, -1])])
def test_bad_labels_are_refused(predicted, true):
    with pytest.raises(ValueError):
        clusters.accuracy(predicted, true)


def blobs(rng, count=40):
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    labels = np.repeat(np.arange(4), count)
    return centres, labels, (centres[labels] + rng.normal(size=(4 * count, 2))).astype(np.float32)


def test_kmeans_finds_blobs():
    centres, labels, points = blobs(np.random.default_rng(0))
    found = clusters.kmeans(points, 4, seed=1)
    assert clusters.accuracy(found.assignment, labels) == 1
    np.testing.assert_array_equal(clusters.nearest(points, found.centres), found.assignment)
    assert found.inertia == pytest.approx(2, rel=0.2)  # two coordinates of variance 1
    means = np.array([points[labels == label].mean(0) for label in range(4)])
    order = [np.linalg.norm(found.centres - mean, axis=1).argmin() for mean in means]
    np.testing.assert_allclose(found.centres[order], means, atol=1e-4)


def test_kmeans_is_deterministic_and_more_restarts_are_never_worse():
    points = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    one, many = clusters.kmeans(points, 8, restarts=1), clusters.kmeans(points, 8, restarts=6)
    assert many.inertia <= one.inertia
    np.testing.assert_array_equal(many.centres, clusters.kmeans(points, 8, restarts=6).centres)


def test_kmeans_of_coinciding_points_and_of_too_few():
    found = clusters.kmeans(np.ones((5, 3)), 3)
    assert found.inertia == 0 and np.isfinite(found.centres).all()
    with pytest.raises(ValueError, match="2 points cannot form 3 clusters"):
        clusters.kmeans(np.ones((2, 3)), 3)
