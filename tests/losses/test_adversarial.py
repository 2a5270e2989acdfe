"""Adversarial losses against literals, numpy and functions whose gradients are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uit_jax.losses import adversarial

LOGITS = jnp.array([-2.0, 0.5, 3.0])


def test_select_picks_each_examples_own_domain():
    logits = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(adversarial.select(logits, jnp.array([2, 0, 1, 2])), [2, 3, 7, 11])


def test_select_sends_the_gradient_to_the_own_domain_alone():
    gradient = jax.grad(lambda x: adversarial.select(x, jnp.array([1, 0])).sum())(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(gradient, [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "loss, expected, gradient",
    [
        (adversarial.hinge_real, (3.0 + 0.5 + 0.0) / 3, [-1 / 3, -1 / 3, 0]),
        (adversarial.hinge_fake, (0.0 + 1.5 + 4.0) / 3, [0, 1 / 3, 1 / 3]),
        (adversarial.hinge_generator, -0.5, [-1 / 3, -1 / 3, -1 / 3]),
    ],
)
def test_hinges(loss, expected, gradient):
    np.testing.assert_allclose(loss(LOGITS), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(loss)(LOGITS), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(loss)(jnp.stack([LOGITS, LOGITS])), [expected] * 2, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(LOGITS), gradient, rtol=1e-6)


def test_hinges_are_zero_beyond_the_margin():
    assert adversarial.hinge_real(jnp.array([1.0, 7.0])) == 0
    assert adversarial.hinge_fake(jnp.array([-1.0, -7.0])) == 0


def images(batch=3):
    return jnp.array(np.random.default_rng(0).normal(size=(batch, 4, 4, 2)), jnp.float32)


def test_r1_of_a_linear_function_is_its_squared_length():
    weights = images(1)[0]
    penalty, logits = adversarial.r1(lambda x: (x * weights[None]).sum((1, 2, 3)), images())
    np.testing.assert_allclose(penalty, np.square(weights).sum(), rtol=1e-5)
    np.testing.assert_allclose(logits, (np.asarray(images()) * np.asarray(weights)).sum((1, 2, 3)), rtol=1e-5)


def test_r1_of_a_square_is_four_times_it():
    """The gradient of sum(x^2) is 2x: the penalty is 4 sum(x^2) / B, without gamma / 2."""
    penalty, _ = jax.jit(lambda x: adversarial.r1(lambda y: jnp.square(y).sum((1, 2, 3)), x))(images())
    np.testing.assert_allclose(penalty, 4 * np.square(images()).sum() / 3, rtol=1e-5)


def test_r1_of_several_inputs_is_the_sum_of_theirs():
    penalty, logits = adversarial.r1(lambda x: (x[0] + 2 * x[1]).sum((1, 2, 3)), (images(), images() + 1))
    # Of each of 32 numbers the slope is 1 in one input and 2 in the other.
    np.testing.assert_allclose(penalty, 32 * (1 + 4), rtol=1e-5)
    assert logits.shape == (3,)


def test_r1_has_a_gradient_with_respect_to_weights():
    def penalty(scale):
        return adversarial.r1(lambda x: scale * x.sum((1, 2, 3)), images())[0]

    # |scale * 1|^2 over 32 numbers, so its derivative at 3 is 2 * 3 * 32.
    np.testing.assert_allclose(jax.grad(penalty)(3.0), 192, rtol=1e-5)


def test_least_squares_and_logistic_against_numpy():
    logits = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32) * 3
    exact = logits.astype(np.float64)
    probability = 1 / (1 + np.exp(-exact))
    for target in (0.0, 1.0):
        np.testing.assert_allclose(adversarial.least_squares(logits, target), ((exact - target) ** 2).mean(), rtol=1e-5)
        entropy = -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean()
        np.testing.assert_allclose(adversarial.logistic(logits, target), entropy, rtol=1e-5)


def test_logistic_does_not_overflow_and_is_not_saturating():
    far = jnp.array([-1e4, 1e4])
    assert jnp.isfinite(adversarial.logistic(far, 0.0)) and jnp.isfinite(adversarial.logistic(far, 1.0))
    # A generator that fools nobody is still told the way.
    np.testing.assert_allclose(jax.grad(adversarial.logistic)(jnp.float32(-50.0), 1.0), -1.0, rtol=1e-5)
