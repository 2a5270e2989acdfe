"""TUNIT's networks: their sizes are the published ones', their inputs' sizes free, their precision a choice."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from uit_jax import methods
from uit_jax.nn import layers
from uit_jax.nn.tunit import Discriminator, Generator, GuidingNetwork, _Decoder, _DiscriminatorBlock


@pytest.fixture(autouse=True, scope="module")
def quick_compile():
    with table.quick_compile():
        yield


def weights_of(network, size, *others, **options):
    """Return the shapes of a network's weights, without computing any."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)

    def init(image, *others):
        return network.init(jax.random.key(0), image, *others, **options)["params"]

    return jax.eval_shape(init, image, *others)


def count(params) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


STYLE = jax.ShapeDtypeStruct((1, 128), jnp.float32)


def test_guiding_network_has_the_published_size():
    assert count(weights_of(GuidingNetwork(10), 128, train=True)) == 9_296_778


@pytest.mark.parametrize("size, width, expected", [(64, 64, 7_143_299), (128, 64, 27_333_763), (256, 32, 27_424_835)])
def test_generator_has_the_published_size(size, width, expected):
    params = weights_of(Generator(size, width=width), size, STYLE)
    assert count(params) == expected
    if size == 128:
        mlp = [params[f"mlp_{index}"] for index in range(3)]
        parts = count(params["encoder"]), count(params["decoder"]), count(mlp)
        assert parts == (12_202_112, 13_749_891, 1_381_760)


@pytest.mark.parametrize("size, width, expected", [(64, 64, 33_170_122), (128, 64, 70_935_242), (256, 32, 70_983_018)])
def test_discriminator_has_the_published_size(size, width, expected):
    assert count(weights_of(Discriminator(size, 10, width), size)) == expected


def test_default_widths_are_the_published_ones():
    """64 below 256 px, 32 from there on: chosen by the method."""

    def sizes(image_size):
        method = methods.build("tunit", image_size=image_size)
        batch = {"image": jax.ShapeDtypeStruct((8, image_size, image_size, 3), jnp.uint8)}
        learners = jax.eval_shape(method.init, jax.random.key(0), batch).learners
        return {name: count(learner.params) for name, learner in learners.items()}

    assert sizes(128) == {"guide": 9_296_778, "generator": 27_333_763, "discriminator": 70_935_242}
    assert sizes(256) == {"guide": 9_296_778, "generator": 27_424_835, "discriminator": 70_983_018}


def random_like(shapes, scale=0.2):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.array(scale * rng.normal(size=leaf.shape), jnp.float32), shapes)


GENERATOR = Generator(16, width=4, bottleneck=4, blocks=1, mlp_width=8)


def generator_params():
    return random_like(weights_of(GENERATOR, 16, jax.ShapeDtypeStruct((1, 6), jnp.float32)))


@pytest.mark.parametrize("height, width", [(16, 16), (8, 20), (12, 32), (64, 8)])
def test_generator_takes_images_of_any_size(height, width):
    params = jax.eval_shape(generator_params)
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    styles = jax.ShapeDtypeStruct((2, 6), jnp.float32)
    out = jax.eval_shape(lambda p, x, s: GENERATOR.apply({"params": p}, x, s), params, images, styles)
    assert GENERATOR.multiple == 4 and out.shape == images.shape and out.dtype == jnp.float32


def test_guiding_network_takes_images_of_any_size():
    network = GuidingNetwork(3, 6, width=4, stages=(1, 1))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=True))
    images = jax.ShapeDtypeStruct((2, 13, 6, 3), jnp.float32)
    logits, style = jax.eval_shape(lambda v, x: network.apply(v, x, train=False), variables, images)
    assert logits.shape == (2, 3) and style.shape == (2, 6)


