"""The kernel distance, by hand. The published tools' number is a golden value."""

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
