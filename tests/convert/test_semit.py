"""SEMIT's weights under the published names, both ways; what is FUNIT's too, its tests show."""

import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, shapes, weights, zeros
from uit_jax import methods
from uit_jax import tensors as files
from uit_jax.convert.semit import SEMIT
from uit_jax.errors import UserError
from uit_jax.nn.funit import PatchDiscriminator
from uit_jax.nn.octave import AutoEncoder

# By how their lists of keys begin: the network, what it is called with, and the number of its parameters that live.
PUBLISHED = {
    "G": ("gen", AutoEncoder(), (image(64), np.zeros(1, np.float32)), 65_606_080 - 768),
    "D": ("dis", PatchDiscriminator(119, in_place=False), (image(64),), 54_252_599),
}
KEYS = {title.partition(" (")[0]: keys for title, keys in published_keys("keys_semit.txt").items()}
SETTINGS = {
    "image_size": 16,
    "load_size": 16,
    "channels": 1,
    "domains": 4,
    "style_dim": 5,
    "generator": {"width": 2, "blocks": 3, "mlp_width": 7, "mlp_layers": 4},
    "discriminator": {"width": 3, "max_width": 10, "stages": 3},
}
READ = {name: SETTINGS[name] for name in ("channels", "domains", "style_dim", "generator", "discriminator")}


def state_of(seed):
    return published.state_of("semit", SETTINGS, seed)


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, module, inputs, count = PUBLISHED[listed]
    found = SEMIT.export_network(network, zeros(shapes(module, *inputs)))
    assert {name: value.shape for name, value in found.items()} == KEYS[listed]
    dead = (".running_", ".num_batches_tracked", "enc_class_model.bn")
    assert sum(value.size for name, value in found.items() if not any(part in name for part in dead)) == count
    assert set(KEYS) == set(PUBLISHED)


def test_published_files_come_back_as_they_were():
    """With the norms that nothing calls, whatever these are."""
    found = SEMIT.export_state(state_of(0))
    norms = [name for name in found["gen"] if "enc_class_model.bn" in name]
    assert len(norms) == 2 * 2 * 5 and (found["gen"]["enc_class_model.bn1.bnh.weight"] == 1).all()
    trained = files.flatten(found)
    trained |= {f"gen.{name}": trained[f"gen.{name}"] + 3 for name in norms}
    loaded = SEMIT.import_state(trained, state_of(1))
    assert_equal(weights(loaded), weights(state_of(0)))
    assert_equal(SEMIT.export_state(loaded), found)


def test_settings_are_read_from_the_shapes():
    found = SEMIT.networks(files.flatten(SEMIT.export_state(state_of(0))))
    assert SEMIT.settings(found) == READ
    methods.build("semit", {**SETTINGS, **SEMIT.settings(found)})
    with pytest.raises(UserError, match="checkpoint's gen is none of SEMIT's.* fc.weight"):
        SEMIT.settings({"gen": {"fc.weight": np.zeros((2, 2))}})
