"""FUNIT's and TUNIT's discriminators: published sizes, blocks equal to the published order, precision a choice."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import count, image, normal, random_like, shapes_of
from uit_jax.nn.convs import Conv
from uit_jax.nn.funit import Discriminator, PatchDiscriminator, _DiscriminatorBlock, smallest
from uit_jax.nn.norms import FilterResponseNorm
from uit_jax.nn.resampling import average_pool


@pytest.mark.parametrize("size, width, expected", [(64, 64, 33_170_122), (128, 64, 70_935_242), (256, 32, 70_983_018)])
def test_discriminator_has_the_published_size(size, width, expected):
    assert count(shapes_of(Discriminator(size, 10, width), image(size))) == expected


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    images, shapes, out = normal(2, 16, 16, 3), {}, {}
    for dtype in (jnp.float32, jnp.bfloat16):
        module = Discriminator(16, 3, width=4, blocks=1, dtype=dtype)
        shapes[dtype] = shapes_of(module, images)
        out[dtype] = jax.jit(module.apply)(random_like(shapes[dtype], 0.2), images)
    exact, half = out.values()
    assert shapes[jnp.bfloat16] == shapes[jnp.float32]
    assert {leaf.dtype for leaf in jax.tree.leaves([*shapes.values(), exact, half])} == {jnp.dtype("float32")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1


class PublishedBlock(nn.Module):
    """The discriminator's block in the order of the published code: both paths are halved after their convolutions."""

    features: int
    down: bool

    @nn.compact
    def __call__(self, x):
        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = Conv(self.features, 1, use_bias=False, name="shortcut")(x)
        y = Conv(x.shape[-1], 3, pad=1, name="conv_0")(FilterResponseNorm(name="norm_0")(x))
        if self.down:
            shortcut, y = average_pool(shortcut), average_pool(y)
        y = Conv(self.features, 3, pad=1, name="conv_1")(FilterResponseNorm(name="norm_1")(y))
        return (shortcut + y) / math.sqrt(2)


@pytest.mark.parametrize("features", [3, 5])
@pytest.mark.parametrize("down", [False, True])
def test_discriminator_blocks_equal_the_published_order(features, down):
    """In value, in every gradient, in the gradient of R1, and in the weights that they begin with."""
    ours, published = _DiscriminatorBlock(features, down, jnp.float32), PublishedBlock(features, down)
    x = jnp.array(np.random.default_rng(1).normal(size=(2, 8, 6, 3)), jnp.float32)
    jax.tree.map(np.testing.assert_array_equal, *(block.init(jax.random.key(0), x) for block in (ours, published)))
    variables = random_like(shapes_of(ours, x), 0.5)

    def compute(block):
        def wiggle(variables, x):
            return jnp.sin(block.apply(variables, x)).sum()

        def penalty(variables, x):
            return jnp.square(jax.grad(wiggle, 1)(variables, x)).sum()

        return block.apply(variables, x), jax.grad(wiggle, (0, 1))(variables, x), jax.grad(penalty)(variables, x)

    found, expected = jax.jit(lambda: (compute(ours), compute(published)))()
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1, np.abs(other).max()))


def test_the_patch_discriminator_has_the_published_size():
    params = shapes_of(PatchDiscriminator(119), image(128))["params"]
    assert count(params["logits"]) == 119 * 1_025 and count(params) == 54_252_599
    assert len([name for name in params if name.startswith("block_")]) == 10


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_patch_discriminator_takes_images_of_any_size_from_the_smallest(stages):
    network, least = PatchDiscriminator(5, 2, 6, stages, dtype=jnp.bfloat16), smallest(stages)
    for height, width in ((least, least), (2 * least, 3 * least)):
        images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
        logits, features = jax.eval_shape(network.apply, shapes_of(network, images), images)
        sides = [side // 2 ** (stages - 1) for side in (height, width)]
        assert logits.shape == (2, *sides, 5) and features.shape == (2, min(6, 2 * 2**stages))
        assert logits.dtype == features.dtype == jnp.float32
