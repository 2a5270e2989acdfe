"""Layers whose weights are scaled in use against numpy: filters, borders, halvings."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import leaky, normal, shapes_of
from uit_jax.nn import equalized, resampling


@pytest.mark.parametrize("pad, stride, gain", [(2, 1, 1.0), (1, 2, 1.0), (1, 1, 2.0)])
def test_blur_is_a_convolution_among_zeros(pad, stride, gain):
    x, line = normal(2, 6, 9, 3), gain * np.array([1, 3, 3, 1]) / 8
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = padded.shape[1] - 3, padded.shape[2] - 3
    full = sum(line[i] * line[j] * padded[:, i : i + height, j : j + width] for i in range(4) for j in range(4))
    ours = resampling.blur(jnp.asarray(x), pad, stride, gain)
    np.testing.assert_allclose(ours, full[:, ::stride, ::stride], rtol=1e-4, atol=1e-5)


def test_weights_are_standard_normal_and_scaled_in_use():
    """So that Adam's steps, of one size for all weights, are in proportion to every layer's own scale."""
    layer, x = equalized.Layer(50, 3), normal(1, 5, 6, 40)
    params = layer.init(jax.random.key(0), x)["params"]
    assert 0.97 < params["kernel"].std() < 1.03 and (params["bias"] == 0).all()
    params = {"kernel": np.asarray(params["kernel"]), "bias": normal(50)}
    weight = params["kernel"] / math.sqrt(9 * 40)
    shifts = [(i, j, x[:, i : i + 3, j : j + 4]) for i in range(3) for j in range(3)]
    inner = leaky(sum(maps @ weight[i, j] for i, j, maps in shifts) + params["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, x)[:, 1:-1, 1:-1], inner, rtol=1e-3, atol=1e-4)
    linear = equalized.Linear(7)
    params = {"kernel": normal(20, 7), "bias": normal(7)}
    ours = linear.apply({"params": params}, x.reshape(-1, 20))
    np.testing.assert_allclose(
        ours, x.reshape(-1, 20) @ params["kernel"] / math.sqrt(20) + params["bias"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("pad, stride", [((2, 1), 1), ((1, 0), 2)])
@pytest.mark.parametrize("border", ["zero", "reflect"])
def test_blur_of_other_taps_and_borders(pad, stride, border):
    x, line = normal(2, 6, 9, 3), np.array([1, 2, 1]) / 4
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)), mode="constant" if border == "zero" else border)
    height, width = (side - 2 for side in padded.shape[1:3])
    full = sum(line[i] * line[j] * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
    ours = resampling.blur(jnp.asarray(x), pad, stride, taps=(1, 2, 1), border=border)
    np.testing.assert_allclose(ours, full[:, ::stride, ::stride], rtol=1e-4, atol=1e-5)


# The pixels that a halving is padded by before and after, by its kernel and its filter.
HALVINGS = [
    (1, dict(), (1, 1)),
    (3, dict(), (2, 2)),
    (1, dict(taps=(1, 2, 1)), (1, 0)),
    (3, dict(taps=(1, 2, 1), border="reflect"), (2, 1)),
]


@pytest.mark.parametrize("kernel, how, pad", HALVINGS)
def test_layers_that_halve_blur_and_then_stride(kernel, how, pad):
    layer, x = equalized.Layer(4, kernel, down=True, activate=False, **how), normal(2, 6, 8, 3)
    weights = normal(kernel, kernel, 3, 4, seed=1)
    blurred = resampling.blur(jnp.asarray(x), pad, **how)
    expected = strided(np.asarray(blurred), weights, 3, 4)
    np.testing.assert_allclose(layer.apply({"params": {"kernel": weights}}, x), expected, rtol=1e-4, atol=1e-5)


def strided(x, weights, height, width):
    """Convolve at every second place."""
    kernel, expected = len(weights), np.empty((len(x), height, width, weights.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]
            expected[:, i, j] = np.einsum("bhwi,hwio->bo", window, weights) / math.sqrt(weights[..., 0].size)
    return expected


def test_layers_without_a_border_or_an_activation():
    x, weights, bias = normal(2, 7, 9, 3), normal(3, 3, 3, 4, seed=1), normal(4, seed=2)
    layer = equalized.Layer(4, 3, down=True, valid=True, activate=False, biased=True)
    ours = layer.apply({"params": {"kernel": weights, "bias": bias}}, x)
    np.testing.assert_allclose(ours, strided(x, weights, 3, 4) + bias, rtol=1e-4, atol=1e-5)


def test_residual_block_keeps_the_size_of_its_maps():
    x = normal(1, 16, 16, 32)
    block = equalized.ResidualBlock(48, True, jnp.float32)
    params = jax.jit(block.init)(jax.random.key(0), x)
    out = block.apply(params, x)
    # The blur takes some of the variance of noise.
    assert out.shape == (1, 8, 8, 48) and 0.3 < out.std() < 1.5
    assert set(params["params"]) == {"layer_0", "layer_1", "shortcut"}
    assert set(shapes_of(equalized.ResidualBlock(32, False, jnp.float32), x)["params"]) == {"layer_0", "layer_1"}
