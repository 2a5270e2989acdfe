"""FUNIT's weights under the published names, both ways."""

import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, shapes, weights, zeros
from uit_jax import convert, methods
from uit_jax import tensors as files
from uit_jax.convert.funit import FUNIT
from uit_jax.errors import UserError
from uit_jax.nn.funit import PatchDiscriminator
from uit_jax.nn.munit import AutoEncoder

# By how their lists of keys begin: the network, and the number of its parameters.
PUBLISHED = {
    "G": ("gen", AutoEncoder(style_dim=64, downs=3, blocks=2, norm="instance"), 29_866_435),
    "D": ("dis", PatchDiscriminator(119), 54_252_599),
}
KEYS = {title.partition(" (")[0]: keys for title, keys in published_keys("keys_funit.txt").items()}
SETTINGS = {
    "image_size": 32,
    "load_size": 32,
    "channels": 1,
    "domains": 4,
    "style_dim": 5,
    "generator": {"width": 2, "downs": 2, "blocks": 3, "style_downs": 3, "mlp_width": 7, "mlp_layers": 4},
    "discriminator": {"width": 3, "max_width": 10, "stages": 3},
}
READ = {name: SETTINGS[name] for name in ("channels", "domains", "style_dim", "generator", "discriminator")}


def state_of(seed):
    return published.state_of("funit", SETTINGS, seed)


def exported(seed):
    return FUNIT.export_state(state_of(seed))


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, module, count = PUBLISHED[listed]
    found = FUNIT.export_network(network, zeros(shapes(module, image(64))))
    assert {name: value.shape for name, value in found.items()} == KEYS[listed]
    assert sum(value.size for name, value in found.items() if ".running_" not in name) == count
    assert set(KEYS) == set(PUBLISHED)


def test_published_files_come_back_as_they_were():
    """Each holds one kind of network; the narrow ones have as many layers as the settings say."""
    found, other = exported(0), state_of(1)
    loaded = FUNIT.import_state(files.flatten(found), other)
    assert_equal(weights(loaded), weights(state_of(0)))
    assert_equal(loaded.learners["generator"].opt_state, other.learners["generator"].opt_state)
    again = FUNIT.export_state(loaded)
    assert [list(names) for names in again.values()] == [list(names) for names in found.values()]
    assert_equal(again, found)
    buffers = {name: value for name, value in found["gen"].items() if ".running_" in name}
    assert len(buffers) == 2 * 2 * 3 and all((v == n.endswith("_var")).all() for n, v in buffers.items())


@pytest.mark.parametrize("given, expected", [("gen", "gen"), ("gen_test", "gen_test")])
def test_a_generator_stands_for_its_average_and_an_average_for_its_generator(tmp_path, given, expected):
    found = exported(0)
    files.write(tmp_path / "gen.npz", {given: found[given]})
    loaded = convert.import_file(tmp_path / "gen.npz", methods.build("funit", SETTINGS), state_of(1))
    out = FUNIT.export_state(loaded)
    assert_equal(out["gen"], found[expected])
    assert_equal(out["gen_test"], found[expected])
    # What is not there stays.
    assert_equal(out["dis"], exported(1)["dis"])
    # A file of one network need not say whose it is.
    assert set(FUNIT.networks(found["gen"])) == {"gen"} and set(FUNIT.networks(found["dis"])) == {"dis"}


def test_settings_are_read_from_the_shapes():
    found = FUNIT.networks(files.flatten(exported(0)))
    assert FUNIT.settings(found) == READ
    methods.build("funit", {**SETTINGS, **FUNIT.settings(found)})
    for network, count in {"gen": 3, "gen_test": 3, "dis": 3}.items():
        read = FUNIT.settings({network: found[network]})
        assert read.items() <= READ.items() and len(read) == count


def test_what_is_of_another_kind_is_named():
    with pytest.raises(UserError, match="no network of FUNIT .gen, dis, gen_test. found; .* holds x.y"):
        FUNIT.networks({"x.y": np.zeros(2)})
    for network in ("gen", "gen_test", "dis"):
        with pytest.raises(UserError, match=f"checkpoint's {network} is none of FUNIT's.* fc.weight"):
            FUNIT.settings({network: {"fc.weight": np.zeros((2, 2))}})
    with pytest.raises(UserError, match="dis does not fit .* unexpected: cnn_f.3.conv.bias"):
        FUNIT.import_state({**files.flatten(exported(0)), "dis.cnn_f.3.conv.bias": np.zeros(2)}, state_of(0))
