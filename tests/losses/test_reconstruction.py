"""The reconstruction loss."""

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.losses import reconstruction


def test_l1():
    first, second = jnp.array([[1.0, -2.0], [0.5, 4.0]]), jnp.array([[0.0, 2.0], [1.5, 1.0]])
    np.testing.assert_allclose(jax.jit(reconstruction.l1)(first, second), (1 + 4 + 1 + 3) / 4)
    np.testing.assert_allclose(jax.grad(reconstruction.l1)(first, second), [[0.25, -0.25], [-0.25, 0.25]])
    assert reconstruction.l1(first, first) == 0
    np.testing.assert_allclose(jax.vmap(reconstruction.l1)(first, second), [2.5, 2.0])