@functools.cache
def outputs(dtype):
    """Run the three networks from one set of weights with the given compute type."""
    guide = GuidingNetwork(3, 6, width=4, stages=(1, 1), dtype=dtype)
    generator = GENERATOR.clone(dtype=dtype)
    discriminator = Discriminator(16, 3, width=4, blocks=1, dtype=dtype)
    images = jnp.array(np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    styles = jnp.array(np.random.default_rng(2).normal(size=(2, 6)), jnp.float32)
    params = {
        "guide": weights_of(guide, 16, train=True),
        "generator": weights_of(generator, 16, jax.ShapeDtypeStruct((1, 6), jnp.float32)),
        "discriminator": weights_of(discriminator, 16),
    }
    stats = {"mean": jnp.zeros(4), "var": jnp.ones(4)}, {"mean": jnp.zeros(8), "var": jnp.ones(8)}
    stats = {f"norm_{index}": value for index, value in enumerate(stats)}
    values = random_like(params)

    @jax.jit
    def run(values):
        (logits, style), after = guide.apply(
            {"params": values["guide"], "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
        )
        translated = generator.apply({"params": values["generator"]}, images, styles)
        judged = discriminator.apply({"params": values["discriminator"]}, images)
        return {"logits": logits, "style": style, "image": translated, "judged": judged, "stats": after}

    return params, run(values)


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    params, exact = outputs(jnp.float32)
    half_params, half = outputs(jnp.bfloat16)
    assert jax.tree.map(lambda leaf: leaf.dtype, half_params) == jax.tree.map(lambda leaf: leaf.dtype, params)
    assert {leaf.dtype for leaf in jax.tree.leaves((half_params, half))} == {jnp.dtype("float32")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    for name in ("logits", "style", "image", "judged"):
        error = np.abs(half[name] - exact[name]).mean() / np.std(exact[name])
        assert 1e-5 < error < 0.1, (name, error)


def test_translations_lie_in_the_range_of_images():
    _, out = outputs(jnp.float32)
    assert out["image"].shape == (2, 16, 16, 3) and np.abs(out["image"]).max() <= 1


def test_a_style_shifts_and_scales_every_adaptive_norm():
    """The first C numbers of a norm are its bias, the next C its weight, in the norms' order."""
    decoder = _Decoder(3, 2, 1, 1, jnp.float32)
    assert decoder.norm_widths() == [4, 4, 2]
    parameters = jnp.arange(20.0)[None]
    split = [(bias[0].tolist(), weight[0].tolist()) for bias, weight in decoder._split(parameters)]
    assert split == [
        ([0, 1, 2, 3], [4, 5, 6, 7]),
        ([8, 9, 10, 11], [12, 13, 14, 15]),
        ([16, 17], [18, 19]),
    ]


class PublishedBlock(nn.Module):
    """The discriminator's block in the order of the published code: both paths are halved after their convolutions."""

    features: int
    down: bool

    @nn.compact
    def __call__(self, x):
        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = layers.Conv(self.features, 1, use_bias=False, name="shortcut")(x)
        y = layers.Conv(x.shape[-1], 3, pad=1, name="conv_0")(layers.FilterResponseNorm(name="norm_0")(x))
        if self.down:
            shortcut, y = layers.average_pool(shortcut), layers.average_pool(y)
        y = layers.Conv(self.features, 3, pad=1, name="conv_1")(layers.FilterResponseNorm(name="norm_1")(y))
        return (shortcut + y) / math.sqrt(2)


@pytest.mark.parametrize("features", [3, 5])
@pytest.mark.parametrize("down", [False, True])
def test_discriminator_blocks_equal_the_published_order(features, down):
    """In value, in every gradient, in the gradient of R1, and in the weights that they begin with."""
    ours, published = _DiscriminatorBlock(features, down, jnp.float32), PublishedBlock(features, down)
    x = jnp.array(np.random.default_rng(1).normal(size=(2, 8, 6, 3)), jnp.float32)
    jax.tree.map(np.testing.assert_array_equal, *(block.init(jax.random.key(0), x) for block in (ours, published)))
    variables = random_like(jax.eval_shape(ours.init, jax.random.key(0), x), scale=0.5)

    def compute(block):
        def wiggle(variables, x):
            return jnp.sin(block.apply(variables, x)).sum()

        def penalty(variables, x):
            return jnp.square(jax.grad(wiggle, 1)(variables, x)).sum()

        return block.apply(variables, x), jax.grad(wiggle, (0, 1))(variables, x), jax.grad(penalty)(variables, x)

    found, expected = jax.jit(lambda: (compute(ours), compute(published)))()
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1, np.abs(other).max()))
