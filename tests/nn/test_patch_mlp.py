"""The MLP of patches against numpy."""

import jax
import numpy as np

from tests.nn.arrays import count, normal, random_like
from uit_jax.nn.patch_mlp import PatchMLP
from uit_jax.nn.resnet import ResNetGenerator


def test_patch_mlp_maps_every_tap_by_layers_of_its_own():
    features = {8: normal(2, 5, 6), 0: normal(2, 4, 3, seed=1)}
    module = PatchMLP(dim=7)
    shapes = jax.eval_shape(module.init, jax.random.key(0), features)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == {
        "tap_0_0": {"kernel": (3, 7), "bias": (7,)},
        "tap_0_1": {"kernel": (7, 7), "bias": (7,)},
        "tap_8_0": {"kernel": (6, 7), "bias": (7,)},
        "tap_8_1": {"kernel": (7, 7), "bias": (7,)},
    }
    params = jax.tree.map(np.asarray, random_like(shapes, 1.0))
    codes = module.apply({"params": params}, features)
    for tap, x in features.items():
        first, second = params[f"tap_{tap}_0"], params[f"tap_{tap}_1"]
        hidden = np.maximum(x @ first["kernel"] + first["bias"], 0)
        np.testing.assert_allclose(codes[tap], hidden @ second["kernel"] + second["bias"], rtol=1e-4, atol=1e-5)


def test_it_has_the_published_size():
    channels = ResNetGenerator().tap_channels()
    sampled = {tap: jax.ShapeDtypeStruct((1, 1, channels[tap]), np.float32) for tap in (0, 4, 8, 12, 16)}
    assert count(jax.eval_shape(PatchMLP().init, jax.random.key(0), sampled)["params"]) == 560_384
