"""LPIPS: what any distance of images keeps to. Golden values have its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import image, normal, random_like, shapes_of
from uit_jax.nn.lpips import LPIPS, SLICES


def test_an_image_is_at_no_distance_from_itself():
    network = LPIPS("alex")
    variables = random_like(shapes_of(network, image(31), image(31)))
    one, other = (jnp.tanh(normal(2, 31, 31, 3, seed=seed)) for seed in (1, 2))
    distance = jax.jit(network.apply)
    found = distance(variables, one, other)
    assert found.shape == (2,) and (distance(variables, one, one) == 0).all()
    np.testing.assert_allclose(found, distance(variables, other, one), rtol=1e-6)
    # Of each pair by itself, whatever else is in the batch.
    np.testing.assert_allclose(found[::-1], distance(variables, one[::-1], other[::-1]), rtol=1e-6)
    # Where nothing is seen, nothing differs.
    assert (distance(jax.tree.map(jnp.zeros_like, variables), one, other) == 0).all()


@pytest.mark.parametrize("kind, sides", [("alex", [15, 7, 3, 3, 3]), ("vgg", [64, 32, 16, 8, 4])])
def test_images_are_compared_behind_five_slices(kind, sides):
    network = LPIPS(kind)
    shapes = shapes_of(network, image(64), image(64))
    found = jax.eval_shape(lambda variables, x: network.apply(variables, x, method="features"), shapes, image(64))
    widths = [layers[-1].features for _, layers in SLICES[kind]]
    assert [leaf.shape for leaf in found] == [(1, side, side, width) for side, width in zip(sides, widths, strict=True)]
