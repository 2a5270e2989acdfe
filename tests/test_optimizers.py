"""The optimisers against plain re-implementations of the published code's, three steps."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from uit_jax import optimizers

RATE = 0.01


def adam(p, grads, b1, b2, decay):
    m = v = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = g + decay * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - RATE * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    return p


def rmsprop(p, grads, b1, b2, decay):
    v = np.zeros_like(p)
    for g in grads:
        g = g + decay * p
        v = b2 * v + (1 - b2) * g**2
        p = p - RATE * g / (np.sqrt(v) + 1e-8)
    return p


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name, oracle, b1, b2", [("adam", adam, 0.5, 0.99), ("rmsprop", rmsprop, 0.5, 0.9)])
def test_three_steps(name, oracle, b1, b2, decay):
    rng = np.random.default_rng(0)
    # From 1e-6 to 10: small gradients show where eps stands.
    start, grads = rng.normal(size=5), rng.normal(size=(3, 5)) * 10.0 ** np.array([-6, -4, -2, 0, 1])
    tx = optimizers.build(name, RATE, b1=b1, b2=b2, weight_decay=decay)
    # A bias decays as everything does.
    params = {"kernel": jnp.array(start, jnp.float32), "bias": jnp.array(-start, jnp.float32)}
    state = tx.init(params)
    for g in grads:
        g = jnp.array(g, jnp.float32)
        updates, state = tx.update({"kernel": g, "bias": -g}, state, params)
        params = optax.apply_updates(params, updates)
    expected = oracle(start, grads, b1, b2, decay)
    np.testing.assert_allclose(params["kernel"], expected, rtol=1e-4)
    np.testing.assert_allclose(params["bias"], -expected, rtol=1e-4)


def test_the_first_step_of_rmsprop_is_the_rate_over_the_root():
    """v = 0.01 g^2 after one step from 0, so a step is 10 rates long, whatever the gradient."""
    tx = optimizers.rmsprop(RATE)
    updates, _ = tx.update(jnp.array([2.0, -30.0]), tx.init(jnp.zeros(2)), jnp.zeros(2))
    np.testing.assert_allclose(updates, [-0.1, 0.1], rtol=1e-5)


def test_a_schedule_is_followed():
    tx = optimizers.adam(optax.piecewise_constant_schedule(0.1, {1: 0.01}))
    state, sizes = tx.init(jnp.zeros(1)), []
    for _ in range(2):
        updates, state = tx.update(jnp.ones(1), state, jnp.zeros(1))
        sizes.append(-float(updates[0]))
    np.testing.assert_allclose(sizes, [0.1, 0.001], rtol=1e-4)


def test_a_rate_falls_by_steps_an_iteration_early():
    rate = optimizers.step_decay(0.8, every=3, factor=0.5)
    np.testing.assert_allclose([rate(jnp.int32(step)) for step in range(7)], [0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2])
    assert optimizers.step_decay(0.8, every=0, factor=0.5)(jnp.int32(10**6)) == 0.8


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="sgd"):
        optimizers.build("sgd", RATE, b1=0.9, b2=0.9, weight_decay=0.0)
