"""MUNIT's and TUNIT's generators: their sizes are the published ones', inputs' sizes free, precision a choice."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import count, image, normal, random_like, shapes_of
from uit_jax.nn import munit
from uit_jax.nn.munit import AutoEncoder, Generator, _Decoder, smallest

STYLE = jax.ShapeDtypeStruct((1, 128), jnp.float32)
NARROW = Generator(16, width=4, bottleneck=4, blocks=1, mlp_width=8)


@pytest.mark.parametrize("size, width, expected", [(64, 64, 7_143_299), (128, 64, 27_333_763), (256, 32, 27_424_835)])
def test_generator_has_the_published_size(size, width, expected):
    params = shapes_of(Generator(size, width=width), image(size), STYLE)["params"]
    assert count(params) == expected
    if size == 128:
        mlp = [params[f"mlp_{index}"] for index in range(3)]
        parts = count(params["encoder"]), count(params["decoder"]), count(mlp)
        assert parts == (12_202_112, 13_749_891, 1_381_760)


@pytest.mark.parametrize("height, width", [(16, 16), (8, 20), (12, 32), (64, 8)])
def test_generator_takes_images_of_any_size(height, width):
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    styles = jax.ShapeDtypeStruct((2, 6), jnp.float32)
    out = jax.eval_shape(NARROW.apply, shapes_of(NARROW, image(16), styles), images, styles)
    assert NARROW.multiple == 4 and out.shape == images.shape and out.dtype == jnp.float32


@functools.cache
def outputs(dtype):
    """Run the network from one set of weights with the given compute type."""
    generator, images, styles = NARROW.clone(dtype=dtype), normal(2, 16, 16, 3), normal(2, 6, seed=2)
    shapes = shapes_of(generator, images, styles)
    return shapes, jax.jit(generator.apply)(random_like(shapes, 0.2), images, styles)


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    shapes, exact = outputs(jnp.float32)
    half_shapes, half = outputs(jnp.bfloat16)
    assert half_shapes == shapes
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, exact, half))} == {jnp.dtype("float32")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1


def test_translations_lie_in_the_range_of_images():
    _, out = outputs(jnp.float32)
    assert out.shape == (2, 16, 16, 3) and np.abs(out).max() <= 1


def test_a_style_shifts_and_scales_every_adaptive_norm():
    """The first C numbers of a norm are its bias, the next C its weight, in the norms' order."""
    decoder = _Decoder(3, 2, 1, 1, jnp.float32)
    assert decoder.norm_widths() == [4, 4, 2]
    parameters = jnp.arange(20.0)[None]
    split = [(bias[0].tolist(), weight[0].tolist()) for bias, weight in munit.split(parameters, decoder.norm_widths())]
    assert split == [
        ([0, 1, 2, 3], [4, 5, 6, 7]),
        ([8, 9, 10, 11], [12, 13, 14, 15]),
        ([16, 17], [18, 19]),
    ]


def test_the_auto_encoder_has_the_published_size():
    params = shapes_of(AutoEncoder(), image(64))["params"]
    parts = {name: count(params[name]) for name in ("style", "encoder", "decoder")}
    assert parts == {"style": 2_764_936, "encoder": 5_385_856, "decoder": 5_754_627} and count(params) == 15_026_187


@pytest.mark.parametrize("downs", [1, 2, 4])
def test_the_auto_encoder_takes_images_of_any_size_from_the_smallest(downs):
    network = AutoEncoder(width=2, downs=downs, blocks=1, mlp_width=3, dtype=jnp.bfloat16)
    least = smallest(downs)
    for height, width in ((least, least), (least, 3 * least)):
        images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
        variables = shapes_of(network, images)
        content, style = jax.eval_shape(functools.partial(network.apply, method="encode"), variables, images)
        assert content.shape == (2, height // network.multiple, width // network.multiple, 2 * 2**downs)
        assert style.shape == (2, 8) and content.dtype == style.dtype == jnp.float32
        again = jax.eval_shape(network.apply, variables, images)
        assert again.shape == images.shape and again.dtype == jnp.float32


@pytest.mark.parametrize("norm", ["layer", "instance"])
def test_norms_that_are_not_adaptive_take_no_style(norm):
    assert _Decoder(3, 2, 1, 1, jnp.float32, norm=norm).norm_widths() == [4, 4]


def test_the_few_shot_generator_has_the_published_size():
    params = shapes_of(AutoEncoder(style_dim=64, downs=3, blocks=2, norm="instance"), image(128))["params"]
    parts = {name: count(params[name]) for name in ("style", "encoder", "decoder")}
    assert parts == {"style": 2_779_328, "encoder": 12_202_112, "decoder": 13_749_891} and count(params) == 29_866_435
