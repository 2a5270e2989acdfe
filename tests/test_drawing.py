import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from tests import method_table as table
from uit_jax import drawing


def every_kind(key):
    """Draw what initialisers draw, more than a block of it, and what is not drawn."""
    keys = random.split(key, 5)
    weights = random.normal(keys[0], (3, 5, 7)) * jnp.sqrt(2 / 15)
    return {
        "normal": weights,
        "copy": jnp.copy(weights),
        "blocks": 0.02 * random.normal(keys[1], (70_001,)),
        "around one": 1 + 0.02 * random.normal(keys[2], (33,)),
        "uniform": random.uniform(keys[3], (9, 4), jnp.float32, -1) * 0.3,
        "between": random.uniform(keys[3], (50,), minval=0.1, maxval=0.7),
        "halves": random.normal(keys[4], (6,), jnp.bfloat16),
        "whole": random.randint(keys[4], (6,), 0, 10),
        "sum": weights.sum(0) + 1,
        "empty": random.normal(keys[4], (0, 3)),
        "zeros": jnp.zeros((4, 2)),
        "count": jnp.zeros((), jnp.int32),
        "key": key,
    }


@pytest.mark.parametrize("name", ["every kind", "tunit", "munit", "cut"])
def test_the_same_numbers_are_drawn_as_by_one_program(name):
    init = every_kind
    if name != "every kind":
        method = table.build(name, **{"generator.norm": "batch"} if name == "cut" else {})
        init = lambda key: method.init(key, 4)  # noqa: E731
    key = random.PRNGKey(3)
    found, expected = drawing.draw(init, key), jax.jit(init)(key)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert (one.dtype, one.weak_type, one.sharding) == (other.dtype, other.weak_type, other.sharding), path
        np.testing.assert_array_equal(one, other, err_msg=str(path))
