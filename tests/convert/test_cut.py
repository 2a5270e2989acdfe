"""The weights of CUT and SinCUT under the published names, both ways."""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, sampled, shapes, weights, zeros
from uit_jax import methods
from uit_jax import tensors as files
from uit_jax.convert import cut
from uit_jax.errors import UserError
from uit_jax.nn.patch_mlp import PatchMLP
from uit_jax.nn.patchgan import PatchDiscriminator, PixelDiscriminator
from uit_jax.nn.resnet import ResNetGenerator
from uit_jax.nn.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
# The file lists the buffers of SinCUT's networks, and of CUT's.
CONSTANTS = re.compile(r".*\.(filt|kernel|num_batches_tracked)")


def generator(**options):
    return shapes(ResNetGenerator(**options), image(channels=options.get("channels", 3)))


def patches(channels=(3, 128, 256, 256, 256), **options):
    taps = dict(zip((0, 4, 8, 12, 16), channels, strict=True))
    return shapes(PatchMLP(**options), {tap: jax.ShapeDtypeStruct((1, 1, c), jnp.float32) for tap, c in taps.items()})


def styled(**options):
    return shapes(StyleGAN2Generator(**options), image(), image(channels=1))


PUBLISHED = {
    "CUT G": ("G", generator, {}),
    "CUT G no_antialias": (
        "G",
        functools.partial(generator, antialias=False, antialias_up=False),
        {"antialias": False},
    ),
    "CUT D": ("D", lambda: shapes(PatchDiscriminator(), image()), {}),
    "CUT F": ("F", patches, {}),
    "SinCUT G": ("G", styled, {}),
    "SinCUT D": ("D", lambda: shapes(StyleGAN2Discriminator(), image(64)), {}),
}


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, build, options = PUBLISHED[listed]
    exported = cut.export_network(network, zeros(build()), **options)
    assert {name: value.shape for name, value in exported.items()} == published_keys("keys_cut.txt")[listed]
    counts = {
        "CUT G": 11_378_179,
        "CUT D": 2_764_737,
        "CUT F": 560_384,
        "SinCUT G": 3_068_404,
        "SinCUT D": 5_885_473,
    }
    count = sum(value.size for name, value in exported.items() if not CONSTANTS.fullmatch(name))
    assert listed not in counts or count == counts[listed]


def test_every_published_list_of_keys_is_covered():
    assert set(PUBLISHED) == set(published_keys("keys_cut.txt"))


@pytest.mark.parametrize("listed", PUBLISHED)
def test_a_published_file_comes_back_as_it_was(listed):
    network, build, options = PUBLISHED[listed]
    names, random = published_keys("keys_cut.txt")[listed], np.random.default_rng(0)
    tensors = {name: random.random(shape, np.float32) for name, shape in names.items()}
    tree = build()
    found = cut.export_network(network, cut.import_network(network, tensors, tree, **options), **options)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        if not CONSTANTS.fullmatch(name):
            np.testing.assert_array_equal(found[name], value, err_msg=name)


NARROW = {
    "resnet": ("G", functools.partial(generator, width=2, blocks=2), {}),
    "resnet without up": ("G", functools.partial(generator, width=2, blocks=1, antialias_up=False), {}),
    "resnet without down": ("G", functools.partial(generator, width=2, antialias=False), {"antialias": False}),
    "batch norm": ("G", functools.partial(generator, width=2, blocks=1, norm="batch"), {}),
    "no norm": ("G", functools.partial(generator, width=2, blocks=1, norm="none"), {}),
    "patch": ("D", lambda: shapes(PatchDiscriminator(2, 2, norm="batch"), image()), {}),
    "plain patch": ("D", lambda: shapes(PatchDiscriminator(2, 4, antialias=False), image(64)), {"antialias": False}),
    "pixel": ("D", lambda: shapes(PixelDiscriminator(2, "batch"), image()), {}),
    "mlp": ("F", functools.partial(patches, (3, 4, 5, 6, 7), dim=2), {}),
    "styled generator": ("G", functools.partial(styled, width=1), {}),
    "styled discriminator": ("D", lambda: shapes(StyleGAN2Discriminator(16, 1), image(16)), {}),
}


@pytest.mark.parametrize("case", NARROW)
def test_out_and_in_again_changes_nothing(case):
    network, build, options = NARROW[case]
    variables = sampled(build())
    exported = cut.export_network(network, variables, **options)
    assert_equal(cut.import_network(network, exported, variables, **options), variables)
    distributed = {f"module.{name}": value for name, value in exported.items()}
    assert_equal(cut.import_network(network, distributed, variables, **options), variables)
    unused = {name: value for name, value in exported.items() if not CONSTANTS.fullmatch(name)}
    assert_equal(cut.import_network(network, unused, variables, **options), variables)


