"""CUT's networks: filters and layers against numpy, published sizes, numbered features, parts, reach."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from uit_jax.nn import cut
from uit_jax.nn.cut import PatchDiscriminator, PatchMLP, PixelDiscriminator, ResNetGenerator
from uit_jax.nn.layers import instance_norm


@pytest.fixture(autouse=True, scope="module")
def quick_compile():
    with table.quick_compile():
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shapes_of(module, *shape, **options):
    """Return the shapes of a network's variables for images of a shape, without computing any."""
    image = jax.ShapeDtypeStruct(shape or (1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(functools.partial(module.init, **options), jax.random.key(0), image)


def random_like(tree, scale=0.3):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.array(scale * rng.normal(size=leaf.shape), jnp.float32), tree)


def positive_like(tree):
    """Variables with which every unit is active, so that no dependence is hidden."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.array(rng.uniform(0.5, 1, leaf.shape) / 50, jnp.float32), tree)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


# --- filters ---


def ramp(side):
    return jnp.broadcast_to(jnp.arange(side, dtype=jnp.float32)[None, :, None, None], (1, side, side, 1))


def test_filters_have_the_published_values_on_ramps():
    for transpose in ((0, 1, 2, 3), (0, 2, 1, 3)):
        up = cut.blur_up(ramp(4).transpose(transpose)).transpose(transpose)
        down = cut.blur_down(ramp(8).transpose(transpose)).transpose(transpose)
        for column in range(4):
            np.testing.assert_array_equal(up[0, :, column, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
            np.testing.assert_array_equal(down[0, :, column, 0], [0.5, 2, 4, 6])


@pytest.mark.parametrize("height, width", [(2, 3), (4, 6), (7, 4), (9, 11)])
def test_blur_down_is_a_strided_convolution(height, width):
    x = normal(2, height, width, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = np.empty((2, math.ceil(height / 2), math.ceil(width / 2), 3))
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, i, j] = np.einsum("bhwc,hw->bc", window, kernel)
    np.testing.assert_allclose(cut.blur_down(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


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
    np.testing.assert_allclose(cut.blur_up(jnp.asarray(x)), spread[:, 3:-3, 3:-3], rtol=1e-5, atol=1e-6)


def test_up_convolution_is_torchs_transposed_convolution():
    """Kernel 3, stride 2, padding 1, output padding 1: pixel i adds tap k to 2 i - 1 + k."""
    x, kernel, bias = normal(2, 3, 4, 3), normal(3, 3, 3, 2, seed=1), normal(2, seed=2)
    layer = cut._UpConv(2, True, cut.initializer("normal"))
    ours = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    spread = np.zeros((2, 8, 10, 2))
    for i in range(3):
        for j in range(4):
            added = np.einsum("bc,pqco->bpqo", x[:, i, j], kernel)
            spread[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += added
    np.testing.assert_allclose(ours, spread[:, 1:7, 1:9] + bias, rtol=1e-4, atol=1e-5)


# --- initialisers ---


def test_initialisers_are_torchs():
    shape = (3, 3, 60, 40)

    def drawn(name, gain):
        return np.asarray(cut.initializer(name, gain)(jax.random.key(0), shape))

    np.testing.assert_allclose(drawn("xavier", 0.5).std(), 0.5 * math.sqrt(2 / (9 * 100)), rtol=0.02)
    np.testing.assert_allclose(drawn("normal", 0.5).std(), 0.5, rtol=0.02)
    np.testing.assert_allclose(drawn("kaiming", 0.5).std(), math.sqrt(2 / (9 * 60)), rtol=0.02)
    flat = drawn("orthogonal", 0.5).reshape(-1, 40)
    np.testing.assert_allclose(flat.T @ flat, 0.25 * np.eye(40), atol=1e-5)


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
    discriminator = PatchDiscriminator(width=16, layers=2, norm="batch", gain=0.5)
    params = jax.jit(discriminator.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    np.testing.assert_allclose(params["conv_2"]["conv"]["kernel"].std(), 0.5 * math.sqrt(2 / (16 * 96)), rtol=0.05)
    scale = params["norm_2"]["batch"]["scale"]
    assert abs(scale.mean() - 1) < 0.3 and 0.3 < scale.std() < 0.7
    assert (params["norm_2"]["batch"]["bias"] == 0).all()


# --- sizes ---


def test_networks_have_the_published_sizes():
    assert count(shapes_of(ResNetGenerator())["params"]) == 11_378_179
    assert count(shapes_of(PatchDiscriminator())["params"]) == 2_764_737
    # The weights of blurs are constants there, so that a variant has as many.
    assert count(shapes_of(ResNetGenerator(antialias=False, antialias_up=False))["params"]) == 11_378_179
    channels = ResNetGenerator().tap_channels()
    sampled = {tap: jax.ShapeDtypeStruct((1, 1, channels[tap]), jnp.float32) for tap in (0, 4, 8, 12, 16)}
    assert count(jax.eval_shape(PatchMLP().init, jax.random.key(0), sampled)["params"]) == 560_384


def test_only_instance_norm_leaves_the_convolutions_a_bias():
    for norm in ("instance", "batch", "none"):
        params = shapes_of(ResNetGenerator(width=2, blocks=1, norm=norm, antialias_up=False))["params"]
        for module in (params["stem"]["conv"], params["block_0"]["conv_1"]["conv"], params["up_1"]):
            assert ("bias" in module) == (norm == "instance")
        assert "bias" in params["image"]["conv"]
        params = shapes_of(PatchDiscriminator(2, 2, norm=norm))["params"]
        biased = {name for name, module in params.items() if "bias" in module.get("conv", {})}
        inner = {"conv_1", "conv_2"} if norm == "instance" else set()
        assert biased == {"conv_0", "logits"} | inner


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
            close(found[conv + 3], cut.blur_down(found[conv + 2]))
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
        close(found[block + 2], cut.blur_up(found[block + 1]))
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


@pytest.mark.parametrize("norm", NORMS)
def test_parts_make_the_whole(norm):
    generator = narrow(norm=norm)
    variables = jax.tree.map(jnp.abs, random_like(shapes_of(generator)))
    images = normal(2, 8, 12, 3)

    @jax.jit
    def both(variables):
        maps = images
        for part in ("encode", "transform", "decode"):
            maps = generator.apply(variables, maps, method=part)
        return maps, generator.apply(variables, images)

    parts, whole = both(variables)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_given_normalization_stands_in_for_every_instance_norm(norm):
    generator = narrow(norm=norm)
    variables = shapes_of(generator)
    calls = []

    def normalize(x):
        calls.append(x.shape[1:])
        return instance_norm(x)

    found = {}
    maps = jax.ShapeDtypeStruct((1, 16, 12, 3), jnp.float32)
    for part in ("encode", "transform", "decode"):
        calls.clear()
        run = functools.partial(generator.apply, normalize=normalize, method=part)
        maps = jax.eval_shape(run, variables, maps)
        found[part] = list(calls)
    expected = {
        "encode": [(16, 12, 2), (16, 12, 4), (8, 6, 8)],
        "transform": [(4, 3, 8)] * 4,
        "decode": [(8, 6, 4), (16, 12, 2)],
    }
    assert found == (expected if norm == "instance" else dict.fromkeys(expected, []))


# --- reach ---


def reach(function, side, channels, start, stop):
    """Return how many pixels before `start` and after `stop` inputs matter to outputs there, along both axes.

    `function` maps [1, side, side, channels] to (maps, the slice of a line of maps whose dependence is asked for).
    """

    def total(x):
        maps, core = function(x)
        return maps[:, core, core].sum()

    x = np.random.default_rng(0).uniform(0.5, 1, (1, side, side, channels))
    gradient = jax.jit(jax.grad(total))(jnp.asarray(x))
    lines = []
    for axis in (2, 1):
        touched = np.flatnonzero(np.abs(gradient).sum((0, axis, 3)))
        assert touched[0] > 0 and touched[-1] < side - 1
        lines.append((start - touched[0], touched[-1] + 1 - stop))
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.parametrize("antialias, antialias_up", VARIANTS)
def test_tiles_depend_on_no_more_than_the_halos(antialias, antialias_up):
    generator = narrow(antialias, antialias_up, width=1)
    variables = positive_like(shapes_of(generator))

    def part(name, first, last):
        run = functools.partial(generator.apply, variables, normalize=lambda x: x, method=name)
        return lambda x: (run(x), slice(first, last))

    encoded = reach(part("encode", 5, 7), 48, 3, 4 * 5, 4 * 7)
    transformed = reach(part("transform", 6, 8), 16, 4, 6, 8)
    decoded = reach(part("decode", 4 * 5, 4 * 7), 12, 4, 5, 7)
    halos = cut.ENCODE_HALO, cut.TRANSFORM_HALO * generator.blocks, cut.DECODE_HALO
    # With blurs the halos are as small as they can be; without, the reach is shorter.
    assert max(encoded) == (halos[0] if antialias else 6)
    assert max(transformed) == halos[1]
    assert max(decoded) == (halos[2] if antialias_up else 2)


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


@pytest.mark.parametrize("antialias, field", [(True, 84), (False, 70)])
def test_patch_discriminator_judges_patches_of_the_published_size(antialias, field):
    discriminator = PatchDiscriminator(width=1, antialias=antialias, norm="none")
    variables = positive_like(shapes_of(discriminator))
    logits = jax.eval_shape(discriminator.apply, variables, jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32))
    assert logits.shape == (1, 30, 30, 1)

    def judged(x):
        return discriminator.apply(variables, x), slice(7, 8)

    assert sum(reach(judged, 128, 3, 0, 0)) == field


# --- discriminators ---


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4, 5])
def test_smallest_is_the_smallest_side_with_a_logit(layers, antialias):
    discriminator, side = PatchDiscriminator(width=1, layers=layers, antialias=antialias), cut.smallest(layers)
    variables = shapes_of(discriminator, 1, side, side, 3)

    def logits(side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return jax.eval_shape(discriminator.apply, variables, images).shape

    assert logits(side) == (1, 1, 1, 1) and 0 in logits(side - 1)


def test_patch_discriminator_widens_to_eight_times():
    params = shapes_of(PatchDiscriminator(2, 5), 1, 96, 96, 3)["params"]
    assert [params[f"conv_{i}"]["conv"]["kernel"].shape[3] for i in range(6)] == [2, 4, 8, 16, 16, 16]


def test_pixel_discriminator_judges_every_pixel_alone():
    discriminator = PixelDiscriminator(4, "none")
    params = jax.tree.map(np.asarray, random_like(shapes_of(discriminator)["params"]))
    images = normal(2, 3, 5, 3)
    logits = discriminator.apply({"params": params}, images)
    x = leaky(images @ params["conv_0"]["conv"]["kernel"][0, 0] + params["conv_0"]["conv"]["bias"])
    x = leaky(x @ params["conv_1"]["conv"]["kernel"][0, 0])
    assert x.shape[-1] == 8
    np.testing.assert_allclose(logits, x @ params["logits"]["conv"]["kernel"][0, 0], rtol=1e-4, atol=1e-5)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


# --- batch norm, precision, gradients ---


@pytest.mark.parametrize(
    "module", [narrow(norm="batch"), PatchDiscriminator(2, 1, norm="batch"), PixelDiscriminator(2, "batch")]
)
def test_batch_norm_learns_statistics_in_training_only(module):
    shapes = shapes_of(module)
    variables = {"params": random_like(shapes["params"]), "batch_stats": stats_like(shapes["batch_stats"])}
    images = normal(3, 16, 16, 3)
    train = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    evaluate = jax.jit(module.apply)
    out, changed = jax.jit(train)(variables, images)
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), changed["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(moved))
    assert np.abs(evaluate(variables, images) - out).max() > 1e-3
    # An example's output does not depend on the others with the statistics of training.
    np.testing.assert_allclose(evaluate(variables, images)[:1], evaluate(variables, images[:1]), rtol=1e-4, atol=1e-5)


def stats_like(tree):
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (jnp.ones if path[-1].key == "var" else jnp.zeros)(leaf.shape), tree
    )


@functools.cache
def outputs(dtype):
    """Run the networks from one set of weights with the given compute type."""
    generator, images = narrow(width=4, dtype=dtype), normal(2, 16, 16, 3)
    discriminators = {"patch": PatchDiscriminator(4, 2, dtype=dtype), "pixel": PixelDiscriminator(4, dtype=dtype)}
    shapes = {name: shapes_of(module) for name, module in (discriminators | {"generator": generator}).items()}

    @jax.jit
    def run(variables):
        drawn, features = generator.apply(variables["generator"], images, taps=(0, 4))
        judged = {name: module.apply(variables[name], images) for name, module in discriminators.items()}
        return judged | {"image": drawn}, features

    return shapes, *run(random_like(shapes))


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    exact_shapes, exact, _ = outputs(jnp.float32)
    shapes, half, features = outputs(jnp.bfloat16)
    assert jax.tree.map(lambda leaf: leaf.dtype, shapes) == jax.tree.map(lambda leaf: leaf.dtype, exact_shapes)
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, half))} == {jnp.dtype("float32")}
    assert {maps.dtype for maps in features.values()} == {jnp.dtype("bfloat16")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    for name in exact:
        error = np.abs(half[name] - exact[name]).mean() / np.std(exact[name])
        assert 1e-5 < error < 0.1, (name, error)


def test_translations_lie_in_the_range_of_images():
    image = outputs(jnp.float32)[1]["image"]
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


# --- patches ---


def test_patch_mlp_maps_every_tap_by_layers_of_its_own():
    features = {8: normal(2, 5, 6), 0: normal(2, 4, 3, seed=1)}
    module = PatchMLP(dim=7)
    shapes = jax.eval_shape(module.init, jax.random.key(0), features)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == {
        "tap_0_0": {"kernel": (3, 7), "bias": (7,)},
        "tap_0_1": {"kernel": (7, 7), "bias": (7,)},
        "tap_8_0": {"kernel": (6, 7), "bias": (7,)},
        "tap_8_1": {"kernel": (7, 7), "bias": (7,)},
    }
    params = jax.tree.map(np.asarray, random_like(shapes, 1.0))
    codes = module.apply({"params": params}, features)
    for tap, x in features.items():
        first, second = params[f"tap_{tap}_0"], params[f"tap_{tap}_1"]
        hidden = np.maximum(x @ first["kernel"] + first["bias"], 0)
        np.testing.assert_allclose(codes[tap], hidden @ second["kernel"] + second["bias"], rtol=1e-4, atol=1e-5)
