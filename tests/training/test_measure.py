"""What XLA counts of a step is what is known of it."""

import jax
import jax.numpy as jnp
import pytest

from uit_jax.training import measure


def test_work_counts_matrix_products():
    """XLA's count of a product of [m, k] and [k, n] is 2 m k n."""
    program = jax.jit(jnp.dot).lower(jnp.ones((8, 16)), jnp.ones((16, 32))).compile()
    assert measure._flops(program) == pytest.approx(2 * 8 * 16 * 32, rel=0.01)
    assert measure.memory_of(program)["mib_output"] == 8 * 32 * 4 / 2**20
