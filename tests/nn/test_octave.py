"""SEMIT's octave convolutions: which channels are kept, and sizes; the golden values have the rest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import normal, random_like
from uit_jax.nn import octave, resampling
from uit_jax.nn.convs import Conv


@pytest.mark.parametrize("alpha, kept", [(0.0, 5), (0.3, 3), (0.5, 2), (1.0, 0)])
def test_of_all_channels_the_first_are_high_and_the_others_low(alpha, kept):
    maps = np.ones((2, 4, 4, 5)), np.ones((2, 2, 2, 5))
    high, low = map(np.asarray, octave.parted(maps, jnp.full(2, alpha)))
    assert (high == (np.arange(5) < kept)).all() and (low == (np.arange(5) >= kept)).all()
    # Each image has its own share.
    high, _ = octave.parted(maps, jnp.array([0.0, alpha]))
    assert high[0].all() and high[1].sum() == 16 * kept


class Published(nn.Module):
    """Doubling by repetition of both maps, then an octave convolution, in the order of the published code."""

    @nn.compact
    def __call__(self, maps, alpha):
        high, low = map(resampling.repeat, maps)
        convs = {
            name: Conv(3, 3, pad=1, use_bias=False, name=name)
            for name in ("high_high", "low_high", "low_low", "high_low")
        }
        to_high = convs["high_high"](high) + resampling.repeat(convs["low_high"](low))
        to_low = convs["low_low"](low) + convs["high_low"](resampling.average_pool(high))
        return octave.parted((to_high, to_low), alpha)


def test_enlarging_equals_repetition_and_convolution():
    maps, alpha = (normal(2, 8, 4, 5), normal(2, 4, 2, 5)), jnp.full(2, 0.4)
    modules = octave._Enlarging(3, jnp.float32), Published()
    starts = [module.init(jax.random.key(0), maps, alpha) for module in modules]
    assert jax.tree.map(jnp.shape, starts[0]) == jax.tree.map(jnp.shape, starts[1])
    own, published = (jax.jit(module.apply)(random_like(starts[0]), maps, alpha) for module in modules)
    for one, other in zip(own, published, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_images_of_any_size_that_is_a_multiple_go_through():
    module, alpha = octave.AutoEncoder(style_dim=3, width=2, blocks=1, mlp_width=4), np.zeros(1, np.float32)
    for height, width in ((16, 16), (24, 40)):
        images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        params = jax.eval_shape(module.init, jax.random.key(0), images, alpha)
        high, low = jax.eval_shape(lambda p, x: module.apply(p, x, alpha, method="read_content"), params, images)
        assert high.shape == (1, height // 4, width // 4, 8) and low.shape == (1, height // 8, width // 8, 8)
        assert jax.eval_shape(module.apply, params, images, alpha).shape == images.shape
    assert module.multiple == 8
