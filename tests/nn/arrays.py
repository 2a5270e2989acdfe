"""What the tests of networks share: random arrays, shapes of weights, and how far an output sees."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def image(side, channels=3):
    return jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)


def shapes_of(module, *inputs, **options):
    """Return the shapes of a network's variables, by default for images of 32 px, without computing any."""
    return jax.eval_shape(functools.partial(module.init, **options), jax.random.key(0), *(inputs or (image(32),)))


def leaky(x):
    """Rectify as StyleGAN2 does, in numpy."""
    return np.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def random_like(tree, scale=0.3):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.array(scale * rng.normal(size=leaf.shape), jnp.float32), tree)


def positive_like(tree):
    """Variables with which every unit is active, so that no dependence is hidden."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.array(rng.uniform(0.5, 1, leaf.shape) / 50, jnp.float32), tree)


def stats_like(tree):
    """Fresh statistics of batch norms."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (jnp.ones if path[-1].key == "var" else jnp.zeros)(leaf.shape), tree
    )


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def reach(function, side, channels, start, stop):
    """Return how many pixels before `start` and after `stop` inputs matter to outputs there, along both axes.

    `function` maps [1, side, side, channels] to (maps, the slice of a line of maps whose dependence is asked for).
    """

    def total(x):
        maps, core = function(x)
        return maps[:, core, core].sum()

    x = np.random.default_rng(0).uniform(0.5, 1, (1, side, side, channels))
    gradient = jax.jit(jax.grad(total))(jnp.asarray(x))
    lines = []
    for axis in (2, 1):
        touched = np.flatnonzero(np.abs(gradient).sum((0, axis, 3)))
        assert touched[0] > 0 and touched[-1] < side - 1
        lines.append((start - touched[0], touched[-1] + 1 - stop))
    assert lines[0] == lines[1]
    return lines[0]


def check_statistics(module):
    """Assert that a network's batch norms learn their statistics in training, and use them elsewhere."""
    shapes = shapes_of(module)
    variables = {"params": random_like(shapes["params"]), "batch_stats": stats_like(shapes["batch_stats"])}
    images = normal(3, 16, 16, 3)
    train = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    evaluate = jax.jit(module.apply)
    out, changed = jax.jit(train)(variables, images)
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), changed["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(moved))
    assert np.abs(evaluate(variables, images) - out).max() > 1e-3
    # An example's output does not depend on the others with the statistics of training.
    np.testing.assert_allclose(evaluate(variables, images)[:1], evaluate(variables, images[:1]), rtol=1e-4, atol=1e-5)
