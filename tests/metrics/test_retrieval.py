import numpy as np
import pytest

from uit_jax.metrics import retrieval


def codes_of(rng, count=60, dim=5):
    return rng.normal(size=(count, dim)).astype(np.float32) * rng.uniform(0.1, 9, (count, 1)).astype(np.float32)


def angle_cosine(first, second):
    """Compute a cosine from the sides of a triangle of unit vectors, not from a product."""
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    return 1 - np.linalg.norm(first - second) ** 2 / 2


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_those_of_a_search_one_by_one(seed):
    rng = np.random.default_rng(seed)
    codes, queries = codes_of(rng), codes_of(rng, 4)
    barred = rng.random((4, 60)) < 0.3
    indices, cosines = retrieval.nearest(queries, codes, 7, barred=barred)
    for row, query in enumerate(queries):
        every = [(-angle_cosine(query, code), index) for index, code in enumerate(codes) if not barred[row, index]]
        best = sorted(every)[:7]
        assert indices[row].tolist() == [index for _, index in best]
        np.testing.assert_allclose(cosines[row], [-value for value, _ in best], atol=1e-6)


def test_neighbours_do_not_depend_on_lengths_and_equal_ones_come_in_order():
    codes = np.array([[0, 1], [3, 0], [5, 5], [0.1, 0], [-1, 0], [0, 0]], np.float32)
    indices, cosines = retrieval.nearest(np.array([[2, 0]], np.float32), codes, 6)
    assert indices.tolist() == [[1, 3, 2, 0, 5, 4]]
    np.testing.assert_allclose(cosines, [[1, 1, np.sqrt(0.5), 0, 0, -1]], atol=1e-12)
    np.testing.assert_allclose(retrieval.cosines(codes[:3], -codes[:3]).diagonal(), -1)


def test_more_neighbours_than_there_are_is_refused():
    codes = codes_of(np.random.default_rng(0), 5)
    with pytest.raises(ValueError, match="5 neighbours are more"):
        retrieval.nearest(codes, codes, 5, barred=np.eye(5, dtype=bool))


@pytest.mark.parametrize("block", [7, 1024])
def test_the_share_of_equal_labels_is_that_of_a_search_one_by_one(monkeypatch, block):
    monkeypatch.setattr(retrieval, "_BLOCK", block)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    codes = rng.normal(size=(60, 5)) + 2 * np.eye(5)[labels]
    hits = 0
    for i in range(60):
        others = [j for j in range(60) if j != i]
        hits += labels[max(others, key=lambda j: angle_cosine(codes[i], codes[j]))] == labels[i]
    assert 0.4 < hits / 60 < 1
    assert retrieval.same_label_share(codes, labels) == pytest.approx(hits / 60)
    order, lengths = rng.permutation(60), rng.uniform(0.5, 2, (60, 1))
    assert retrieval.same_label_share((codes * lengths)[order], labels[order]) == pytest.approx(hits / 60)


def test_limits_of_the_share_of_equal_labels():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    apart = np.eye(3)[labels] + 0.01 * np.random.default_rng(0).normal(size=(60, 3))
    assert retrieval.same_label_share(apart, labels) == 1
    # Pairs of unlike ones: nobody's nearest is its like.
    assert retrieval.same_label_share(np.repeat(apart[::20], 2, axis=0), np.tile([0, 1], 3)) == 0
    # Codes that are all alike tell nothing, in whatever order they come.
    chance = (10 * 9 + 20 * 19 + 30 * 29) / (60 * 59)
    assert retrieval.same_label_chance(labels) == pytest.approx(chance)
    for collapsed in (np.ones((60, 4), np.float32), np.zeros((60, 4))):
        assert retrieval.same_label_share(collapsed, labels) == pytest.approx(chance)


def test_chance_is_what_random_neighbours_give():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 400, p=[0.5, 0.3, 0.1, 0.1])
    shares = [retrieval.same_label_share(rng.normal(size=(400, 8)), labels) for _ in range(20)]
    assert np.mean(shares) == pytest.approx(retrieval.same_label_chance(labels), abs=0.015)
    assert retrieval.same_label_chance([1, 1]) == 1 and retrieval.same_label_chance([1, 2, 3]) == 0


def test_nothing_to_compare_with_is_refused():
    for labels in ([], [1]):
        with pytest.raises(ValueError, match="none has a neighbour"):
            retrieval.same_label_chance(labels)
        with pytest.raises(ValueError, match="none has a neighbour"):
            retrieval.same_label_share(np.ones((len(labels), 2)), labels)
    with pytest.raises(ValueError, match="3 codes have 2 labels"):
        retrieval.same_label_share(np.ones((3, 2)), [0, 1])
