"""Changes of size without weights, against numpy."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import normal
from uit_jax.nn import resampling


def test_pooling():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    assert resampling.max_pool(x)[0, :, :, 0].tolist() == [[5, 7], [13, 15]]
    assert resampling.average_pool(x)[0, :, :, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    # What lies outside does not count.
    assert resampling.overlapping_pool(x)[0, :, :, 0].tolist() == [[2.5, 4], [8.5, 10]]
    assert resampling.overlapping_pool(x[:, :3, :3], stride=1)[0, 1].tolist() == [[4.5], [5], [5.5]]
    assert resampling.overlapping_pool(jnp.ones((1, 5, 6, 1))).tolist() == jnp.ones((1, 3, 3, 1)).tolist()


@pytest.mark.parametrize("sides", [(8, 6), (5, 7)])
def test_the_maximum_on_a_processor_is_that_of_windows(sides):
    """In value and gradient, of ties too, which rectifiers make; and what is no number stays none."""
    x = jax.nn.relu(normal(3, *sides, 4))
    direction = normal(3, sides[0] // 2, sides[1] // 2, 4, seed=1)

    def windows(x):
        return nn.max_pool(x, (2, 2), (2, 2))

    ours, expected = (jax.vjp(function, x) for function in (resampling.max_pool, windows))
    np.testing.assert_array_equal(ours[0], expected[0])
    np.testing.assert_array_equal(ours[1](direction)[0], expected[1](direction)[0])
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        broken = x.at[0, place[0], place[1], 0].set(jnp.nan)
        np.testing.assert_array_equal(resampling.max_pool(broken), windows(broken))


def test_repetition():
    assert resampling.repeat(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, :, :, 0].tolist() == [[0, 0, 1, 1]] * 2


def ramp(side):
    return jnp.broadcast_to(jnp.arange(side, dtype=jnp.float32)[None, :, None, None], (1, side, side, 1))


def test_filters_have_the_published_values_on_ramps():
    for transpose in ((0, 1, 2, 3), (0, 2, 1, 3)):
        up = resampling.blur_up(ramp(4).transpose(transpose)).transpose(transpose)
        down = resampling.blur_down(ramp(8).transpose(transpose)).transpose(transpose)
        for column in range(4):
            np.testing.assert_array_equal(up[0, :, column, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
            np.testing.assert_array_equal(down[0, :, column, 0], [0.5, 2, 4, 6])


@pytest.mark.parametrize("height, width, centre", [(2, 3, 2), (4, 6, 1), (7, 4, 2), (9, 11, 1)])
def test_blur_down_is_a_strided_convolution(height, width, centre):
    x = normal(2, height, width, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    kernel = np.outer([1, centre, 1], [1, centre, 1]) / (2 + centre) ** 2
    expected = np.empty((2, math.ceil(height / 2), math.ceil(width / 2), 3))
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = np.einsum("bhwc,hw->bc", window, kernel)
    blurred = resampling.blur_down(jnp.asarray(x), centre / (2 + centre))
    np.testing.assert_allclose(blurred, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("height, width", [(1, 2), (4, 3), (5, 6)])
def test_blur_up_is_a_cropped_transposed_convolution(height, width):
    x = normal(2, height, width, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    spread = np.zeros((2, 2 * height + 6, 2 * width + 6, 3))
    for i in range(height + 2):
        for j in range(width + 2):
            spread[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += padded[:, i, j, None, None] * kernel[..., None]
    # Two lines for the padding of the transposed convolution, one for the crop.
    np.testing.assert_allclose(resampling.blur_up(jnp.asarray(x)), spread[:, 3:-3, 3:-3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("blur", [resampling.blur_down, resampling.blur_up])
def test_a_blur_is_two_products_on_a_tpu_and_none_elsewhere(blur):
    def gradient(x):
        return jax.grad(lambda x: jnp.square(blur(x)).sum())(x)

    traced = jax.jit(gradient).trace(jnp.zeros((1, 4, 6, 2)))
    assert traced.lower(lowering_platforms=("tpu",)).as_text().count("dot_general") == 4  # forward and backward
    for platform in ("cpu", "cuda"):
        assert "dot_general" not in traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("resample", [resampling._halve, resampling._double])
def test_a_blur_by_products_equals_that_by_shifts(resample):
    x = np.float64(normal(2, 7, 4, 3))

    def compute(form):
        value, back = jax.vjp(functools.partial(form, resample), x)
        return value, back(jnp.sin(value))

    with jax.enable_x64(True):
        found = jax.jit(lambda: (compute(resampling._products), compute(resampling._shifts)))()
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (5, 4)])
def test_smoothed_repetition_is_what_blur_up_makes(height, width):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, height, width, 3)), jnp.float32)
    np.testing.assert_allclose(resampling.smoothed(resampling.repeat(x)), resampling.blur_up(x), atol=1e-6)
