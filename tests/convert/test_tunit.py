"""TUNIT's weights under the published names, both ways."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, sampled, weights, zeros
from uit_jax import tensors as files
from uit_jax.convert import tunit
from uit_jax.errors import UserError
from uit_jax.nn.funit import Discriminator
from uit_jax.nn.guide import GuidingNetwork
from uit_jax.nn.munit import Generator

# Buffers that the published code carries but never reads.
UNREAD = re.compile(r".*\.num_batches_tracked|decoder\..*\.norm\.running_(mean|var)")


def shapes(network, size, *, width=None):
    """Return the shapes of a network's variables; the published widths unless another is given."""
    default = 64 if size < 256 or network == "C" else 32
    if network == "C":
        return published.shapes(GuidingNetwork(10, width=width or default), image(size), train=False)
    if network == "G":
        style = jax.ShapeDtypeStruct((1, 128), jnp.float32)
        return published.shapes(Generator(size, width=width or default), image(size), style)
    largest = 4 * width if width else 1024
    return published.shapes(Discriminator(size, 10, width=width or default, max_width=largest), image(size))


@pytest.mark.parametrize("listed, size", [("C", 128), ("G", 128), ("D", 128), ("G@256", 256)])
def test_names_and_shapes_are_the_published_ones(listed, size):
    network = listed[0]
    exported = tunit.export_network(network, zeros(shapes(network, size)))
    assert {name: value.shape for name, value in exported.items()} == published_keys("keys_tunit.txt")[listed]


@pytest.mark.parametrize(
    "network, size, count",
    [
        ("C", 128, 9_296_778),
        ("G", 128, 27_333_763),
        ("G", 256, 27_424_835),
        ("D", 128, 70_935_242),
        ("D", 256, 70_983_018),
    ],
)
def test_parameter_counts_are_the_published_ones(network, size, count):
    exported = tunit.export_network(network, zeros(shapes(network, size)))
    buffers = r".*(running_mean|running_var|num_batches_tracked)"
    assert sum(value.size for name, value in exported.items() if not re.fullmatch(buffers, name)) == count


@pytest.mark.parametrize("network", ["C", "G", "D"])
@pytest.mark.parametrize("size, width", [(32, 4), (64, 5), (128, 2)])
def test_out_and_in_again_changes_nothing(network, size, width):
    tree = shapes(network, size, width=width)
    variables = sampled(tree)
    exported = tunit.export_network(network, variables)
    assert_equal(tunit.import_network(network, exported, tree), variables)
    distributed = {f"module.{name}": value for name, value in exported.items()}
    assert_equal(tunit.import_network(network, distributed, tree), variables)
    unused = {name: value for name, value in exported.items() if not UNREAD.fullmatch(name)}
    assert_equal(tunit.import_network(network, unused, tree), variables)


def test_layouts_are_torchs():
    variables = sampled(shapes("C", 32, width=4))
    exported = tunit.export_network("C", variables)
    kernel = variables["params"]["conv_1"]["conv"]["kernel"]
    assert exported["features.4.weight"][5, 2, 0, 1] == kernel[0, 1, 2, 5]
    assert exported["disc.weight"][3, 7] == variables["params"]["cluster"]["kernel"][7, 3]
    np.testing.assert_array_equal(exported["features.1.running_var"], variables["batch_stats"]["norm_0"]["var"])
    assert exported["features.1.num_batches_tracked"].dtype == np.int64
    generator = tunit.export_network("G", sampled(shapes("G", 32, width=4)))
    assert (generator["decoder.model.2.norm.running_mean"] == 0).all()
    assert (generator["decoder.model.2.norm.running_var"] == 1).all()


def test_keys_that_do_not_fit_are_named():
    tree = shapes("D", 32, width=4)
    tensors = tunit.export_network("D", sampled(tree))
    del tensors["main.3.norm1.tau"]
    tensors["main.99.weight"] = np.zeros(3)
    tensors["main.0.weight"] = tensors["main.0.weight"][:, :1]
    with pytest.raises(UserError) as error:
        tunit.import_network("D", tensors, tree)
    message = str(error.value)
    assert "missing: main.3.norm1.tau" in message and "unexpected: main.99.weight" in message
    assert "main.0.weight (4, 1, 3, 3), not (4, 3, 3, 3)" in message
    assert "\n" not in message


def test_whole_checkpoints_and_single_networks_are_told_apart():
    one = np.zeros(2)
    found = tunit.networks(
        {
            "C_state_dict.module.disc.bias": one,
            "G_EMA_state_dict.mlp.model.0.fc.bias": one,
            "D.main.0.bias": one,
            "c_optimizer.state.0.exp_avg": one,
        }
    )
    assert {name: list(tensors) for name, tensors in found.items()} == {
        "C": ["disc.bias"],
        "G_EMA": ["mlp.model.0.fc.bias"],
        "D": ["main.0.bias"],
    }
    assert list(tunit.networks({"module.cnt_encoder.model.0.conv.bias": one})) == ["G"]
    with pytest.raises(UserError, match="no network of TUNIT .* holds fc.weight"):
        tunit.networks({"fc.weight": one})


STAGES = (1, 2, 1)
SETTINGS = {
    "image_size": 32,
    "channels": 1,
    "domains": 3,
    "style_dim": 6,
    "guide": {"width": 4, "stages": STAGES},
    "generator": {"width": 3, "bottleneck": 8, "blocks": 1, "mlp_width": 7},
    "discriminator": {"width": 2, "max_width": 8},
}


def state_of(seed):
    return published.state_of("tunit", SETTINGS, seed, queue_size=4)


def test_settings_are_read_from_the_shapes():
    exported = files.flatten(tunit.export_state(state_of(0), stages=STAGES))
    assert tunit.settings(tunit.networks(exported)) == SETTINGS
    alone = tunit.settings({"G": tunit.export_network("G", zeros(shapes("G", 128, width=2)))})
    assert alone["image_size"] == 128 and alone["generator"]["bottleneck"] == 16
    averages = {name: value for name, value in exported.items() if "_EMA" in name or name.startswith("D_")}
    assert tunit.settings(tunit.networks(averages)) == SETTINGS


def test_a_file_of_another_kind_has_no_settings():
    with pytest.raises(UserError, match="checkpoint's G is none of TUNIT's: .* fc.weight"):
        tunit.settings({"G": {"fc.weight": np.zeros((2, 2))}})


def test_a_state_survives_the_files(tmp_path):
    state, stages = state_of(0), STAGES
    files.write(tmp_path / "run.npz", tunit.export_state(state, stages=stages))
    other = state_of(1)
    loaded = tunit.import_state(files.read(tmp_path / "run.npz"), other, stages=stages)
    assert_equal(weights(loaded), weights(state))
    assert_equal(loaded.learners["guide"].opt_state, other.learners["guide"].opt_state)


def test_a_checkpoint_without_averages_starts_them_at_its_weights():
    state, stages = state_of(0), STAGES
    tensors = files.flatten(tunit.export_state(state, stages=stages))
    tensors = {name: value for name, value in tensors.items() if "_EMA" not in name and not name.startswith("D_")}
    other = state_of(1)
    loaded = tunit.import_state(tensors, other, stages=stages)
    assert_equal(loaded.learners["generator"].ema, state.learners["generator"].params)
    assert_equal(loaded.learners["discriminator"], other.learners["discriminator"])
