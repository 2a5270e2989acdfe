"""What the tests of converters share: the published names, arrays by shapes, and a state's weights."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax import methods


def published_keys(file):
    """Network -> {name: shape}, as the published code prints them."""
    found = {}
    for line in (pathlib.Path(__file__).parent / file).read_text().splitlines():
        if line.startswith("## "):
            network = found.setdefault(line[3:], {})
        else:
            name, shape = line.split(" ", 1)
            network[name] = tuple(int(side) for side in re.findall(r"\d+", shape))
    return found


def image(side=32, channels=3):
    return jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)


def shapes(module, *inputs, **options):
    """Return the shapes of a network's variables, without computing any."""
    return jax.eval_shape(lambda key, *inputs: module.init(key, *inputs, **options), jax.random.key(0), *inputs)


def zeros(tree):
    """Arrays of the tree's shapes that take no memory."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree)


def sampled(tree, seed=0):
    random = np.random.RandomState(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.standard_normal(leaf.shape), jnp.float32), tree)


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def state_of(method, settings, seed, **changes):
    """Return the shapes of a method's state, with sampled weights."""
    state = jax.eval_shape(lambda: methods.build(method, {**settings, **changes}).init(jax.random.key(0), 2))
    return state.replace(learners=sampled(state.learners, seed))


def weights(state):
    return {name: (learner.params, learner.stats, learner.ema) for name, learner in state.learners.items()}
