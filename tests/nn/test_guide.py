"""TUNIT's guiding network: its size is the published one's, its inputs' sizes free, its precision a choice."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.nn.arrays import count, image, normal, random_like, shapes_of, stats_like
from uit_jax.nn.guide import GuidingNetwork

NARROW = GuidingNetwork(3, 6, width=4, stages=(1, 1))


def test_guiding_network_has_the_published_size():
    assert count(shapes_of(GuidingNetwork(10), image(128), train=True)["params"]) == 9_296_778


def test_guiding_network_takes_images_of_any_size():
    variables = shapes_of(NARROW, image(8), train=True)
    images = jax.ShapeDtypeStruct((2, 13, 6, 3), jnp.float32)
    logits, style = jax.eval_shape(lambda v, x: NARROW.apply(v, x, train=False), variables, images)
    assert logits.shape == (2, 3) and style.shape == (2, 6)


def test_bf16_keeps_parameters_and_outputs_float32_and_is_near():
    images, shapes, out = normal(2, 16, 16, 3), {}, {}
    for dtype in (jnp.float32, jnp.bfloat16):
        network = NARROW.clone(dtype=dtype)
        shapes[dtype] = shapes_of(network, images, train=True)
        params, stats = random_like(shapes[dtype]["params"], 0.2), stats_like(shapes[dtype]["batch_stats"])

        @jax.jit
        def run(params, network=network, stats=stats):
            return network.apply({"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"])

        out[dtype] = run(params)
    assert shapes[jnp.bfloat16] == shapes[jnp.float32]
    assert {leaf.dtype for leaf in jax.tree.leaves([*shapes.values(), *out.values()])} == {jnp.dtype("float32")}
    # Eight bits of mantissa: a few per cent of an output's spread, and not nothing.
    for exact, half in zip(out[jnp.float32][0], out[jnp.bfloat16][0], strict=True):
        assert 1e-5 < np.abs(half - exact).mean() / np.std(exact) < 0.1
