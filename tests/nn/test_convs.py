"""Convolutions against numpy, and those joined with a change of size against their plain definitions."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import normal
from uit_jax.nn import convs

OPTIMIZED = True


def plain_upsample_conv(x, kernel, bias):
    """Repeat every pixel, reflect the borders, convolve 5 x 5, one tap after the other."""
    x = x.repeat(2, axis=1).repeat(2, axis=2)
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    taps = [(i, j, x[:, i : i + height, j : j + width]) for i in range(5) for j in range(5)]
    return sum(jnp.einsum("bhwi,io->bhwo", image, kernel[i, j]) for i, j, image in taps) + bias[None, None, None]


@pytest.mark.parametrize("height, width", [(2, 2), (3, 5), (4, 2)])
def test_upsample_conv_equals_repeating_and_convolving(height, width):
    x, kernel, bias = normal(2, height, width, 3), normal(5, 5, 3, 4, seed=1), normal(4, seed=2)
    cotangent = normal(2, 2 * height, 2 * width, 4, seed=3)

    def fast(x, kernel, bias):
        return convs.UpsampleConv(4).apply({"params": {"conv": {"kernel": kernel, "bias": bias}}}, x)

    def value_and_gradients(function):
        def run(*arguments):
            value, back = jax.vjp(function, *arguments)
            return value, *back(cotangent)

        return jax.jit(run)(x, kernel, bias)

    ours, plain = value_and_gradients(fast), value_and_gradients(plain_upsample_conv)
    for name, one, other in zip(("value", "d input", "d kernel", "d bias"), ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=name)


def test_upsample_conv_has_the_parameters_of_a_convolution():
    variables = jax.eval_shape(convs.UpsampleConv(4).init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    assert shapes == {"conv": {"kernel": (5, 5, 3, 4), "bias": (4,)}}


@pytest.mark.parametrize("pad_mode, numpy_mode", [("zero", "constant"), ("reflect", "reflect"), ("edge", "edge")])
def test_conv_pads_both_sides_and_strides(pad_mode, numpy_mode):
    x, kernel, bias = normal(2, 6, 4, 2), normal(4, 4, 2, 3, seed=1), normal(3, seed=2)
    conv = convs.Conv(3, 4, 2, pad=1, pad_mode=pad_mode)
    ours = conv.apply({"params": {"conv": {"kernel": kernel, "bias": bias}}}, x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=numpy_mode)
    expected = np.empty((2, 3, 2, 3))
    for i in range(3):
        for j in range(2):
            window = padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            expected[:, i, j] = np.einsum("bhwi,hwio->bo", window, kernel) + bias
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


class Plainly(nn.Module):
    """By their definitions, with the names of `Conv`: `PooledConv`, and with `up` `RepeatedConv`."""

    features: int
    up: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = x.repeat(2, axis=1).repeat(2, axis=2) if self.up else x
        x = nn.Conv(
            self.features, (3, 3), padding=1, kernel_init=convs.kaiming_fan_in, dtype=self.dtype, name="conv"
        )(x)
        return x if self.up else nn.avg_pool(x, (2, 2), (2, 2))


FAST_AND_PLAIN = [
    (convs.PooledConv(4), Plainly(4)),
    (convs.RepeatedConv(4), Plainly(4, up=True)),
]
resampling = pytest.mark.parametrize("fast, plain", FAST_AND_PLAIN, ids=["pooled", "repeated"])


@resampling
@pytest.mark.parametrize("height, width", [(2, 2), (6, 4), (5, 8), (7, 3)])
def test_a_convolution_joined_with_its_resampling_equals_the_two(fast, plain, height, width):
    """In value, in every gradient, and in the gradient of a gradient that R1 takes; an odd last line is left out."""
    variables = {"params": {"conv": {"kernel": normal(3, 3, 3, 4, seed=1), "bias": normal(4, seed=2)}}}
    x = normal(2, height, width, 3)

    def compute(layer):
        def wiggle(variables, x):
            return jnp.sin(layer.apply(variables, x)).sum()

        def penalty(variables, x):
            return jnp.square(jax.grad(wiggle, 1)(variables, x)).sum()

        return layer.apply(variables, x), jax.grad(wiggle, (0, 1))(variables, x), jax.grad(penalty)(variables, x)

    ours, expected = jax.jit(lambda: (compute(fast), compute(plain)))()
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * max(1, np.abs(other).max()))


@resampling
def test_a_convolution_joined_with_its_resampling_begins_as_the_plain_one(fast, plain):
    ours, expected = (layer.init(jax.random.key(0), normal(1, 4, 4, 3)) for layer in (fast, plain))
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@resampling
def test_a_convolution_joined_with_its_resampling_computes_in_bf16(fast, plain):
    x, key = normal(2, 6, 8, 3), jax.random.key(0)
    half = fast.clone(dtype=jnp.bfloat16)
    variables = half.init(key, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y, exact = half.apply(variables, x), plain.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    assert 1e-4 < np.abs(np.asarray(y, np.float32) - exact).mean() / np.abs(exact).mean() < 0.01


@resampling
def test_a_convolution_joined_with_its_resampling_is_less_work(fast, plain):
    """9 multiplications for every 36, or 4 for every 9, and some for borders and means."""

    def flops(layer):
        layer, x = layer.clone(features=16), jax.ShapeDtypeStruct((2, 32, 32, 16), jnp.float32)
        variables = jax.eval_shape(layer.init, jax.random.key(0), x)
        return jax.jit(layer.apply).lower(variables, x).compile().cost_analysis()["flops"]

    expected = 4 / 9 if plain.up else 9 / 36
    assert expected < flops(fast) / flops(plain) < 1.2 * expected


def test_the_gradient_of_a_pooled_convolutions_penalty_reverses_no_window():
    """On a processor XLA runs a convolution with a reversed window in a plain loop, many times slower."""
    layer, x = convs.PooledConv(4), normal(2, 8, 8, 4)
    variables = layer.init(jax.random.key(0), x)

    def penalty(variables):
        return jnp.square(jax.grad(lambda x: jnp.sin(layer.apply(variables, x)).sum())(x)).sum()

    program = jax.jit(jax.grad(penalty)).lower(variables).compile().as_text()
    assert "convolution(" in program and "rhs_reversal" not in program


@pytest.mark.parametrize("size, features", [(7, 3), (4, 1), (1, 2)])
def test_narrow_conv_equals_conv(size, features):
    x, kernel, bias = normal(2, 9, 8, 5), normal(size, size, 5, features, seed=1), normal(features, seed=2)
    variables = {"params": {"conv": {"kernel": kernel, "bias": bias}}}

    def value_and_gradients(layer):
        value, back = jax.vjp(layer.apply, variables, x)
        return value, back(jnp.cos(value))

    narrow, plain = (layer(features, size) for layer in (convs.NarrowConv, convs.Conv))
    run = jax.jit(lambda: (value_and_gradients(narrow), value_and_gradients(plain)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *run())
    shapes = [jax.eval_shape(layer.init, jax.random.key(0), x) for layer in (narrow, plain)]
    assert shapes[0] == shapes[1]
    half = convs.NarrowConv(features, size, dtype=jnp.bfloat16).apply(variables, x)
    assert half.dtype == jnp.bfloat16


def test_initial_deviations():
    shape = (3, 3, 200, 50)
    fan_in = convs.kaiming_fan_in(jax.random.key(0), shape)
    fan_out = convs.kaiming_fan_out(jax.random.key(0), shape)
    np.testing.assert_allclose(fan_in.std(), np.sqrt(2 / (9 * 200)), rtol=0.02)
    np.testing.assert_allclose(fan_out.std(), np.sqrt(2 / (9 * 50)), rtol=0.02)


def test_up_convolution_is_torchs_transposed_convolution():
    """Kernel 3, stride 2, padding 1, output padding 1: pixel i adds tap k to 2 i - 1 + k."""
    x, kernel, bias = normal(2, 3, 4, 3), normal(3, 3, 3, 2, seed=1), normal(2, seed=2)
    layer = convs.TransposedConv(2)
    ours = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    spread = np.zeros((2, 8, 10, 2))
    for i in range(3):
        for j in range(4):
            added = np.einsum("bc,pqco->bpqo", x[:, i, j], kernel)
            spread[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += added
    np.testing.assert_allclose(ours, spread[:, 1:7, 1:9] + bias, rtol=1e-4, atol=1e-5)


def test_initialisers_are_torchs():
    shape = (3, 3, 60, 40)

    def drawn(name, gain):
        return np.asarray(convs.initializer(name, gain)(jax.random.key(0), shape))

    np.testing.assert_allclose(drawn("xavier", 0.5).std(), 0.5 * math.sqrt(2 / (9 * 100)), rtol=0.02)
    np.testing.assert_allclose(drawn("normal", 0.5).std(), 0.5, rtol=0.02)
    np.testing.assert_allclose(drawn("kaiming", 0.5).std(), math.sqrt(2 / (9 * 60)), rtol=0.02)
    flat = drawn("orthogonal", 0.5).reshape(-1, 40)
    np.testing.assert_allclose(flat.T @ flat, 0.25 * np.eye(40), atol=1e-5)


@pytest.mark.parametrize("border", ["reflect", "edge"])
def test_a_border_equals_that_of_numpy(border):
    """In value, in its gradient, and in the gradient of a gradient, of images smaller than the border too."""
    cases = [(5, 8, 1), (4, 7, 2), (6, 4, 3), (2, 3, 2), (1, 2, 3)]
    images = [np.float64(normal(2, height, width, 3)) for height, width, _ in cases]
    arounds = [((0, 0), (pad, pad), (pad, pad), (0, 0)) for *_, pad in cases]

    def compute(function, x):
        def wiggle(x):
            y = jnp.sin(function(x))
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum()

        return function(x), jax.grad(wiggle)(x), jax.grad(lambda x: jnp.square(jax.grad(wiggle)(x)).sum())(x)

    def run(images):
        for (_, _, pad), around, x in zip(cases, arounds, images, strict=True):
            yield compute(lambda x, pad=pad: convs.bordered(x, pad, border), x)
            yield compute(lambda x, around=around: jnp.pad(x, around, mode=border), x)

    with jax.enable_x64(True):
        found = jax.jit(lambda images: list(run(images)))(images)
    for x, around, ours, plain in zip(images, arounds, found[::2], found[1::2], strict=True):
        np.testing.assert_array_equal(ours[0], np.pad(x, around, mode=border))
        for one, other in zip(ours[1:], plain[1:], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * max(1, np.abs(other).max()))
