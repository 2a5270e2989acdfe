"""The weights of CycleGAN under the published names, both ways."""

import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, sampled, shapes, weights, zeros
from uit_jax import methods
from uit_jax.convert import tensors as files
from uit_jax.convert.pooled import CYCLEGAN as cyclegan
from uit_jax.errors import UserError
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator

PLAIN = dict(antialias=False, antialias_up=False)
# The names in the file, with the network and the number of its parameters.
PUBLISHED = {
    "CycleGAN G_A, G_B (resnet_9blocks, instance): 11378179 parameters": ("G_A", ResNetGenerator(**PLAIN)),
    "CycleGAN G (resnet_6blocks, instance): 7837699 parameters": ("G_B", ResNetGenerator(blocks=6, **PLAIN)),
    "CycleGAN D_A, D_B (basic, instance): 2764737 parameters": ("D_A", PatchDiscriminator(antialias=False)),
}
SETTINGS = {
    "image_size": 16,
    "load_size": 16,
    "channels": 1,
    "target_channels": 3,
    "generator": {"width": 2, "blocks": 2},
    "discriminator": {"width": 3, "layers": 2},
    "identity_weight": 0.0,
}
READ = {name: SETTINGS[name] for name in ("channels", "target_channels", "generator", "discriminator")}


def state_of(seed):
    return published.state_of("cyclegan", SETTINGS, seed)


def test_every_published_list_of_keys_is_covered():
    assert set(PUBLISHED) == set(published_keys("keys_cyclegan.txt"))


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, module = PUBLISHED[listed]
    exported = cyclegan.export_network(network, zeros(shapes(module, image())))
    assert {name: value.shape for name, value in exported.items()} == published_keys("keys_cyclegan.txt")[listed]
    assert sum(value.size for value in exported.values()) == int(listed.split(": ")[1].split()[0])


@pytest.mark.parametrize("listed", PUBLISHED)
def test_a_published_file_comes_back_as_it_was(listed):
    network, module = PUBLISHED[listed]
    random, tree, keys = np.random.default_rng(0), shapes(module, image()), published_keys("keys_cyclegan.txt")[listed]
    tensors = {name: random.random(shape, np.float32) for name, shape in keys.items()}
    found = cyclegan.export_network(network, cyclegan.import_network(network, tensors, tree))
    assert list(found) == list(tensors)
    assert_equal(found, tensors)


def test_transposed_kernels_are_torchs():
    variables = sampled(shapes(ResNetGenerator(width=2, blocks=1, **PLAIN), image()))
    exported = cyclegan.export_network("G_A", variables)
    assert exported["model.11.weight"][7, 2, 0, 1] == variables["params"]["up_0"]["kernel"][0, 1, 7, 2]


def test_statistics_of_old_files_are_left_out():
    """Before torch 0.4 instance norms carried buffers."""
    state = state_of(0)
    exported = files.flatten(cyclegan.export_state(state))
    old = dict(exported)
    for network, norms in {"G_A": ("model.2", "model.10.conv_block.2", "model.13"), "D_B": ("model.3",)}.items():
        for norm in norms:
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                old[f"{network}.{norm}.{buffer}"] = np.zeros(4)
    assert_equal(weights(cyclegan.import_state(old, state_of(1))), weights(state))
    assert cyclegan.settings(cyclegan.networks(old)) == READ
    with pytest.raises(UserError, match="G_A does not fit .* unexpected: model.2.weight"):
        cyclegan.import_state(old | {"G_A.model.2.weight": np.zeros(2)}, state)


def test_networks_are_told_by_the_names_before_them():
    one = np.zeros(2)
    found = cyclegan.networks({"G_A.model.1.bias": one, "net_D_B.module.model.0.bias": one, "optimizer.state": one})
    names = {name: list(tensors) for name, tensors in found.items()}
    assert names == {"G_A": ["model.1.bias"], "D_B": ["model.0.bias"]}
    # One file alone does not say which direction it is of.
    with pytest.raises(UserError, match="no network of CycleGAN .G_A, G_B, D_A, D_B. found; .* holds model.1.bias"):
        cyclegan.networks({"model.1.bias": one})


def test_settings_are_read_from_the_shapes():
    """Of any network: G_A and D_B see images of A, G_B and D_A of B."""
    found = cyclegan.networks(files.flatten(cyclegan.export_state(state_of(0))))
    assert cyclegan.settings(found) == READ
    methods.build("cyclegan", {**SETTINGS, **cyclegan.settings(found)})
    for network, sides in {"G_A": 2, "G_B": 2, "D_A": 1, "D_B": 1}.items():
        read = cyclegan.settings({network: found[network]})
        assert read.items() <= READ.items() and len(read) == 1 + sides


@pytest.mark.parametrize("network", cyclegan.learners)
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of CycleGAN's.* fc.weight"):
        cyclegan.settings({network: {"fc.weight": np.zeros((2, 2))}})


def test_a_state_survives_the_files(tmp_path):
    state, other = state_of(0), state_of(1)
    files.write(tmp_path / "run.npz", cyclegan.export_state(state))
    loaded = cyclegan.import_state(files.read(tmp_path / "run.npz"), other)
    assert_equal(weights(loaded), weights(state))
    assert_equal(loaded.learners["generator_ab"].opt_state, other.learners["generator_ab"].opt_state)


def test_one_network_of_a_state_can_be_loaded():
    """The published D_A discriminates B."""
    state, other = state_of(0), state_of(1)
    loaded = cyclegan.import_state(files.flatten({"D_A": cyclegan.export_state(state)["D_A"]}), other)
    assert_equal(loaded.learners["discriminator_b"].params, state.learners["discriminator_b"].params)
    for name in ("generator_ab", "generator_ba", "discriminator_a"):
        assert_equal(loaded.learners[name].params, other.learners[name].params)
