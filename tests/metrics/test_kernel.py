"""The interval of the kernel distance."""

import numpy as np
import pytest

from uit_jax.metrics import kernel


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
