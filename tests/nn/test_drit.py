"""DRIT's networks: their sizes are the published ones', a side comes alone or with the other, sizes are free."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import count, image, normal, random_like, shapes_of
from uit_jax.nn import drit

BOTH = {"a": image(216), "b": image(216)}
CODE = jax.ShapeDtypeStruct((1, 54, 54, 256), jnp.float32)
STYLE = jax.ShapeDtypeStruct((1, 8), jnp.float32)
DRAWN = {"a": CODE, "b": CODE}, {"a": STYLE, "b": STYLE}


@pytest.mark.parametrize(
    "module, inputs, expected",
    [
        (drit.ContentEncoder(), (BOTH,), 9_018_112),
        (drit.StyleEncoder(), (BOTH,), 2_688_160),
        (drit.StyleEncoder(featurewise=True), (BOTH,), 5_529_872),
        (drit.Generator(), DRAWN, 9_564_710),
        (drit.Generator(featurewise=True), DRAWN, 17_146_374),
        (drit.Discriminator(), (BOTH,), 2 * 8_271_171),
        (drit.Discriminator(scales=1, layers=6), (BOTH,), 2 * 25_149_057),
        (drit.ContentDiscriminator(), DRAWN[:1], 10_683_649),
    ],
)
def test_networks_have_the_published_sizes(module, inputs, expected):
    assert count(shapes_of(module, *inputs)) == expected


@functools.cache
def tiny(featurewise, dtype=jnp.float32):
    """Return encoders and generator, with random weights for each."""
    rest = dict(featurewise=featurewise, dtype=dtype)
    both, style = {"a": image(16), "b": image(16)}, jax.ShapeDtypeStruct((1, 2), jnp.float32)
    code = jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.float32)
    modules = {
        "content": (drit.ContentEncoder(2, 1, dtype), (both,)),
        "style": (drit.StyleEncoder(2, 2, **rest), (both,)),
        "generator": (drit.Generator(3, 1, **rest), (dict.fromkeys("ab", code), dict.fromkeys("ab", style))),
    }
    shapes = {name: shapes_of(module, *inputs) for name, (module, inputs) in modules.items()}
    return {name: (modules[name][0], random_like(shapes[name])) for name in modules}


def apply(networks, name, *inputs):
    module, variables = networks[name]
    return jax.jit(module.apply)(variables, *inputs)


def drawn(networks, images, styles):
    return apply(networks, "generator", apply(networks, "content", images), styles)


@pytest.mark.parametrize("featurewise", [False, True])
def test_a_side_is_the_same_without_the_other_and_each_image_without_the_rest(featurewise):
    networks = tiny(featurewise)
    images, styles = ({s: normal(2, *shape, seed=i) for i, s in enumerate("ab")} for shape in ((16, 16, 3), (2,)))
    together, means = drawn(networks, images, styles), apply(networks, "style", images)
    alone = drawn(networks, {"b": images["b"][:1]}, {"b": styles["b"][:1]})
    assert together["a"].shape == (2, 16, 16, 3) and set(alone) == {"b"}
    np.testing.assert_allclose(alone["b"], together["b"][:1], atol=2e-5)
    np.testing.assert_allclose(apply(networks, "style", {"a": images["a"]})["a"][0], means["a"][0], atol=1e-5)
    # The domains' own layers differ.
    assert np.abs(drawn(networks, {"a": images["b"]}, {"a": styles["b"]})["a"] - together["b"]).max() > 1e-3
    assert (means["a"][1] is None) == featurewise


@pytest.mark.parametrize("featurewise", [False, True])
def test_images_of_any_size_are_drawn_and_a_style_decides_what_comes(featurewise):
    networks, images = tiny(featurewise), {"b": normal(1, 20, 36, 3)}
    one, other = (drawn(networks, images, {"b": normal(1, 2, seed=seed)})["b"] for seed in (0, 1))
    assert one.shape == (1, 20, 36, 3) and np.abs(one).max() <= 1
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("featurewise", [False, True])
def test_bf16_keeps_parameters_and_outputs_float32_and_is_near(featurewise):
    images, styles = {"a": normal(2, 16, 16, 3)}, {"a": normal(2, 2)}
    exact, half = (drawn(tiny(featurewise, dtype), images, styles)["a"] for dtype in (jnp.float32, jnp.bfloat16))
    assert exact.dtype == half.dtype == jnp.float32
    assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1


def test_layers_are_normalised_over_all_of_an_image():
    x = normal(2, 5, 6, 4) * 3 + 1
    variables = {"params": {"scale": normal(4, seed=1), "bias": normal(4, seed=2)}}
    centred = x - x.mean((1, 2, 3), keepdims=True)
    expected = centred / np.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    found = drit._LayerNorm().apply(variables, x)
    np.testing.assert_allclose(found, expected * variables["params"]["scale"] + variables["params"]["bias"], atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_content_discriminator_needs_as_large_an_image_as_it_says(layers):
    """At 212 to 240 px, with the published three halvings, it has one output."""
    module, side = drit.ContentDiscriminator(layers), drit.content_side(layers)

    def logits(side):
        code = jax.ShapeDtypeStruct((1, side // 4, side // 4, 8), jnp.float32)
        (found,) = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x)[0], {"a": code})["a"]
        return found.shape

    assert logits(side) == (1, 1, 1, 1)
    assert 0 in logits(side - 4)
    if layers == 3:
        assert side == 212 and logits(240) == (1, 1, 1, 1) and logits(244) == (1, 2, 2, 1)


def test_a_discriminator_looks_at_images_of_half_the_size_again():
    """The mean of 3 x 3 pixels around every other one, of which those outside are not counted."""
    module, images = drit.Discriminator(2, 2, 2), {"a": normal(1, 16, 16, 3)}
    variables = random_like(shapes_of(module, {"a": image(16)}))
    whole, half = jax.jit(module.apply)(variables, images)["a"]
    assert whole.shape == (1, 4, 4, 1) and half.shape == (1, 2, 2, 1)
    padded = np.pad(images["a"], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    blocks = [padded[:, i : i + 16 : 2, j : j + 16 : 2] for i in range(3) for j in range(3)]
    small = np.nanmean(blocks, axis=0)
    params = variables["params"]["a"]
    swapped = {name: params[name.replace("scale_0", "scale_1")] for name in params}
    first, _ = jax.jit(module.apply)({"params": {"a": swapped}}, {"a": small.astype(np.float32)})["a"]
    np.testing.assert_allclose(first, half, atol=1e-5)
