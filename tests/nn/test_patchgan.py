"""Discriminators of patches and pixels: published sizes and fields, numpy, batch norm, precision."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import check_statistics, count, image, normal, positive_like, random_like, reach, shapes_of
from uit_jax.nn.patchgan import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    PixelDiscriminator,
    smallest,
    smallest_of_scales,
)


def test_every_weight_is_drawn_by_the_chosen_initialiser():
    discriminator = PatchDiscriminator(width=16, layers=2, norm="batch", gain=0.5)
    params = jax.jit(discriminator.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    np.testing.assert_allclose(params["conv_2"]["conv"]["kernel"].std(), 0.5 * math.sqrt(2 / (16 * 96)), rtol=0.05)
    scale = params["norm_2"]["batch"]["scale"]
    assert abs(scale.mean() - 1) < 0.3 and 0.3 < scale.std() < 0.7
    assert (params["norm_2"]["batch"]["bias"] == 0).all()


def test_it_has_the_published_size_with_and_without_blurs():
    """CUT's, and CycleGAN's: the weights of blurs are constants."""
    for antialias in (True, False):
        assert count(shapes_of(PatchDiscriminator(antialias=antialias))["params"]) == 2_764_737


def test_it_is_cyclegans_without_blurs():
    """Strides, kernels and widths of arXiv:1703.10593 as published, and weights N(0, 0.02)."""
    discriminator = PatchDiscriminator(antialias=False, initializer="normal")
    params = shapes_of(discriminator)["params"]
    found = [params[name]["conv"]["kernel"].shape for name in ("conv_0", "conv_1", "conv_2", "conv_3", "logits")]
    assert found == [(4, 4, *widths) for widths in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1))]
    params = jax.jit(discriminator.clone(width=8).init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    for module in params.values():
        kernel = module["conv"]["kernel"]
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=5 / math.sqrt(2 * kernel.size))
        assert (module["conv"]["bias"] == 0).all()


def test_only_instance_norm_leaves_the_inner_convolutions_a_bias():
    for norm in ("instance", "batch", "none"):
        params = shapes_of(PatchDiscriminator(2, 2, norm=norm))["params"]
        biased = {name for name, module in params.items() if "bias" in module.get("conv", {})}
        inner = {"conv_1", "conv_2"} if norm == "instance" else set()
        assert biased == {"conv_0", "logits"} | inner


@pytest.mark.parametrize("antialias, field", [(True, 84), (False, 70)])
def test_patch_discriminator_sees_patches_of_the_published_size(antialias, field):
    discriminator = PatchDiscriminator(width=1, antialias=antialias, norm="none")
    variables = positive_like(shapes_of(discriminator))
    logits = jax.eval_shape(discriminator.apply, variables, jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32))
    assert logits.shape == (1, 30, 30, 1)

    def seen(x):
        return discriminator.apply(variables, x), slice(7, 8)

    assert sum(reach(seen, 128, 3, 0, 0)) == field


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4, 5])
def test_smallest_is_the_smallest_side_with_a_logit(layers, antialias):
    discriminator, side = PatchDiscriminator(width=1, layers=layers, antialias=antialias), smallest(layers)
    variables = shapes_of(discriminator, image(side))

    def logits(side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return jax.eval_shape(discriminator.apply, variables, images).shape

    assert logits(side) == (1, 1, 1, 1) and 0 in logits(side - 1)


def test_patch_discriminator_widens_to_eight_times():
    params = shapes_of(PatchDiscriminator(2, 5), image(96))["params"]
    assert [params[f"conv_{i}"]["conv"]["kernel"].shape[3] for i in range(6)] == [2, 4, 8, 16, 16, 16]


def test_pixel_discriminator_sees_every_pixel_alone():
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


@pytest.mark.parametrize("module", [PatchDiscriminator(2, 1, norm="batch"), PixelDiscriminator(2, "batch")])
def test_batch_norm_learns_statistics_in_training_only(module):
    check_statistics(module)


@pytest.mark.parametrize("module", [PatchDiscriminator(4, 2), PixelDiscriminator(4)])
def test_bf16_keeps_parameters_and_outputs_float32_and_is_near(module):
    half, images = module.clone(dtype=jnp.bfloat16), normal(2, 16, 16, 3)
    assert shapes_of(half) == shapes_of(module)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes_of(half))} == {jnp.dtype("float32")}
    variables = random_like(shapes_of(module))
    exact, near = jax.jit(lambda v: (module.apply(v, images), half.apply(v, images)))(variables)
    assert exact.dtype == near.dtype == jnp.float32
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    assert 1e-5 < np.abs(near - exact).mean() / np.std(exact) < 0.1


def test_the_discriminator_of_several_sizes_is_munits():
    """One network for each size, of the published number of parameters; weights N(0, 0.02)."""
    discriminator = MultiScaleDiscriminator()
    params = shapes_of(discriminator, image(64))["params"]
    assert count(params) == 8_271_171
    logits = jax.eval_shape(discriminator.apply, {"params": params}, image(256))
    assert [each.shape for each in logits] == [(1, 16, 16, 1), (1, 8, 8, 1), (1, 4, 4, 1)]
    narrow = discriminator.clone(width=8, layers=2)
    params = jax.jit(narrow.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    for module in params.values():
        kernel = module["conv"]["kernel"]
        np.testing.assert_allclose(kernel.std(), 0.02, rtol=5 / math.sqrt(2 * kernel.size))
        assert (module["conv"]["bias"] == 0).all()


@pytest.mark.parametrize("layers, scales", [(1, 1), (4, 3), (3, 2), (2, 4)])
def test_smallest_of_scales_is_the_smallest_side_with_a_logit_of_each(layers, scales):
    discriminator, side = MultiScaleDiscriminator(1, layers, scales), smallest_of_scales(layers, scales)
    variables = shapes_of(discriminator, image(64))

    def logits(side):
        return jax.eval_shape(discriminator.apply, variables, image(side))[-1]

    assert logits(side).shape[1:3] == (1, 1)
    assert 0 in logits(side - 1).shape
