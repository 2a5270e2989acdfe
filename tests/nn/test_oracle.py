"""The judge's network."""

import jax
import jax.numpy as jnp

from uit_jax.nn.oracle import Oracle


def test_shapes_and_range():
    network = Oracle(3, width=4)

    def run(images):
        return network.apply(network.init(jax.random.key(0), images), images)

    logits, place = jax.eval_shape(run, jnp.zeros((2, 16, 16, 3)))
    assert logits.shape == (2, 3) and place.shape == (2, 2)