@pytest.mark.parametrize("case", ["batch norm", "patch", "pixel"])
def test_batch_norm_has_torchs_names(case):
    network, build, options = NARROW[case]
    exported = cut.export_network(network, sampled(build()), **options)
    norms = {name.rsplit(".", 1)[0] for name in exported if name.endswith("running_mean")}
    expected = {"batch norm": {"model.2", "model.5", "model.9", "model.12.conv_block.2", "model.12.conv_block.6"}}
    expected["batch norm"] |= {"model.15", "model.19"}
    expected |= {"patch": {"model.4", "model.8"}, "pixel": {"net.3"}}
    assert norms == expected[case]
    for norm in norms:
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        assert {f"{norm}.{part}" for part in parts} <= set(exported)
        assert exported[f"{norm}.num_batches_tracked"].dtype == np.int64


def test_layouts_are_torchs():
    plain = sampled(generator(width=2, blocks=1, antialias_up=False))
    params, exported = plain["params"], cut.export_network("G", plain)
    assert exported["model.4.weight"][3, 1, 0, 2] == params["down_0"]["conv"]["kernel"][0, 2, 1, 3]
    assert exported["model.13.weight"].shape == (8, 4, 3, 3)
    assert exported["model.13.weight"][7, 2, 0, 1] == params["up_0"]["kernel"][0, 1, 7, 2]
    variables = sampled(patches((3, 4, 5, 6, 7), dim=2))
    assert cut.export_network("F", variables)["mlp_3.0.weight"][1, 5] == variables["params"]["tap_12_0"]["kernel"][5, 1]
    variables = sampled(styled(width=1))
    exported, params = cut.export_network("G", variables), variables["params"]
    assert exported["decoder.convs.3.conv.weight"][0, 7, 15, 0, 1] == params["up"]["kernel"][0, 1, 15, 7]
    assert exported["decoder.convs.3.activate.bias"][0, 7, 0, 0] == params["up"]["bias"][7]
    assert exported["decoder.convs.2.conv1.1.bias"][0, 5, 0, 0] == params["block_5"]["layer_0"]["bias"][5]


def test_blurs_are_written_as_the_published_constants():
    exported = cut.export_network("G", zeros(generator(width=2, blocks=1)))
    line = np.array([1, 2, 1]) / 4
    for channel in exported["model.7.filt"]:
        np.testing.assert_array_equal(channel[0], np.outer(line, line))
    line = np.array([1, 3, 3, 1]) / 4
    np.testing.assert_array_equal(exported["model.13.filt"][7, 0], np.outer(line, line))
    exported = cut.export_network("G", zeros(styled(width=1)))
    np.testing.assert_array_equal(exported["decoder.convs.3.conv.blur.kernel"], np.outer(line, line))
    np.testing.assert_array_equal(exported["encoder.convs.2.skip.0.kernel"], np.outer(line, line) / 4)


def test_keys_that_do_not_fit_are_named():
    tree = shapes(PatchDiscriminator(2), image())
    tensors = cut.export_network("D", sampled(tree))
    del tensors["model.3.bias"]
    tensors["model.99.weight"] = np.zeros(3)
    tensors["model.0.weight"] = tensors["model.0.weight"][:, :1]
    with pytest.raises(UserError) as error:
        cut.import_network("D", tensors, tree)
    message = str(error.value)
    assert "missing: model.3.bias" in message and "unexpected: model.99.weight" in message
    assert "model.0.weight (2, 1, 4, 4), not (2, 3, 4, 4)" in message
    assert "\n" not in message


def test_weights_without_antialiasing_do_not_pass_for_antialiased_ones():
    tree = generator(width=2, blocks=1, antialias=False)
    tensors = cut.export_network("G", sampled(tree), antialias=False)
    with pytest.raises(UserError, match="missing: model.8.weight"):
        cut.import_network("G", tensors, tree)


def test_networks_are_told_apart():
    one = np.zeros(2)
    assert list(cut.networks({"module.model.12.conv_block.1.bias": one, "model.1.bias": one})) == ["G"]
    assert list(cut.networks({"encoder.convs.1.1.bias": one})) == ["G"]
    assert list(cut.networks({"model.0.bias": one})) == ["D"]
    assert list(cut.networks({"final_linear.0.bias": one, "convs.0.1.bias": one})) == ["D"]
    assert list(cut.networks({"net.0.bias": one})) == ["D"]
    assert list(cut.networks({"mlp_0.0.bias": one})) == ["F"]
    several = cut.networks({"G.model.1.bias": one, "net_D.module.model.0.bias": one, "F.mlp_0.0.bias": one})
    assert {name: list(tensors) for name, tensors in several.items()} == {
        "G": ["model.1.bias"],
        "D": ["model.0.bias"],
        "F": ["mlp_0.0.bias"],
    }
    for tensors, holds in (({"fc.weight": one}, "fc.weight"), ({}, "nothing")):
        with pytest.raises(UserError, match=f"no network of CUT .* holds {holds}"):
            cut.networks(tensors)


