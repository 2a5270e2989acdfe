"""SinCUT's networks of StyleGAN2's parts against numpy; features, noise, reach, second derivatives."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import count, image, leaky, normal, shapes_of
from uit_jax.losses import adversarial
from uit_jax.nn import equalized, resampling, stylegan2
from uit_jax.nn.norms import instance_norm
from uit_jax.nn.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


def drawn(tree, positive=False):
    """Draw weights; positive ones leave every unit active, so that no dependence is hidden."""
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: jnp.array(rng.normal(size=leaf.shape), jnp.float32), tree)
    return jax.tree.map(jnp.abs, tree) if positive else tree


def test_networks_have_the_published_sizes():
    assert count(shapes_of(StyleGAN2Generator(), image(64), image(64, 1))) == 3_068_404
    assert count(shapes_of(StyleGAN2Discriminator(), image(64))) == 5_885_473


def test_up_layer_is_demodulated_spread_blurred_and_noisy():
    x, noise, kernel = normal(2, 3, 4, 5), normal(2, 6, 8, 1, seed=1), normal(3, 3, 5, 2, seed=2)
    params = {"kernel": kernel, "bias": normal(2, seed=3), "strength": np.array([0.7], np.float32)}
    layer = stylegan2._UpLayer(2, jnp.float32)
    ours = layer.apply({"params": params}, x, noise)
    # Every output's weights have length 1, and a fourth of the pixels they meet are not zeros.
    weight = kernel / np.sqrt((kernel**2).sum((0, 1, 2)))
    spread = np.zeros((2, 7, 9, 2))
    for i in range(3):
        for j in range(4):
            spread[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("bc,pqco->bpqo", x[:, i, j], weight)
    blurred = 4 * np.asarray(resampling.blur(jnp.asarray(spread, jnp.float32), 1))
    np.testing.assert_allclose(ours, leaky(blurred + 0.7 * noise + params["bias"]), rtol=1e-4, atol=1e-4)
    scaled = layer.apply({"params": params | {"kernel": 9 * kernel}}, x, noise)
    np.testing.assert_allclose(scaled, ours, rtol=1e-4, atol=1e-4)


# --- noise ---


def test_position_noise_is_standard_normal_and_fixed_by_the_place():
    whole = np.asarray(stylegan2.position_noise(300, 280, jnp.zeros(2, jnp.int32)))
    assert whole.shape == (1, 300, 280, 1) and whole.dtype == np.float32
    tile = whole[:, :256, :256].ravel()
    assert abs(tile.mean()) < 0.02 and abs(tile.std() - 1) < 0.02
    assert abs((tile**4).mean() - 3) < 0.1 and abs(np.corrcoef(tile[1:], tile[:-1])[0, 1]) < 0.02
    part = jax.jit(functools.partial(stylegan2.position_noise, 40, 30))
    for row, column in ((0, 0), (7, 250), (260, 3), (255, 249)):
        expected = whole[:, row : row + 40, column : column + 30]
        np.testing.assert_array_equal(part(jnp.array([row, column])), expected)
    # It repeats, and lines before the first are lines as well.
    np.testing.assert_array_equal(part(jnp.array([-256, 512])), whole[:, :40, :30])


# --- the generator ---


@functools.cache
def run_generator():
    generator = StyleGAN2Generator(width=1, target_channels=2)
    variables = drawn(shapes_of(generator, image(16), image(16, 1)))
    images, noise = normal(2, 12, 16, 3), normal(2, 12, 16, 1, seed=1)
    taps = tuple(generator.tap_sizes(12, 16))
    return generator, variables, images, noise, *generator.apply(variables, images, noise, taps=taps)


def test_taps_are_the_values_between_the_layers():
    generator, variables, images, noise, out, found = run_generator()
    sizes, channels = generator.tap_sizes(12, 16), generator.tap_channels()
    assert list(found) == list(range(6)) and out.shape == (2, 12, 16, 2)
    assert {tap: maps.shape for tap, maps in found.items()} == {tap: (2, *sizes[tap], channels[tap]) for tap in sizes}
    np.testing.assert_array_equal(found[0], images)
    params, close = variables["params"], functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    stem = leaky(
        images @ np.asarray(params["stem"]["kernel"])[0, 0] / math.sqrt(3) + np.asarray(params["stem"]["bias"])
    )
    close(found[1], stem)
    for tap, module in ((2, "down"), (3, "block_0"), (4, "block_1"), (5, "block_2")):
        block = equalized.ResidualBlock(16, module == "down", jnp.float32)
        close(found[tap], block.apply({"params": params[module]}, found[tap - 1]))
    features = generator.apply({"params": {n: params[n] for n in ("stem", "down")}}, images, (0, 2), method="features")
    assert tuple(features) == (0, 2)
    close(features[2], found[2])


def test_published_taps():
    generator = StyleGAN2Generator()
    sizes, channels = generator.tap_sizes(64, 64), generator.tap_channels()
    assert [(*sizes[tap], channels[tap]) for tap in (0, 2, 4)] == [(64, 64, 3), (32, 32, 160), (32, 32, 160)]


def test_noise_counts_by_its_strength_alone():
    generator, variables, images, noise, out, _ = run_generator()
    silent = jax.tree.map(lambda leaf: leaf, variables)
    silent["params"]["up"]["strength"] = jnp.zeros(1)
    run = jax.jit(generator.apply)
    np.testing.assert_array_equal(run(silent, images, noise), run(silent, images, 0 * noise))
    assert np.abs(out - run(variables, images, 0 * noise)).max() > 0.01
    fresh = jax.jit(generator.init)(jax.random.key(0), images, noise)["params"]
    assert (fresh["up"]["strength"] == 0).all() and (fresh["image"]["bias"] == 0).all()


def test_tiles_depend_on_the_halo_and_no_more():
    generator = StyleGAN2Generator(width=1, channels=1, target_channels=1)
    variables = drawn(shapes_of(generator, image(16, 1), image(16, 1)), positive=True)
    side, start, stop = 72, 34, 38

    def core(x):
        return generator.apply(variables, x, jnp.zeros_like(x))[:, start:stop, start:stop].sum()

    gradient = np.asarray(jax.jit(jax.grad(core))(jnp.ones((1, side, side, 1))))
    for axis in (1, 2):
        touched = np.flatnonzero(np.abs(gradient).sum((0, axis, 3)))
        assert (start - touched[0], touched[-1] + 1 - stop) == (stylegan2.HALO, stylegan2.HALO)


def test_a_tile_with_its_halo_is_that_of_the_whole():
    """Noise included, at a border of the image and inside it."""
    generator = StyleGAN2Generator(width=1)
    (stage,) = generator.stages()
    assert stage == StyleGAN2Generator(width=1).stages()[0] and (stage.scale, stage.halo) == (1, stylegan2.HALO)
    variables = drawn(shapes_of(generator, image(16), image(16, 1)))
    images, halo = normal(1, 96, 32, 3), stylegan2.HALO + 1
    apply, run = jax.jit(generator.apply), jax.jit(lambda v, x, origin: stage.run(v, x, instance_norm, origin))
    noise, first = stylegan2.position_noise(96, 32, jnp.zeros(2, jnp.int32)), jnp.zeros(2, jnp.int32)
    expected = apply(variables, images, noise).clip(-1, 1)
    np.testing.assert_allclose(run(variables, images, first), expected, rtol=1e-3, atol=1e-3)
    # So small that nothing is clipped.
    variables["params"]["image"] = jax.tree.map(lambda leaf: leaf / 50, variables["params"]["image"])
    whole = run(variables, images, first)
    assert 0.01 < np.std(whole) and np.abs(whole).max() < 1
    for start, stop in ((0, 16), (40, 56)):
        first, last = max(start - halo, 0), stop + halo
        tile = run(variables, images[:, first:last], jnp.array([first, 0]))[:, start - first : stop - first]
        np.testing.assert_allclose(tile, whole[:, start:stop], rtol=1e-3, atol=2e-5)


# --- the discriminator ---


@pytest.mark.parametrize("size, blocks", [(8, 1), (16, 2), (64, 4)])
def test_discriminator_ends_at_four_pixels(size, blocks):
    module = StyleGAN2Discriminator(size, width=2)
    params = shapes_of(module, image(size))["params"]
    assert sum(name.startswith("block_") for name in params) == blocks
    assert params["dense"]["kernel"].shape == (16 * 128, 128)
    images = jax.ShapeDtypeStruct((5, size, size, 3), jnp.float32)
    assert jax.eval_shape(module.apply, {"params": params}, images).shape == (5, 1)


def test_discriminator_has_the_published_widths():
    module = StyleGAN2Discriminator()
    assert [module.features(side) for side in (64, 32, 16, 8, 4)] == [32, 64, 128, 256, 384]


def test_gradient_penalty_can_be_descended():
    """R1 differentiates the discriminator twice.

    Without biases, logits are in proportion to the weights of each layer that all paths take, and R1 to their square:
    by Euler's rule its slope along those weights is twice itself.
    """
    module, images = StyleGAN2Discriminator(8, 1), normal(2, 8, 8, 3)
    params = drawn(shapes_of(module, image(8)))["params"]
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * (path[-1].key == "kernel"), params)

    @jax.jit
    def penalty_and_gradient(params):
        def penalty(params):
            return adversarial.r1(lambda x: module.apply({"params": params}, x)[:, 0], images)[0]

        return jax.value_and_grad(penalty)(params)

    penalty, gradient = penalty_and_gradient(params)
    slopes = jax.tree.map(lambda leaf, slope: (leaf * slope).sum(), params, gradient)
    block = slopes["block_0"]
    common = [slopes[name]["kernel"] for name in ("stem", "last", "dense", "logit")]
    # Of the two paths of a block each has a part.
    common.append(block["layer_1"]["kernel"] + block["shortcut"]["kernel"])
    common.append(block["layer_0"]["kernel"] + block["shortcut"]["kernel"])
    assert penalty > 1e-3
    np.testing.assert_allclose(common, [2 * penalty] * 6, rtol=1e-3)


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    images, noise = normal(2, 16, 16, 3), normal(2, 16, 16, 1, seed=1)
    variables, outputs = {}, {}
    for dtype in (jnp.float32, jnp.bfloat16):
        generator = StyleGAN2Generator(width=1, dtype=dtype)
        discriminator = StyleGAN2Discriminator(16, 1, dtype=dtype)
        shapes = shapes_of(generator, images, noise), shapes_of(discriminator, images)
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
        variables = variables or drawn(shapes)

        @jax.jit
        def run(variables, generator=generator, discriminator=discriminator):
            drawn, features = generator.apply(variables[0], images, noise, taps=(2,))
            return drawn, discriminator.apply(variables[1], images), features[2]

        outputs[dtype] = run(variables)
        assert outputs[dtype][2].dtype == dtype
    for exact, half in zip(outputs[jnp.float32][:2], outputs[jnp.bfloat16][:2], strict=True):
        assert exact.dtype == half.dtype == jnp.float32
        assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1
