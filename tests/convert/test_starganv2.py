"""StarGAN v2's weights under the published names, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, shapes, weights, zeros
from uit_jax import config, convert, methods
from uit_jax import tensors as files
from uit_jax.convert import starganv2
from uit_jax.errors import UserError
from uit_jax.nn import fan
from uit_jax.nn.starganv2 import Encoder, Generator, MappingNetwork
from uit_jax.training import conversion

STYLE, LATENT = (jax.ShapeDtypeStruct((1, size), jnp.float32) for size in (64, 16))
SHAPE, PASSED = dict(image_kernel=3, image_norm=True), dict(bottleneck=8, high_pass=1.0)


def encoder(size, width, **branch):
    return Encoder(size, branch, width=width, image_kernel=3, domains=3 if "style" in branch else 0), image(size)


# By their lists of keys: the network and what it is called with, and the number of its parameters.
PUBLISHED = {
    "G 256 w_hpf0": ("generator", (Generator(256, **SHAPE), image(256), STYLE), 33_892_995),
    "G 256 w_hpf1": ("generator", (Generator(256, **PASSED, **SHAPE), image(256), STYLE), 43_467_395),
    "G 128 w_hpf0": ("generator", (Generator(128, width=128, **SHAPE), image(128), STYLE), 33_632_003),
    "F 3dom": ("mapping_network", (MappingNetwork(3), LATENT), 3_259_072),
    "E 256 3dom": ("style_encoder", encoder(256, 64, style=64), 20_949_760),
    "E 128 3dom": ("style_encoder", encoder(128, 128, style=64), 20_832_576),
    "D 256 3dom": ("discriminator", encoder(256, 64, logit=3), 20_852_803),
    "D 128 3dom": ("discriminator", encoder(128, 128, logit=3), 20_735_619),
}
KEYS = published_keys("keys_starganv2.txt")
SETTINGS = {
    "upsampling": "nearest",
    "image_size": 32,
    "channels": 1,
    "domains": 3,
    "latent_dim": 5,
    "style_dim": 7,
    "mapping_width": 6,
    "width": 2,
    "max_width": 3,
    "bottleneck": 16,
    "blocks": 1,
}


def state_of(seed):
    return published.state_of("starganv2", SETTINGS, seed)


def exported(seed):
    return starganv2.export_state(state_of(seed))


def test_every_published_list_of_keys_is_covered():
    assert {*PUBLISHED, "FAN"} == set(KEYS)


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(listed):
    network, (module, *inputs), count = PUBLISHED[listed]
    found = starganv2.export_network(network, zeros(shapes(module, *inputs)))
    expected = {name: shape for name, shape in KEYS[listed].items() if name != "hpf.filter"}
    assert list(found) == list(expected)
    assert {name: value.shape for name, value in found.items()} == expected
    assert sum(value.size for value in found.values()) == count


@pytest.mark.parametrize("listed", [name for name in PUBLISHED if "128" not in name])
def test_a_published_file_comes_back_as_it_was(listed):
    network, (module, *inputs), _ = PUBLISHED[listed]
    tree = shapes(module, *inputs)
    # Numbers that are cheap to make, and of which none is twice in a network.
    ends = np.cumsum([int(np.prod(shape)) for shape in KEYS[listed].values()])
    tensors = {name: np.arange(end - int(np.prod(shape)), end, dtype=np.float64).reshape(shape)
               for (name, shape), end in zip(KEYS[listed].items(), ends, strict=True)}  # fmt: skip
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    unread = {"hpf.filter", *(name for name in tensors if "w_hpf1" in listed and name.startswith("decode")
                              and name.endswith("conv1x1.weight"))}  # fmt: skip
    found = starganv2.export_network(network, starganv2.import_network(network, tensors, tree))
    assert_equal({name: found[name] for name in tensors if name not in unread},
                 {name: value for name, value in tensors.items() if name not in unread})  # fmt: skip
    assert all(not found[name].any() for name in unread & found.keys())


def test_both_published_files_make_a_state(tmp_path):
    """One holds the networks, the other averages under the same names, which are enough to translate."""
    paper, found, other = convert.PAPERS["starganv2"], exported(0), state_of(1)
    laid = paper.files(found, 7000)
    assert set(laid) == {"007000_nets.ckpt", "007000_nets_ema.ckpt"}
    paths = [tmp_path / f"{name}" for name in laid]
    for path, held in zip(paths, laid.values(), strict=True):
        files.write(path, held)
    method = methods.build("starganv2", SETTINGS)
    gathered = paper.gather(paths)
    assert paper.settings(gathered) == SETTINGS and not paper.missing(gathered, other)
    assert_equal(weights(paper.import_state(gathered, method, other)), weights(state_of(0)))
    averages = paper.gather(paths[1:])
    loaded, learners = paper.import_state(averages, method, other), state_of(0).learners
    assert paper.missing(averages, other) == ["discriminator"]
    assert_equal(loaded.learners["generator"].params, learners["generator"].ema)
    assert_equal(loaded.learners["discriminator"].params, other.learners["discriminator"].params)
    assert_equal(loaded.learners["encoder"].opt_state, other.learners["encoder"].opt_state)


def test_settings_are_read_from_the_shapes():
    found = starganv2.networks(files.flatten(exported(0)))
    assert set(found) == {*starganv2.LEARNERS, *starganv2.AVERAGES.values()}
    assert starganv2.settings(found) == SETTINGS
    for network in starganv2.LEARNERS:
        read = starganv2.settings({network: found[network]})
        assert read.items() <= SETTINGS.items() and len(read) > 3, network


def test_weights_that_interpolate_are_not_handed_to_code_that_repeats():
    with pytest.raises(UserError, match="method.upsampling='bilinear': the published code repeats pixels"):
        starganv2.export_state(state_of(0), upsampling="bilinear")
    method = methods.build("starganv2", {**SETTINGS, "upsampling": "bilinear"})
    assert convert.PAPERS["starganv2"].outwards(method)["upsampling"] == "bilinear"


def test_the_skips_of_faces_are_told_by_their_filter():
    """It is no weight, and the shortcuts that the published blocks have beside it are read by nothing."""
    passing = {**SETTINGS, "high_pass": 2.0, "bottleneck": 8, "channels": 3}
    state = published.state_of("starganv2", passing, 0)
    found = starganv2.export_state(state, high_pass=2.0)
    assert "up_0" in state.learners["generator"].params
    assert found["generator"]["hpf.filter"].tolist() == [[-0.5, -0.5, -0.5], [-0.5, 4, -0.5], [-0.5, -0.5, -0.5]]
    assert not found["generator_EMA"]["decode.2.conv1x1.weight"].any()
    assert starganv2.settings(found) == passing
    other = published.state_of("starganv2", passing, 1)
    assert_equal(weights(starganv2.import_state(files.flatten(found), other)), weights(state))


def test_the_network_of_faces_comes_in_by_its_file_and_goes_out_again(tmp_path):
    passing = {**SETTINGS, "high_pass": 2.0, "bottleneck": 8, "channels": 3}
    state, numbers = published.state_of("starganv2", passing, 0), np.random.default_rng(0)
    drawn = {name: numbers.normal(size=shape).astype(np.float32) for name, shape in fan.shapes().items()}
    paper, method = convert.PAPERS["starganv2"], methods.build("starganv2", passing, landmarks="")
    assert not {"fan", "fan_EMA"} & paper.export_state(method, state).keys()
    files.write(tmp_path / "wing.ckpt", {"state_dict": fan.state_dict(drawn)})
    method = methods.build("starganv2", passing, landmarks=str(tmp_path / "wing.ckpt"))
    for name, held in paper.files(paper.export_state(method, state), 0).items():
        assert_equal({each: held["fan"][each] for each in drawn}, drawn)
        files.write(tmp_path / name, held)
        imported = conversion.import_run([tmp_path / name], tmp_path / f"of {name}", "configs/starganv2.py")
        found = config.saved(tmp_path / f"of {name}").method
        assert (found.landmarks, found.high_pass) == (str(tmp_path / name), 2) and imported.config.method == found
        # The published weight of diversity for faces.
        assert found.diversity_weight == 1
        assert_equal(fan.load(found.landmarks), drawn)


def test_a_domain_that_a_file_lacks_is_named():
    found = exported(0)["style_encoder"]
    del found["unshared.1.weight"]
    with pytest.raises(UserError, match="style_encoder .* missing: unshared.weight; unexpected: unshared.0.w"):
        starganv2.import_network("style_encoder", found, state_of(0).learners["encoder"].variables)


@pytest.mark.parametrize("network", starganv2.LEARNERS)
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of StarGAN v2's.* fc.weight"):
        starganv2.settings({network: {"fc.weight": np.zeros((2, 2))}})
