"""What an update of CLUIT's kind is made of, computed plainly: states and views to begin from, losses, one SGD step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import method_table as table


def drawn(seed: int, *shape) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_state(method, memory: dict, seed: int = 0):
    """Return a state of He's random weights whose averages are others, around a memory; nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = table.shapes(method)

    def draw(leaf):
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return (scale * rng.normal(size=leaf.shape)).astype(np.float32)

    learners = jax.tree.map(draw, shapes.learners)
    return shapes.replace(step=jnp.int32(0), key=jax.random.PRNGKey(0), learners=learners, memory=memory)


def images(seed: int, count: int = 8) -> np.ndarray:
    """Return images of 8 x 8 in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)


def unit(codes):
    return codes / jnp.sqrt((codes**2).sum(-1, keepdims=True))


def info_nce(queries, keys, queue, temperature, valid=None):
    """Return the mean over queries of -log p(its key), each key's probability being in proportion to exp(q k / t)."""
    own = jnp.exp((queries * keys).sum(-1) / temperature)
    others = jnp.exp(queries @ queue.T / temperature)
    others = others if valid is None else others * valid
    return -jnp.log(own / (own + others.sum(-1))).mean()


def is_real(logits):
    """Return the loss of taking images for fake: the mean of -ln p, p being the sigmoid of the logits [B]."""
    return jnp.log(1 + jnp.exp(-logits)).mean()


def is_fake(logits):
    return is_real(-logits)


def penalty(discriminate, x):
    """Return the squared length of each image's gradient, averaged over images."""
    gradient = jax.grad(lambda x: discriminate(x).sum())(x)
    return (gradient**2).sum((1, 2, 3)).mean()


def stepped(params, gradient):
    return jax.tree.map(lambda p, g: p - table.RATE * g, params, gradient)


def largest(tree) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def assert_close(ours, expected, **tolerances):
    tolerances = {"rtol": 2e-4, "atol": 2e-6, **tolerances}
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerances), ours, expected)


def assert_terms(metrics, expected):
    """Compare the metrics of a step, and which there are, with plain terms."""
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-4, atol=2e-6, err_msg=name)
