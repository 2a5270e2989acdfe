"""The Swapping Autoencoder's networks: the published widths, codes, noise, sizes; golden values hold the rest."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import count, image, normal, random_like, shapes_of
from uit_jax.nn import swapping_autoencoder as nn
from uit_jax.nn.swapping_autoencoder import Discriminator, Encoder, Generator, PatchDiscriminator


def test_discriminators_have_the_published_sizes():
    for side, number in {128: 28_384_513, 256: 28_859_521, 512: 28_978_241}.items():
        assert count(shapes_of(Discriminator(side), image(side))) == number


def test_widths_follow_a_scale_as_published():
    """Those of the encoder are rounded, those of the others cut off; 768 px are as 1024 px, and end on 3 px."""
    encoder, generator = Encoder(texture_dim=1536, scale=0.4, downs=5), Generator(scale=0.8, ups=5)
    assert [encoder.width(halvings) for halvings in range(8)] == [13, 26, 51, 102, 205, 410, 819, 1536]
    assert [generator.width(doublings) for doublings in range(6)] == [409, 409, 409, 409, 204, 102]
    assert Discriminator(768).widths == Discriminator(1024).widths == (32, 64, 128, 256, 512, 512, 512, 512, 512)
    assert [PatchDiscriminator().width(side) for side in (128, 64, 32, 16, 8, 4)] == [32, 64, 128, 256, 384, 384]
    narrow = shapes_of(Discriminator(12, 0.01, 4), image(12))["params"]
    assert narrow["dense"]["kernel"].shape == (3 * 3 * 4, 4) and len(Discriminator(12).widths) == 3


NARROW = Encoder(2, 4, 0.125, downs=2, texture_downs=1), Generator(3, 0.03125, ups=2, head_blocks=2)


def codes():
    """Return both codes of images."""
    encoder, _ = NARROW
    assert (encoder.multiple, encoder.smallest) == (4, 12)
    return jax.jit(encoder.apply)(random_like(shapes_of(encoder, image(16))), normal(2, 12, 16, 3))


@functools.cache
def drawing():
    """Return codes, noise, weights and what draws by them."""
    _, generator = NARROW
    structure, texture = normal(2, 3, 4, 2), normal(2, 4)
    noise = tuple(normal(2, *each, 1, seed=number) for number, each in enumerate(generator.noise_sides(3, 4)))
    variables = random_like(shapes_of(generator, structure, texture, noise))
    return structure, texture, noise, variables, jax.jit(generator.apply)


def test_codes_are_of_length_one():
    structure, texture = codes()
    assert structure.shape == (2, 3, 4, 2) and texture.shape == (2, 4)
    for code in (structure, texture):
        np.testing.assert_allclose(jnp.linalg.norm(code, axis=-1), np.ones(code.shape[:-1]), rtol=1e-4)


def test_only_directions_of_codes_count_and_noise_by_its_strength():
    structure, texture, noise, variables, draw = drawing()
    images = draw(variables, structure, texture, noise)
    assert images.shape == (2, 12, 16, 3) and images.dtype == jnp.float32
    np.testing.assert_allclose(draw(variables, 3 * structure, 5 * texture, noise), images, rtol=1e-3, atol=1e-4)
    assert jnp.abs(draw(variables, structure, texture[::-1], noise) - images).max() > 1e-2
    assert [each.shape[1:3] for each in noise] == [(3, 4)] * 4 + [(6, 8)] * 2 + [(12, 16)] * 2
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * (path[-1].key != "strength"), variables
    )
    for number in range(len(noise)):
        other = tuple(-each if index == number else each for index, each in enumerate(noise))
        assert jnp.abs(draw(variables, structure, texture, other) - images).max() > 1e-4
        np.testing.assert_array_equal(
            draw(silent, structure, texture, other), draw(silent, structure, texture, noise)
        )


@pytest.mark.parametrize("size, blocks", [(4, 0), (8, 1), (32, 3)])
def test_patches_end_on_two_pixels(size, blocks):
    module = PatchDiscriminator(size, 0.02, 4, 6)
    shapes = shapes_of(module, image(size), image(size))
    assert sum(name.startswith("block_") for name in shapes["params"]) == blocks
    assert shapes["params"]["pair_0"]["kernel"].shape == (2 * 2 * 2 * 4, 6)
    patches = jax.ShapeDtypeStruct((5, size, size, 3), jnp.float32)
    features = functools.partial(module.apply, method="features")
    assert jax.eval_shape(features, shapes, patches).shape == (5, 2, 2, 4)
    assert jax.eval_shape(module.apply, shapes, patches, patches).shape == (5,)


def test_bf16_keeps_parameters_and_outputs_float32():
    encoder, generator = (module.clone(dtype=jnp.bfloat16) for module in NARROW)
    shapes = shapes_of(encoder, image(16))
    codes = jax.eval_shape(encoder.apply, shapes, image(16))
    noise = tuple(jax.ShapeDtypeStruct((1, *sides, 1), jnp.float32) for sides in generator.noise_sides(4, 4))
    own = shapes_of(generator, *codes, noise)
    images = jax.eval_shape(generator.apply, own, *codes, noise)
    judged = shapes_of(Discriminator(8, max_width=4, dtype=jnp.bfloat16), image(8))
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes, codes, own, images, judged))} == {jnp.dtype("float32")}


def test_a_code_of_nothing_stays_nothing():
    assert (nn.unit(jnp.zeros((1, 3))) == 0).all() and nn.unit(jnp.zeros((1, 3), jnp.bfloat16)).dtype == jnp.float32
