"""The kernel distance and its interval, by hand. The published tools' number is a golden value."""

import numpy as np
import pytest

from uit_jax.metrics import kernel


def test_the_unbiased_kernel_distance_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    wanted = sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])
    np.testing.assert_allclose(kernel.distance(x, y), wanted, rtol=1e-12)
    mean, spread = kernel.of_subsets(x, y[:4], subsets=3, size=99)
    np.testing.assert_allclose([mean, spread], [kernel.distance(x, y[:4]), 0], atol=1e-12)
    assert kernel.of_subsets(x, y, size=3, seed=1) == kernel.of_subsets(x, y, size=3, seed=1)


def test_what_cannot_be_compared_is_refused():
    features = np.zeros((9, 3))
    with pytest.raises(ValueError, match="cannot be compared"):
        kernel.distance(features, np.zeros((9, 4)))
    for call in (kernel.distance, kernel.of_subsets):
        with pytest.raises(ValueError, match="two at least of either are needed"):
            call(features, features[:1])


def test_the_interval_is_the_jackknifes(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(0.5, 1, (7, 3))
    without_x = [kernel.distance(np.delete(x, i, 0), y) for i in range(9)]
    without_y = [kernel.distance(x, np.delete(y, i, 0)) for i in range(7)]
    error = np.sqrt(8 * np.var(without_x) + 6 * np.var(without_y))
    value, low, high = kernel.interval(x, y, errors=2)
    assert value == kernel.distance(x, y)
    np.testing.assert_allclose([low, high], [value - 2 * error, value + 2 * error], rtol=1e-9)
    monkeypatch.setattr(kernel, "_BLOCK", 4)
    np.testing.assert_allclose(kernel.interval(x, y, errors=2), [value, low, high], rtol=1e-9)
    with pytest.raises(ValueError, match="three at least"):
        kernel.interval(x, y[:2])


def test_the_interval_holds_the_mean_of_many_draws_as_often_as_it_says():
    rng = np.random.default_rng(0)

    def draw():
        return rng.normal(size=(60, 3)), rng.normal(0.5, 1, (60, 3))

    truth = np.mean([kernel.distance(*draw()) for _ in range(600)])
    held = 0
    for _ in range(300):
        _, low, high = kernel.interval(*draw())
        held += low <= truth <= high
    assert 270 <= held <= 298
