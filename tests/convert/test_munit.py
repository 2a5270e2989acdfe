"""MUNIT's weights under the published names, both ways."""

import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, shapes, weights, zeros
from uit_jax import convert, methods
from uit_jax import tensors as files
from uit_jax.convert import munit
from uit_jax.errors import UserError
from uit_jax.nn.munit import AutoEncoder
from uit_jax.nn.patchgan import MultiScaleDiscriminator
from uit_jax.nn.vgg import LAYERS

# By how their lists of keys begin: the network, and the number of its parameters.
PUBLISHED = {
    "MUNIT gen_a": ("gen_a", AutoEncoder(), 15_026_187),
    "MUNIT dis_a": ("dis_b", MultiScaleDiscriminator(), 8_271_171),
}
KEYS = {title.partition(" (")[0]: keys for title, keys in published_keys("keys_munit.txt").items()}
SETTINGS = {
    "image_size": 32,
    "load_size": 32,
    "channels": 1,
    "style_dim": 5,
    "generator": {"width": 2, "downs": 3, "blocks": 2, "mlp_width": 7},
    "discriminator": {"width": 3, "layers": 3, "scales": 2},
}
READ = {name: SETTINGS[name] for name in ("channels", "style_dim", "generator", "discriminator")}


def state_of(seed):
    return published.state_of("munit", SETTINGS, seed)


def exported(seed):
    return munit.export_state(state_of(seed))


def test_every_published_list_of_keys_is_covered():
    assert set(KEYS) == {*PUBLISHED, "MUNIT vgg"}
    assert [name.removesuffix(".weight") for name in KEYS["MUNIT vgg"] if name.endswith("weight")] == list(LAYERS)


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, module, count = PUBLISHED[listed]
    found = munit.export_network(network, zeros(shapes(module, image(64))))
    assert {name: value.shape for name, value in found.items()} == KEYS[listed]
    assert sum(value.size for name, value in found.items() if ".running_" not in name) == count


@pytest.mark.parametrize("listed", PUBLISHED)
def test_a_published_file_comes_back_as_it_was(listed):
    network, module, _ = PUBLISHED[listed]
    random, tree = np.random.default_rng(0), shapes(module, image(64))
    tensors = {name: random.random(shape, np.float32) for name, shape in KEYS[listed].items()}
    # The statistics of adaptive norms are 0 and 1, and nothing reads others.
    buffers = {name: np.full_like(tensors[name], name.endswith("_var")) for name in tensors if ".running_" in name}
    found = munit.export_network(network, munit.import_network(network, tensors, tree))
    assert list(found) == list(tensors)
    assert_equal(found, tensors | buffers)


def test_both_published_files_make_a_state(tmp_path):
    """Each holds one kind of network, of both domains; torch's files keep the nesting, the others join names."""
    found = exported(0)
    for kind in ("gen", "dis"):
        files.write(tmp_path / f"{kind}.npz", {side: found[f"{kind}_{side}"] for side in "ab"})
    gen, dis = files.read(tmp_path / "gen.npz"), files.read(tmp_path / "dis.npz")
    assert "a.enc_style.model.6.weight" in gen and "b.cnns.1.3.bias" in dis
    other = state_of(1)
    loaded = munit.import_state({**gen, **dis}, other)
    assert_equal(weights(loaded), weights(state_of(0)))
    assert_equal(loaded.learners["generator_a"].opt_state, other.learners["generator_a"].opt_state)
    # Discriminators are not needed.
    only = convert.import_file(tmp_path / "gen.npz", methods.build("munit", SETTINGS), other)
    assert_equal(only.learners["generator_b"].params, loaded.learners["generator_b"].params)
    assert_equal(only.learners["discriminator_b"].params, other.learners["discriminator_b"].params)


def test_statistics_of_old_files_are_left_out():
    """Before torch 0.4 instance norms carried buffers."""
    old = files.flatten(exported(0))
    for norm in ("enc_content.model.0.norm", "dec.model.0.model.1.model.0.norm"):
        old |= {f"gen_a.{norm}.{name}": np.full(4, 7.0) for name in ("running_mean", "running_var")}
    assert_equal(weights(munit.import_state(old, state_of(1))), weights(state_of(0)))
    assert munit.settings(munit.networks(old)) == READ
    with pytest.raises(UserError, match="gen_b does not fit .* unexpected: dec.model.9.conv.bias"):
        munit.import_state(old | {"gen_b.dec.model.9.conv.bias": np.zeros(2)}, state_of(0))


def test_networks_are_told_by_their_domain_and_their_parts():
    one = np.zeros(2)
    given = ("a.mlp.model.0.fc.bias", "b.cnns.0.0.conv.bias", "dis_a.module.cnns.0.0.conv.bias", "a.x.y")
    found = munit.networks(dict.fromkeys(given, one))
    names = {name: list(tensors) for name, tensors in found.items()}
    assert names == {
        "gen_a": ["mlp.model.0.fc.bias"],
        "dis_b": ["cnns.0.0.conv.bias"],
        "dis_a": ["cnns.0.0.conv.bias"],
    }
    with pytest.raises(UserError, match="no network of MUNIT .gen_a, gen_b, dis_a, dis_b. found; .* holds a.x.y"):
        munit.networks({"a.x.y": one})


def test_settings_are_read_from_the_shapes():
    found = munit.networks(files.flatten(exported(0)))
    assert munit.settings(found) == READ
    methods.build("munit", {**SETTINGS, **munit.settings(found)})
    for network, count in {"gen_a": 3, "gen_b": 3, "dis_a": 2, "dis_b": 2}.items():
        read = munit.settings({network: found[network]})
        assert read.items() <= READ.items() and len(read) == count


@pytest.mark.parametrize("network", munit.LEARNERS)
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of MUNIT's.* fc.weight"):
        munit.settings({network: {"fc.weight": np.zeros((2, 2))}})
