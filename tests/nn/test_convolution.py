"""The forms of a convolution for a processor against XLA's own, in value and in every derivative."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import normal
from uit_jax.nn import convolution

CASES = {
    "valid": dict(images=(3, 9, 7, 2), kernel=(3, 3, 2, 4)),
    "padded": dict(images=(2, 8, 6, 2), kernel=(3, 3, 2, 3), pad=(1, 1)),
    "even kernel, uneven padding": dict(images=(2, 7, 9, 2), kernel=(4, 4, 2, 3), pad=(1, 2)),
    "column": dict(images=(2, 9, 5, 2), kernel=(7, 1, 2, 3)),
    "single pixels": dict(images=(2, 5, 4, 3), kernel=(1, 1, 3, 2)),
    "one image": dict(images=(1, 13, 5, 2), kernel=(5, 5, 2, 2)),
    "beyond the images": dict(images=(2, 3, 4, 2), kernel=(5, 6, 2, 3)),
    "to one pixel": dict(images=(3, 4, 4, 2), kernel=(4, 4, 2, 3)),
}


def plain(x, kernel, stride=1, pad=(0, 0)):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), (pad, pad), dimension_numbers=numbers)


def derivatives(function, x, kernel, pad):
    """Return the value, its gradients by both, and by both those of a penalty on each gradient."""

    def wiggle(x, kernel):
        return jnp.sin(function(x, kernel, pad=pad)).sum()

    def penalty(number):
        return lambda *both: jnp.square(jax.grad(wiggle, number)(*both)).sum()

    return (
        function(x, kernel, pad=pad),
        jax.grad(wiggle, (0, 1))(x, kernel),
        *(jax.grad(penalty(number), (0, 1))(x, kernel) for number in (0, 1)),
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("band", [8192, 20], ids=["whole", "bands"])
def test_the_forms_for_a_processor_equal_the_plain_convolution(monkeypatch, case, band):
    monkeypatch.setattr(convolution, "_LARGE", 0)
    monkeypatch.setattr(convolution, "_BAND", band)
    x, kernel = normal(*case["images"]), normal(*case["kernel"], seed=1)
    pad = case.get("pad", (0, 0))
    run = jax.jit(lambda: [derivatives(each, x, kernel, pad) for each in (convolution.convolve, plain)])
    ours, expected = run()
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max(initial=1))


def _programs(x, kernel, stride=1, platforms=("cpu",)):
    """Return what jit lowers for a platform: a gradient by both, and the plain one's."""

    def gradient(function):
        def square(x, kernel):
            return jnp.square(function(x, kernel)).sum()

        traced = jax.jit(jax.grad(square, (0, 1))).trace(x, kernel)
        return traced.lower(lowering_platforms=platforms).as_text()

    return [gradient(lambda x, kernel, each=each: each(x, kernel, stride)) for each in (convolution.convolve, plain)]


def _shapes(side, features, dtype=jnp.float32):
    kernel = jax.ShapeDtypeStruct((3, 3, features, features), dtype)
    return jax.ShapeDtypeStruct((2, side, side, features), dtype), kernel


@pytest.mark.parametrize(
    "shapes, stride",
    [(_shapes(16, 8), 1), (_shapes(64, 256, jnp.bfloat16), 1), (_shapes(128, 256), 2)],
    ids=["small", "bf16", "stride"],
)
def test_what_gains_nothing_is_as_xla_has_it(shapes, stride):
    products = re.compile(r"stablehlo.convolution\(.*?\)(.*)")
    ours, expected = (sorted(products.findall(text)) for text in _programs(*shapes, stride))
    assert len(ours) == 3
    assert ours == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gradient_penalty_reverses_no_window(stride):
    """XLA runs a convolution with a reversed window in a plain loop on a processor."""

    def loss(function, kernel, x):
        return jnp.square(jax.grad(lambda x: function(x, kernel, stride).sum())(x)).sum()

    def program(function):
        shapes = _shapes(8, 4)[::-1]
        return jax.jit(jax.grad(functools.partial(loss, function))).lower(*shapes).compile().as_text()

    assert "rhs_reversal" in program(plain)
    assert "rhs_reversal" not in program(convolution.convolve)


def test_a_large_convolution_takes_other_forms_on_a_processor_alone():
    shapes = _shapes(128, 128)
    here, expected = (text.count("stablehlo.convolution") for text in _programs(*shapes))
    assert here > expected == 3
    there, expected = (text.count("stablehlo.convolution") for text in _programs(*shapes, platforms=("cuda",)))
    assert there == expected == 3


def test_the_forms_meet_vmap():
    """As in the proof that a forgotten mean does not trace: with an axis in front of the images alone."""
    x, kernel = jnp.ones((2, 1, 130, 130, 64)), jnp.ones((3, 3, 64, 64))

    def loss(kernel, x):
        return convolution.convolve(x, kernel).sum()

    shape = jax.eval_shape(jax.vmap(jax.grad(loss), in_axes=(None, 0)), kernel, x).shape
    assert shape == (2, 3, 3, 64, 64)