SETTINGS = {
    "cut": {
        "generator": {"width": 2, "blocks": 4, "antialias": True, "antialias_up": True},
        "channels": 1,
        "target_channels": 3,
        "norm": "instance",
        "discriminator": {"kind": "patch", "width": 3, "layers": 2},
        "patches": {"dim": 5},
    },
    "sincut": {
        "generator": {"width": 1},
        "channels": 3,
        "target_channels": 3,
        "discriminator": {"width": 2},
        "image_size": 16,
        "patches": {"dim": 5},
    },
}
OTHERS = {"cut": {"image_size": 16, "load_size": 16, "patches": {"layers": (0, 4, 15)}}, "sincut": {}}


def both(settings, others):
    """Put further nested settings over some."""
    nested = {name: {**settings[name], **value} for name, value in others.items() if isinstance(value, dict)}
    return {**settings, **others, **nested}


def state_of(name, seed, **changes):
    return published.state_of(name, both(both(SETTINGS[name], OTHERS[name]), changes), seed)


@pytest.mark.parametrize(
    "name, changes",
    [
        ("cut", {}),
        ("cut", {"generator": {"antialias": False}, "norm": "batch"}),
        ("cut", {"generator": {"antialias_up": False}, "norm": "none"}),
        ("cut", {"generator": {"antialias": False, "antialias_up": False}}),
        ("sincut", {}),
    ],
)
def test_settings_are_read_from_the_shapes(name, changes):
    state, expected = state_of(name, 0, **changes), both(SETTINGS[name], changes)
    exported = cut.export_state(state, antialias=expected["generator"].get("antialias", True))
    assert cut.settings(cut.networks(files.flatten(exported))) == expected
    # As methods take them.
    methods.build(name, both(expected, OTHERS[name]))
    bare = {name: value for name, value in exported["G"].items() if not CONSTANTS.fullmatch(name)}
    read = cut.settings({"G": bare})
    assert read.items() <= expected.items() and read


def test_settings_of_a_pixel_discriminator():
    exported = cut.export_network("D", zeros(shapes(PixelDiscriminator(4, "none"), image(channels=2))))
    assert cut.settings({"D": exported}) == {
        "discriminator": {"kind": "pixel", "width": 4},
        "target_channels": 2,
        "norm": "none",
    }


@pytest.mark.parametrize("network", "GDF")
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of CUT's.* fc.weight"):
        cut.settings({network: {"fc.weight": np.zeros((2, 2))}})


def test_a_generator_without_half_of_its_tensors_is_told_so():
    tensors = {f"model.{number}.weight": np.zeros((2, 2, 3, 3)) for number in (1, 4)}
    with pytest.raises(UserError, match="one or more of its tensors are not among its keys model.1.weight, model.4"):
        cut.settings({"G": tensors})


@pytest.mark.parametrize("manifest", ["cut", "fastcut", "sincut"])
def test_the_recorded_networks_have_the_recorded_settings(manifest):
    manifest = json.loads((GOLDENS / f"{manifest}.json").read_text())
    found = {
        network: {name: np.broadcast_to(np.float32(0), spec["shape"]) for name, spec in specs.items()}
        for network, specs in manifest["weights"].items()
    }
    read = cut.settings(found)
    generator = read["generator"]
    assert generator["width"] == manifest["ngf"] and read["target_channels"] == 3
    if "F" in found:
        assert read["patches"]["dim"] == 256 and generator["blocks"] == 9 and generator["antialias"]
    else:
        assert read["image_size"] == 64 and read["discriminator"]["width"] == manifest["ndf"]


@pytest.mark.parametrize("name", ["cut", "sincut"])
def test_a_state_survives_the_files(name, tmp_path):
    state, other = state_of(name, 0), state_of(name, 1)
    files.write(tmp_path / "run.npz", cut.export_state(state))
    loaded = cut.import_state(files.read(tmp_path / "run.npz"), other)
    assert_equal(weights(loaded), weights(state))
    assert_equal(loaded.learners["generator"].opt_state, other.learners["generator"].opt_state)


def test_one_network_of_a_state_can_be_loaded_and_starts_the_average():
    state, other = state_of("cut", 0, average=0.9), state_of("cut", 1, average=0.9)
    loaded = cut.import_state(cut.export_state(state)["G"], other)
    assert_equal(loaded.learners["generator"].params, state.learners["generator"].params)
    assert_equal(loaded.learners["generator"].ema, state.learners["generator"].params)
    assert_equal(loaded.learners["discriminator"], other.learners["discriminator"])
    averaged = cut.import_state(files.flatten(cut.export_state(state, averaged=True)), other)
    assert_equal(averaged.learners["generator"].params, state.learners["generator"].ema)


def test_a_network_that_the_model_leaves_out_is_refused():
    exported, other = cut.export_state(state_of("cut", 0)), state_of("cut", 1, patches={"mlp": False})
    with pytest.raises(UserError, match="holds F, which this model's settings leave out"):
        cut.import_state(exported["F"], other)
