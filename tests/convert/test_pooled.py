"""The weights of CycleGAN, GcGAN and DistanceGAN under the published names, both ways."""

import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, sampled, shapes, weights, zeros
from uit_jax import methods
from uit_jax import tensors as files
from uit_jax.convert.pooled import CYCLEGAN, DISTANCEGAN, GCGAN
from uit_jax.errors import UserError
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator

PLAIN = dict(antialias=False, antialias_up=False)
ZEROS = dict(norm="affine", border="zero")
FILES = {"keys_cyclegan.txt": CYCLEGAN, "keys_gcgan.txt": GCGAN, "keys_distancegan.txt": DISTANCEGAN}
# The names in the files, with the network and the number of its parameters.
PUBLISHED = {
    "CycleGAN G_A, G_B (resnet_9blocks, instance): 11378179 parameters": ("G_A", ResNetGenerator(**PLAIN)),
    "CycleGAN G (resnet_6blocks, instance): 7837699 parameters": ("G_B", ResNetGenerator(blocks=6, **PLAIN)),
    "CycleGAN D_A, D_B (basic, instance): 2764737 parameters": ("D_A", PatchDiscriminator(antialias=False)),
    "GcGAN G_AB, G_gc_AB (resnet_9blocks, instance): 11378179 parameters": ("G_gc_AB", ResNetGenerator(**PLAIN)),
    "GcGAN D_B, D_gc_B (basic, instance): 2764737 parameters": ("D_gc_B", PatchDiscriminator(antialias=False)),
    "DistanceGAN G_A, G_B (resnet_9blocks, instance affine): 11388675 parameters": (
        "G_A",
        ResNetGenerator(**ZEROS, **PLAIN),
    ),
    "DistanceGAN D_A, D_B (basic, instance affine): 2766529 parameters": (
        "D_B",
        PatchDiscriminator(antialias=False, norm="affine"),
    ),
}
LISTED = {listed: (file, keys) for file in FILES for listed, keys in published_keys(file).items()}
SHAPE = {
    "image_size": 16,
    "load_size": 16,
    "channels": 1,
    "target_channels": 3,
    "generator": {"width": 2, "blocks": 2},
    "discriminator": {"width": 3, "layers": 2},
}
READ = {name: SHAPE[name] for name in ("channels", "target_channels", "generator", "discriminator")}
# Each paper with a method of its, and which networks see images of A first, of B first, or of B alone.
METHODS = {
    "cyclegan": (CYCLEGAN, SHAPE | {"identity_weight": 0.0}),
    "gcgan": (GCGAN, SHAPE | {"identity_weight": 0.0, "shared": False}),
    "distancegan": (DISTANCEGAN, SHAPE),
}


def state_of(method, seed):
    return published.state_of(method, METHODS[method][1], seed)


def test_every_published_list_of_keys_is_covered():
    assert set(PUBLISHED) == set(LISTED)


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    (network, module), (file, keys) = PUBLISHED[listed], LISTED[listed]
    exported = FILES[file].export_network(network, zeros(shapes(module, image())))
    assert {name: value.shape for name, value in exported.items()} == keys
    assert sum(value.size for value in exported.values()) == int(listed.split(": ")[1].split()[0])


@pytest.mark.parametrize("listed", PUBLISHED)
def test_a_published_file_comes_back_as_it_was(listed):
    (network, module), (file, keys) = PUBLISHED[listed], LISTED[listed]
    random, tree = np.random.default_rng(0), shapes(module, image())
    tensors = {name: random.random(shape, np.float32) for name, shape in keys.items()}
    found = FILES[file].export_network(network, FILES[file].import_network(network, tensors, tree))
    assert list(found) == list(tensors)
    assert_equal(found, tensors)


def test_transposed_kernels_are_torchs():
    variables = sampled(shapes(ResNetGenerator(width=2, blocks=1, **PLAIN), image()))
    exported = CYCLEGAN.export_network("G_A", variables)
    assert exported["model.11.weight"][7, 2, 0, 1] == variables["params"]["up_0"]["kernel"][0, 1, 7, 2]


