"""The Swapping Autoencoder's weights under the published names, both ways."""

import jax
import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, published_keys, shapes, weights, zeros
from uit_jax import config, convert, methods
from uit_jax import tensors as files
from uit_jax.convert import swapping_autoencoder
from uit_jax.errors import UserError

COUNTS = {"E": 30_584_872, "G": 25_064_743, "D": 28_859_521, "Dpatch": 24_522_145}
KEYS = {title.split()[2]: keys for title, keys in published_keys("keys_swapping_autoencoder.txt").items()}
SETTINGS = {
    "image_size": 48,
    "channels": 1,
    "structure_dim": 3,
    "texture_dim": 24,
    "encoder": {"scale": 0.4, "downs": 2, "texture_downs": 1},
    "generator": {"scale": 0.03, "head_blocks": 3},
    "discriminator": {"scale": 0.01, "max_width": 9},
    "patches": {"size": 32},
    "patch_discriminator": {"scale": 0.1, "max_width": 12, "pair_width": 8},
}


def state_of(seed, **changes):
    return published.state_of("swapping_autoencoder", SETTINGS, seed, **changes)


def exported(seed):
    return swapping_autoencoder.export_state(state_of(seed))


def test_names_shapes_and_counts_are_the_published_ones():
    """In their order, constants included; the settings are those of the recipe."""
    method = config.method_of(config.resolve("configs/swapping_autoencoder.py"))
    out = {}
    for network, learner in swapping_autoencoder.LEARNERS.items():
        module, _, inputs, *_ = method.networks[learner]
        out[network] = swapping_autoencoder.export_network(network, zeros(shapes(module, *inputs)))
        assert [(name, value.shape) for name, value in out[network].items()] == list(KEYS[network].items())
        assert sum(value.size for name, value in out[network].items() if not name.endswith("kernel")) == COUNTS[network]
    assert set(KEYS) == {*COUNTS, "at"}
    for name, value in swapping_autoencoder.settings(out).items():
        own = getattr(method, name)
        assert value == own if not isinstance(value, dict) else value.items() <= vars(own).items()


def test_a_published_file_comes_back_as_it_was(tmp_path):
    found, other, paper = exported(0), state_of(1), convert.PAPERS["swapping_autoencoder"]
    ((name, held),) = paper.files(found, 7000).items()
    assert name == "latest_checkpoint.pth" and held["num_discriminator_iters"].tolist() == [3500]
    files.write(tmp_path / name, held)
    gathered = paper.gather([tmp_path / name])
    assert paper.settings(gathered) == SETTINGS and not paper.missing(gathered, other)
    loaded = paper.import_state(gathered, methods.build("swapping_autoencoder", SETTINGS), other)
    assert_equal(weights(loaded), weights(state_of(0)))
    assert_equal(loaded.learners["generator"].opt_state, other.learners["generator"].opt_state)
    again = swapping_autoencoder.export_state(loaded)
    assert [list(names) for names in again.values()] == [list(names) for names in found.values()]
    assert_equal(again, found)
    blurs = [value for own in found.values() for name, value in own.items() if name.endswith("kernel")]
    assert {float(value.sum().round(4)) for value in blurs} == {1.0, 4.0}


def test_a_file_of_one_network_need_not_say_whose_it_is():
    for network, own in exported(0).items():
        assert set(swapping_autoencoder.networks(own)) == {network}
        read = swapping_autoencoder.settings({network: own})
        assert all(value == SETTINGS[name] or value.items() <= SETTINGS[name].items() for name, value in read.items())


def test_averages_go_out_and_begin_at_what_comes_in():
    state, other = (state_of(seed, average=0.9) for seed in (0, 1))
    out = swapping_autoencoder.export_state(state)
    averages = {name: state.learners[name].ema for name in ("encoder", "generator")}
    loaded = swapping_autoencoder.import_state(files.flatten(out), other)
    for name, expected in averages.items():
        assert_equal(loaded.learners[name].params, expected)
        assert_equal(loaded.learners[name].ema, expected)


def test_what_is_of_another_kind_is_named():
    with pytest.raises(UserError, match="no network of the Swapping Autoencoder .E, G, D, Dpatch. found; .* holds x.y"):
        swapping_autoencoder.networks({"x.y": np.zeros(2)})
    found = exported(0)
    for network in found:
        with pytest.raises(UserError, match=f"checkpoint's {network} is none of the Swapping Autoencoder's"):
            swapping_autoencoder.settings({network: {"fc.weight": np.zeros((2, 2))}})
    found["E"]["FromRGB.Conv.weight"] = np.zeros((99, 1, 1, 1))
    with pytest.raises(UserError, match=r"E has widths \[99, .*, which no scale of the published ones gives"):
        swapping_autoencoder.settings(found)


def test_shapes_alone_are_enough_to_name_networks():
    state = jax.eval_shape(lambda: methods.build("swapping_autoencoder", SETTINGS).init(jax.random.key(0), 2))
    assert set(state.learners) == set(swapping_autoencoder.LEARNERS.values())
