"""IIC and cross-entropy against numpy, limits and literals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uit_jax.losses import clustering


def probabilities(batch=12, clusters=4, seed=0):
    x = np.exp(np.random.default_rng(seed).normal(size=(batch, clusters)))
    return (x / x.sum(1, keepdims=True)).astype(np.float32)


def iic_oracle(first, second, weight=1.0):
    joint = sum(np.outer(a, b) for a, b in zip(first.astype(np.float64), second, strict=True))
    joint = (joint + joint.T) / 2
    joint /= joint.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    total = 0.0
    for i in range(len(joint)):
        for j in range(len(joint)):
            total -= joint[i, j] * (np.log(joint[i, j]) - weight * np.log(rows[i]) - weight * np.log(columns[j]))
    return total


@pytest.mark.parametrize("weight", [1.0, 1.5])
def test_iic_against_numpy(weight):
    first, second = probabilities(), probabilities(seed=1)
    second = 0.5 * first + 0.5 * second
    expected = iic_oracle(first, second, weight)
    loss = functools.partial(clustering.iic, marginal_weight=weight)
    np.testing.assert_allclose(loss(first, second), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(loss)(first, second), expected, rtol=1e-5, atol=1e-6)
    both = jax.vmap(loss)(np.stack([first, second]), np.stack([second, first]))
    np.testing.assert_allclose(both, [expected, expected], rtol=1e-5, atol=1e-6)


def test_iic_of_heads_is_each_heads_with_its_own_weight():
    first, second = np.random.default_rng(0).normal(size=(2, 12, 3, 4)).astype(np.float32)
    weights = jnp.array([1.0, 1.5, 2.0])
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (first, second))
    expected = [iic_oracle(p[:, head], q[:, head], float(weights[head])) for head in range(3)]
    np.testing.assert_allclose(clustering.iic_of_heads(first, second, weights), expected, rtol=1e-5, atol=1e-6)


def test_iic_of_uniform_probabilities_is_0():
    uniform = jnp.full((7, 10), 0.1)
    np.testing.assert_allclose(clustering.iic(uniform, uniform), 0, atol=1e-6)


def test_iic_of_independent_views_is_0():
    constant = jnp.tile(jnp.array([[0.7, 0.2, 0.1]]), (5, 1))
    np.testing.assert_allclose(clustering.iic(constant, constant), 0, atol=1e-6)


def test_iic_of_perfect_balanced_clusters_is_minus_log_k():
    perfect = jnp.eye(10)[jnp.arange(40) % 10]
    np.testing.assert_allclose(clustering.iic(perfect, perfect), -2.302585, rtol=1e-5)


def test_iic_of_one_cluster_for_all_is_0_and_its_gradient_finite():
    collapsed = jnp.zeros((6, 3)).at[:, 1].set(1.0)
    np.testing.assert_allclose(clustering.iic(collapsed, collapsed), 0, atol=1e-6)
    loss = jax.jit(jax.grad(lambda logits: clustering.iic(jax.nn.softmax(logits), jax.nn.softmax(logits))))
    gradient = loss(200 * collapsed)
    assert jnp.isfinite(gradient).all()


def test_marginal_weight_adds_the_entropy_of_the_clusters():
    """Perfect unequal clusters: I - (w - 1) * (H + H), so that equal sizes win by more."""
    sizes = np.array([0.75, 0.25])
    perfect = jnp.eye(2)[jnp.array([0, 0, 0, 1])]
    entropy = -(sizes * np.log(sizes)).sum()
    for weight in (1.0, 2.0, 3.5):
        loss = clustering.iic(perfect, perfect, marginal_weight=weight)
        np.testing.assert_allclose(loss, entropy - 2 * weight * entropy, rtol=1e-5)


def test_iic_over_an_axis_is_that_of_the_global_batch():
    first, second = probabilities(8), probabilities(8, seed=1)

    def split(x):
        return x.reshape(4, 2, -1)

    over_devices = jax.vmap(functools.partial(clustering.iic, axis_name="data"), axis_name="data")
    each = over_devices(split(first), split(second))
    np.testing.assert_allclose(each, [iic_oracle(first, second)] * 4, rtol=1e-4)
    alone = jax.vmap(clustering.iic)(split(first), split(second))
    assert np.abs(alone - each).max() > 0.01


def test_cross_entropy_against_numpy():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1, 0])
    expected = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])
    np.testing.assert_allclose(clustering.cross_entropy(logits, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(clustering.cross_entropy)(logits, labels), expected, rtol=1e-5)


def test_unknown_labels_count_neither_in_the_mean_nor_in_the_gradient():
    logits = jnp.array(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    labels = jnp.array([2, -1, 0, -1])
    known = clustering.cross_entropy(logits[::2], labels[::2])
    np.testing.assert_allclose(clustering.cross_entropy(logits, labels), known, rtol=1e-6)
    gradient = jax.grad(clustering.cross_entropy)(logits, labels)
    assert (gradient[1::2] == 0).all() and (gradient[::2] != 0).all()


def test_cross_entropy_of_no_known_label_is_0():
    logits = jnp.ones((2, 3))
    assert clustering.cross_entropy(logits, jnp.array([-1, -1])) == 0
    assert (jax.grad(clustering.cross_entropy)(logits, jnp.array([-1, -1])) == 0).all()


def test_cross_entropy_of_uniform_logits_is_log_k():
    np.testing.assert_allclose(clustering.cross_entropy(jnp.zeros((3, 10)), jnp.arange(3)), np.log(10), rtol=1e-6)
