"""Inception-v3: its shapes, without computing any. Golden values have its numbers."""

import jax
import jax.numpy as jnp
import pytest

from tests.nn.arrays import count, shapes_of
from uit_jax.nn.inception import Inception

SHAPES = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits": 1008}


@pytest.fixture(scope="module")
def variables():
    return shapes_of(Inception(), jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32))


def test_it_has_as_many_weights_as_the_published_one(variables):
    """torchvision counts 27,161,264 with 3,326,696 of the auxiliary head; of 1008 in place of 1000 classes."""
    assert count(variables["params"]) == 27_161_264 - 3_326_696 + 8 * 2049
    assert count(variables["batch_stats"]) == 2 * 17_216


@pytest.mark.parametrize("height, width", [(75, 75), (299, 200)])
def test_images_of_many_sizes_are_seen(variables, height, width):
    found = jax.eval_shape(Inception().apply, variables, jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32))
    assert {name: leaf.shape for name, leaf in found.items()} == {name: (2, width) for name, width in SHAPES.items()}