@pytest.mark.parametrize("method", ["cyclegan", "distancegan"])
def test_statistics_of_old_files_are_left_out(method):
    """Before torch 0.4 instance norms carried buffers."""
    paper, state = METHODS[method][0], state_of(method, 0)
    exported = files.flatten(paper.export_state(state))
    old, pad = dict(exported), int(method == "cyclegan")
    norms = {"G_A": (f"model.{1 + pad}", f"model.{9 + pad}.conv_block.{1 + pad}"), "D_B": ("model.3",)}
    for network, places in norms.items():
        for norm in places:
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                old[f"{network}.{norm}.{buffer}"] = np.zeros(4)
    assert_equal(weights(paper.import_state(old, state_of(method, 1))), weights(state))
    assert paper.settings(paper.networks(old)) == READ


def test_a_norm_that_scales_is_not_cyclegans():
    state = state_of("cyclegan", 0)
    scaled = files.flatten(CYCLEGAN.export_state(state)) | {"G_A.model.2.weight": np.zeros(2)}
    with pytest.raises(UserError, match="G_A does not fit .* unexpected: model.2.weight"):
        CYCLEGAN.import_state(scaled, state)


def test_networks_are_told_by_the_names_before_them():
    one = np.zeros(2)
    found = CYCLEGAN.networks({"G_A.model.1.bias": one, "net_D_B.module.model.0.bias": one, "optimizer.state": one})
    names = {name: list(tensors) for name, tensors in found.items()}
    assert names == {"G_A": ["model.1.bias"], "D_B": ["model.0.bias"]}
    # One file alone does not say which direction it is of.
    with pytest.raises(UserError, match="no network of CycleGAN .G_A, G_B, D_A, D_B. found; .* holds model.1.bias"):
        CYCLEGAN.networks({"model.1.bias": one})
    assert list(GCGAN.networks({"G_gc_AB.model.1.bias": one, "G_AB.model.1.bias": one})) == ["G_gc_AB", "G_AB"]


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_read_from_the_shapes(method):
    """Of any network, which sees images of A or of B."""
    paper, settings = METHODS[method]
    found = paper.networks(files.flatten(paper.export_state(state_of(method, 0))))
    assert set(found) == set(paper.learners)
    assert paper.settings(found) == READ
    methods.build(method, {**settings, **paper.settings(found)})
    for network, sides in paper.sides.items():
        read = paper.settings({network: found[network]})
        assert read.items() <= READ.items() and len(read) == 1 + len(sides)


@pytest.mark.parametrize("network", CYCLEGAN.learners)
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of CycleGAN's.* fc.weight"):
        CYCLEGAN.settings({network: {"fc.weight": np.zeros((2, 2))}})


@pytest.mark.parametrize("method", METHODS)
def test_a_state_survives_the_files(tmp_path, method):
    paper, state, other = METHODS[method][0], state_of(method, 0), state_of(method, 1)
    files.write(tmp_path / "run.npz", paper.export_state(state))
    loaded = paper.import_state(files.read(tmp_path / "run.npz"), other)
    assert_equal(weights(loaded), weights(state))
    name = next(iter(paper.learners.values()))
    assert_equal(loaded.learners[name].opt_state, other.learners[name].opt_state)


def test_one_network_of_a_state_can_be_loaded():
    """The published D_A discriminates B."""
    state, other = state_of("cyclegan", 0), state_of("cyclegan", 1)
    loaded = CYCLEGAN.import_state(files.flatten({"D_A": CYCLEGAN.export_state(state)["D_A"]}), other)
    assert_equal(loaded.learners["discriminator_b"].params, state.learners["discriminator_b"].params)
    for name in ("generator_ab", "generator_ba", "discriminator_a"):
        assert_equal(loaded.learners[name].params, other.learners[name].params)


def test_a_network_that_the_settings_leave_out_is_named():
    tensors = files.flatten(GCGAN.export_state(state_of("gcgan", 0)))
    shared = published.state_of("gcgan", METHODS["gcgan"][1] | {"shared": True}, 0)
    with pytest.raises(UserError, match="holds G_gc_AB, which this model's settings leave out: drop it"):
        GCGAN.import_state(tensors, shared)
