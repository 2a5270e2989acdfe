import functools

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
        "signs": weights > 0,
        "empty": random.normal(keys[4], (0, 3)),
        "zeros": jnp.zeros((4, 2)),
        "count": jnp.zeros((), jnp.int32),
        "key": key,
    }


@pytest.mark.parametrize("name", ["", "tunit", "cut batch_norm"])
def test_the_same_numbers_are_drawn_as_by_one_program(name):
    init = functools.partial(table.build(*name.split()).init, batch_size=4) if name else every_kind
    key = random.PRNGKey(3)
    found, expected = drawing.draw(init, key), jax.jit(init)(key)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert (one.dtype, one.weak_type, one.sharding) == (other.dtype, other.weak_type, other.sharding), path
        np.testing.assert_array_equal(one, other, err_msg=str(path))


def test_weights_of_other_shapes_need_no_other_program():
    compiled = []

    def count(event, seconds, **_):
        compiled.append(event.endswith("backend_compile_duration"))

    def init(key, size):
        return 0.1 * random.normal(key, (size, 3)), random.uniform(key, (2, size)), jnp.ones((size, size))

    drawing.draw(functools.partial(init, size=4), random.PRNGKey(0))
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        drawing.draw(functools.partial(init, size=5), random.PRNGKey(1))
        by_drawing = any(compiled)
        jax.jit(lambda x: x + 3)(jnp.ones((3,)))
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert any(compiled) and not by_drawing


def test_under_a_transformation_it_is_the_function_itself():
    like = jax.eval_shape(lambda: drawing.draw(lambda key: random.normal(key, (4,)), random.PRNGKey(0)))
    assert (like.shape, like.dtype) == ((4,), jnp.float32)
