"""ResNet-50: its size, and one of its blocks computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.convert.published import sampled
from tests.nn.arrays import count, shapes_of
from uit_jax.nn import resnet50


def test_it_has_as_many_weights_as_the_published_one():
    """torchvision counts 25,557,032 with the 1,000 classes."""
    network = resnet50.ResNet50()
    variables = shapes_of(network, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert count(variables["params"]) == 25_557_032 - 1_000 * 2_049
    assert count(variables["batch_stats"]) == 2 * 26_560
    images = jax.ShapeDtypeStruct((2, resnet50.SIDE, resnet50.SIDE, 3), jnp.float32)
    assert jax.eval_shape(resnet50.features, variables, images).shape == (2, 2_048)


def test_the_middle_is_seen_by_imagenets_mean_and_deviation(monkeypatch):
    monkeypatch.setattr(resnet50.ResNet50, "apply", lambda self, variables, images: images)
    images = np.full((1, 256, 256, 3), 1, np.float32)
    images[:, 16:240, 16:240] = 2 * np.float32(resnet50.MEANS) - 1
    seen = resnet50.features({}, jnp.asarray(images))
    assert seen.shape == (1, 224, 224, 3)
    np.testing.assert_allclose(seen, 0, atol=1e-6)


def convolved(x, kernel, stride):
    """Convolve an image [H, W, C] by a kernel [k, k, C, F], one output at a time."""
    size = len(kernel)
    x = np.pad(x, [(size // 2,) * 2] * 2 + [(0, 0)])
    places = range(0, len(x) - size + 1, stride)
    rows = [[np.tensordot(x[i : i + size, j : j + size], kernel, 3) for j in places] for i in places]
    return np.array(rows)


def test_a_block_is_what_it_is_by_hand():
    """It strides in the middle, and in its shortcut."""
    block, rng = resnet50.Bottleneck(2, 2), np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 6, 3)).astype(np.float32)
    variables = sampled(jax.eval_shape(block.init, jax.random.key(0), x))
    variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])

    def layer(name, x, stride=1):
        params, stats = (jax.tree.map(np.float64, variables[kind][name]) for kind in ("params", "batch_stats"))
        y = (convolved(x, params["conv"]["kernel"], stride) - stats["bn"]["mean"]) / np.sqrt(stats["bn"]["var"] + 1e-5)
        return y * params["bn"]["scale"] + params["bn"]["bias"]

    y = np.maximum(layer("layer_1", x[0]), 0)
    y = layer("layer_3", np.maximum(layer("layer_2", y, 2), 0))
    expected = np.maximum(y + layer("shortcut", x[0], 2), 0)
    found = block.apply(variables, x)
    assert found.shape == (1, 3, 3, 8)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)
