"""Losses on style codes."""

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.losses import latent


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_prior_is_the_divergence_from_the_standard_normal():
    mean, log_variance = drawn(0, 4, 3), drawn(1, 4, 3)
    # Of -ln p + ln q over many samples of the first.
    deviation = np.exp(log_variance / 2)
    samples = mean + deviation * drawn(2, 200_000, 4, 3)
    logs = (samples**2 - ((samples - mean) / deviation) ** 2) / 2 - np.log(deviation)
    np.testing.assert_allclose(latent.prior(mean, log_variance), logs.sum(-1).mean(), rtol=1e-2)
    # It is a sum over the entries, a mean over the batch, and 0 for what is standard.
    whole = latent.prior(mean, log_variance)
    each = [latent.prior(mean[row : row + 1], log_variance[row : row + 1]) for row in range(4)]
    np.testing.assert_allclose(whole, np.mean(each), rtol=1e-6)
    assert latent.prior(np.zeros((2, 3)), np.zeros((2, 3))) == 0
    gradient = jax.grad(latent.prior, (0, 1))(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    assert all((each == 0).all() for each in gradient)


def test_prior_without_variance_is_the_mean_square():
    mean = drawn(0, 4, 3)
    np.testing.assert_allclose(latent.prior(mean), (mean**2).mean(), rtol=1e-6)
    np.testing.assert_allclose(latent.prior(mean, None), latent.prior(mean))


def test_mode_seeking_is_the_mean_over_pairs_of_styles_apart_per_images_apart():
    images, others, styles, other_styles = drawn(0, 2, 4, 4, 3), drawn(1, 2, 4, 4, 3), drawn(2, 2, 5), drawn(3, 2, 5)
    expected = []
    for x, y, s, t in zip(images, others, styles, other_styles, strict=True):
        expected.append(1 / (abs(x - y).mean() / abs(s - t).mean() + 1e-5))
    found = jax.jit(latent.mode_seeking)(images, others, styles, other_styles)
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)
    # Which of a pair comes first does not count, and twice as different images halve it.
    np.testing.assert_allclose(latent.mode_seeking(others, images, other_styles, styles), found, rtol=1e-5)
    wider = images + 2 * (others - images)
    np.testing.assert_allclose(latent.mode_seeking(images, wider, styles, other_styles), found / 2, rtol=1e-3)


def test_mode_seeking_of_one_and_the_same_image_is_finite():
    image, styles = drawn(0, 1, 4, 4, 3), (np.zeros((1, 2)), np.ones((1, 2)))
    value, gradient = jax.value_and_grad(latent.mode_seeking)(image, image, *styles)
    np.testing.assert_allclose(value, 1e5, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_channel_entropy_is_a_mean_over_places_and_channels():
    maps = drawn(0, 2, 3, 4, 5)
    p = np.exp(maps) / np.exp(maps).sum(-1, keepdims=True)
    np.testing.assert_allclose(latent.channel_entropy(maps), -(p * np.log(p)).mean(), rtol=1e-5)
