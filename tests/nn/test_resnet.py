"""The ResNet translator: published sizes, numbered features, stages, reach."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import check_statistics, count, normal, positive_like, random_like, reach, shapes_of
from uit_jax.nn import resampling
from uit_jax.nn.norms import instance_norm
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator


def test_every_weight_is_drawn_by_the_chosen_initialiser():
    """Also the transposed convolution's, of which torch takes the inputs for the outputs."""
    generator = ResNetGenerator(width=16, blocks=1, antialias_up=False, initializer="kaiming")
    params = jax.jit(generator.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    expected = {
        "stem/conv": 49 * 3,
        "down_1/conv": 9 * 32,
        "block_0/conv_1/conv": 9 * 64,
        "up_0": 9 * 32,
        "up_1": 9 * 16,
        "image/conv": 49 * 16,
    }
    for name, inputs in expected.items():
        module = functools.reduce(lambda tree, key: tree[key], name.split("/"), params)
        np.testing.assert_allclose(module["kernel"].std(), math.sqrt(2 / inputs), rtol=0.06, err_msg=name)
        assert (module["bias"] == 0).all()


# --- sizes ---


def test_generators_have_the_published_sizes():
    assert count(shapes_of(ResNetGenerator())["params"]) == 11_378_179
    # The weights of blurs are constants there, so that a variant has as many.
    assert count(shapes_of(ResNetGenerator(antialias=False, antialias_up=False))["params"]) == 11_378_179


@pytest.mark.parametrize("blocks, size", [(9, 11_378_179), (6, 7_837_699)])
def test_it_is_cyclegans_generator_without_blurs(blocks, size):
    """Sides, widths and numbers of layers of arXiv:1703.10593 as published, and weights N(0, 0.02), biases 0."""
    generator = ResNetGenerator(blocks=blocks, antialias=False, antialias_up=False, initializer="normal")
    assert count(shapes_of(generator)["params"]) == size
    channels, sizes = generator.tap_channels(), generator.tap_sizes(256, 256)
    convolutions = (1, 4, 7, 10 + blocks, 13 + blocks, 17 + blocks)
    found = [(channels[tap], *sizes[tap]) for tap in convolutions]
    sides = [(64, 256), (128, 128), (256, 64), (128, 128), (64, 256), (3, 256)]
    assert found == [(width, side, side) for width, side in sides] and len(sizes) == 19 + blocks
    narrowed = generator.clone(width=8, blocks=1)
    params = jax.jit(narrowed.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if path[-1].key == "bias":
            assert (leaf == 0).all()
        else:
            np.testing.assert_allclose(leaf.std(), 0.02, rtol=5 / math.sqrt(2 * leaf.size))


def test_only_instance_norm_leaves_the_convolutions_a_bias():
    for norm in ("instance", "batch", "none"):
        params = shapes_of(ResNetGenerator(width=2, blocks=1, norm=norm, antialias_up=False))["params"]
        for module in (params["stem"]["conv"], params["block_0"]["conv_1"]["conv"], params["up_1"]):
            assert ("bias" in module) == (norm == "instance")
        assert "bias" in params["image"]["conv"]


# --- the numbered features ---

VARIANTS = [(True, True), (False, True), (True, False), (False, False)]
NORMS = ("instance", "batch", "none")


def narrow(antialias=True, antialias_up=True, **options):
    return ResNetGenerator(**dict(width=2, blocks=2, antialias=antialias, antialias_up=antialias_up) | options)


@functools.cache
def run_with_all_taps(antialias, antialias_up):
    generator = narrow(antialias, antialias_up, target_channels=2)
    variables = random_like(shapes_of(generator))
    images = normal(2, 16, 20, 3, seed=1)
    taps = tuple(generator.tap_sizes(16, 20))
    drawn, found = jax.jit(functools.partial(generator.apply, taps=taps))(variables, images)
    return generator, variables, images, drawn, found


@pytest.mark.parametrize("antialias, antialias_up", VARIANTS)
def test_taps_have_the_published_numbers(antialias, antialias_up):
    """The published numbers of 9 blocks: without blurs, the layers after them move up."""
    generator = ResNetGenerator(antialias=antialias, antialias_up=antialias_up)
    channels, sizes = generator.tap_channels(), generator.tap_sizes(256, 256)
    first = 12 if antialias else 10
    expected = {0: (3, 262), 1: (64, 256), 4: (128, 256 if antialias else 128)}
    expected |= {8: (256, 128)} if antialias else {7: (256, 64)}
    expected |= dict.fromkeys(range(first, first + 9), (256, 64))
    up = first + 9 + antialias_up
    expected |= {up: (128, 128), up + 3 + antialias_up: (64, 256)}
    last = up + 6 + antialias_up
    expected |= {last: (64, 262), last + 1: (3, 256), last + 2: (3, 256)}
    assert expected.items() <= {tap: (channels[tap], sizes[tap][0]) for tap in sizes}.items()
    assert list(sizes) == list(range(last + 3)) and sizes == generator.tap_sizes(256, 256)


@pytest.mark.parametrize("antialias, antialias_up", VARIANTS)
def test_taps_are_the_values_between_the_layers(antialias, antialias_up):
    generator, variables, images, drawn, found = run_with_all_taps(antialias, antialias_up)
    sizes, channels = generator.tap_sizes(16, 20), generator.tap_channels()
    assert {tap: maps.shape for tap, maps in found.items()} == {
        tap: (2, *sizes[tap], channels[tap]) for tap in range(len(sizes))
    }
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0], np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect"))
    close(found[1], convolved(found[0], variables["params"]["stem"], 0))
    # After the convolutions at 1, 4 and 8: a norm, a rectifier, and down from 4 on a blur.
    for conv in (1, 4, 8) if antialias else (1, 4, 7):
        close(found[conv + 1], instance_norm(found[conv]))
        np.testing.assert_array_equal(found[conv + 2], np.maximum(found[conv + 1], 0))
        if antialias and conv > 1:
            close(found[conv + 3], resampling.blur_down(found[conv + 2]))
    if antialias:
        close(found[4], convolved(found[3], variables["params"]["down_0"], 1))
        close(found[8], convolved(found[7], variables["params"]["down_1"], 1))
    block = 12 if antialias else 10
    padded = np.pad(found[block - 1], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    inner = np.maximum(instance_norm(convolved(padded, variables["params"]["block_0"]["conv_0"], 0)), 0)
    padded = np.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    inner = instance_norm(convolved(padded, variables["params"]["block_0"]["conv_1"], 0))
    close(found[block], found[block - 1] + inner)
    if antialias_up:
        close(found[block + 2], resampling.blur_up(found[block + 1]))
        close(found[block + 3], convolved(found[block + 2], variables["params"]["up_0"], 1))
    last = len(sizes) - 1
    close(found[last - 1], convolved(found[last - 2], variables["params"]["image"], 0))
    close(drawn, np.tanh(found[last - 1]))


def convolved(x, module, pad):
    """Convolve in numpy, zeros around."""
    kernel, bias = np.asarray(module["conv"]["kernel"]), np.asarray(module["conv"]["bias"])
    size = len(kernel)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    shifts = [(i, j, x[:, i : i + height, j : j + width]) for i in range(size) for j in range(size)]
    return sum(maps @ kernel[i, j] for i, j, maps in shifts) + bias


def test_features_stop_at_the_last_tap():
    generator, variables, images, _, found = run_with_all_taps(True, True)
    wanted = (0, 4, 12)
    features = jax.jit(lambda v, x: generator.apply(v, x, wanted, method="features"))(variables, images)
    assert tuple(features) == wanted
    for tap in wanted:
        np.testing.assert_allclose(features[tap], found[tap], rtol=1e-4, atol=1e-5)
    # Weights of later layers are not even looked at.
    early = {name: module for name, module in variables["params"].items() if name in ("stem", "down_0")}
    assert tuple(generator.apply({"params": early}, images, (4, 0), method="features")) == (0, 4)


def staged(generator, maps, variables, normalize=instance_norm):
    """Run the stages one after the other."""
    for stage in generator.stages():
        maps = stage.run(variables, maps, normalize, jnp.zeros(2, jnp.int32))
    return maps


@pytest.mark.parametrize("norm", NORMS)
def test_stages_make_the_whole(norm):
    generator = narrow(norm=norm)
    variables = jax.tree.map(jnp.abs, random_like(shapes_of(generator)))
    images = normal(2, 8, 12, 3)

    @jax.jit
    def both(variables):
        return staged(generator, images, variables), generator.apply(variables, images)

    parts, whole = both(variables)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_stages_of_equal_networks_run_the_same():
    """So that what was compiled for one serves the other; no two stages of one network are the same."""
    first, second, other = (generator.stages() for generator in (narrow(), narrow(), narrow(width=3)))
    assert first == second and first != other
    assert [stage.scale for stage in first] == [0.25, 1, 1, 4]
    assert len({stage.run for stage in (*first, *second)}) == 4


@pytest.mark.parametrize("norm", NORMS)
def test_the_given_normalization_stands_in_for_every_instance_norm(norm):
    generator, calls, found = narrow(norm=norm), [], []
    variables = shapes_of(generator)

    def normalize(x):
        calls.append(x.shape[1:])
        return instance_norm(x)

    maps = jax.ShapeDtypeStruct((1, 16, 12, 3), jnp.float32)
    for stage in generator.stages():
        calls.clear()
        maps = jax.eval_shape(lambda v, x, run=stage.run: run(v, x, normalize, jnp.zeros(2)), variables, maps)
        found.append(list(calls))
    block = [(4, 3, 8)] * 2
    expected = [[(16, 12, 2), (16, 12, 4), (8, 6, 8)], block, block, [(8, 6, 4), (16, 12, 2)]]
    assert found == (expected if norm == "instance" else [[]] * 4)


# --- reach ---


@pytest.mark.parametrize("antialias, antialias_up", VARIANTS)
def test_tiles_depend_on_no_more_than_the_halos(antialias, antialias_up):
    generator = narrow(antialias, antialias_up, width=1)
    variables = positive_like(shapes_of(generator))
    encode, block, _, decode = generator.stages()

    def part(stage, first, last):
        run = functools.partial(stage.run, variables, normalize=lambda x: x, origin=jnp.zeros(2, jnp.int32))
        return lambda x: (run(x), slice(first, last))

    encoded = reach(part(encode, 5, 7), 48, 3, 4 * 5, 4 * 7)
    passed = reach(part(block, 6, 8), 16, 4, 6, 8)
    decoded = reach(part(decode, 4 * 5, 4 * 7), 12, 4, 5, 7)
    # With blurs the halos are as small as they can be; without, the reach is shorter.
    assert max(encoded) == (encode.halo if antialias else 6)
    assert max(passed) == block.halo
    assert max(decoded) == (decode.halo if antialias_up else 2)


@pytest.mark.parametrize("tap, field", [(0, 1), (4, 9), (8, 15), (12, 35), (16, 99)])
def test_features_see_the_published_fields(tap, field):
    """Sides of the patches that the loss compares."""
    generator, side = narrow(width=1, blocks=5, norm="none"), 112
    variables = positive_like(shapes_of(generator))
    place = generator.tap_sizes(side, side)[tap][0] // 2

    def feature(x):
        maps = generator.apply(variables, x, (tap,), method="features")[tap]
        return maps, slice(place, place + 1)

    assert sum(reach(feature, side, 3, 0, 0)) == field


# --- batch norm, precision, gradients ---


def test_batch_norm_learns_statistics_in_training_only():
    check_statistics(narrow(norm="batch"))


@functools.cache
def outputs(dtype):
    """Run the network from one set of weights with the given compute type."""
    generator, images = narrow(width=4, dtype=dtype), normal(2, 16, 16, 3)
    shapes = shapes_of(generator)
    run = jax.jit(lambda variables: generator.apply(variables, images, taps=(0, 4)))
    return shapes, *run(random_like(shapes))


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    exact_shapes, exact, _ = outputs(jnp.float32)
    shapes, half, features = outputs(jnp.bfloat16)
    assert jax.tree.map(lambda leaf: leaf.dtype, shapes) == jax.tree.map(lambda leaf: leaf.dtype, exact_shapes)
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, half))} == {jnp.dtype("float32")}
    assert {maps.dtype for maps in features.values()} == {jnp.dtype("bfloat16")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1


def test_translations_lie_in_the_range_of_images():
    image = outputs(jnp.float32)[1]
    assert image.shape == (2, 16, 16, 3) and 0.1 < np.abs(image).max() <= 1


@pytest.mark.parametrize("height, width", [(8, 8), (8, 20), (64, 12)])
def test_generator_takes_images_of_any_size(height, width):
    generator = narrow(channels=1, target_channels=5)
    images = jax.ShapeDtypeStruct((2, height, width, 1), jnp.float32)
    variables = jax.eval_shape(generator.init, jax.random.key(0), images)
    assert jax.eval_shape(generator.apply, variables, images).shape == (2, height, width, 5)


def test_gradients_are_finite_where_a_norm_sees_a_constant():
    generator, discriminator = narrow(), PatchDiscriminator(2, 1)
    variables = random_like({"generator": shapes_of(generator), "discriminator": shapes_of(discriminator)})

    def loss(variables, images):
        drawn, features = generator.apply(variables["generator"], images, taps=(4, 12))
        judged = discriminator.apply(variables["discriminator"], drawn)
        return judged.sum() + sum(maps.sum() for maps in features.values())

    gradients = jax.jit(jax.grad(loss, (0, 1)))(variables, jnp.zeros((1, 16, 16, 3)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
