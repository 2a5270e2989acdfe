"""The weights of DRIT under the published names, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.convert import published
from tests.convert.published import assert_equal, image, published_keys, sampled, shapes, weights, zeros
from uit_jax import methods
from uit_jax import tensors as files
from uit_jax.convert import drit
from uit_jax.errors import UserError
from uit_jax.nn import drit as nets

CODE, STYLE = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in ((54, 54, 256), (8,)))
IMAGES, DRAWN = (dict.fromkeys("ab", image(64)),), (dict.fromkeys("ab", CODE), dict.fromkeys("ab", STYLE))
# The names in the file, with the network, its module, what that is called with, and the number of its parameters.
PUBLISHED = {
    "DRIT enc_c: 9018112 parameters": ("enc_c", nets.ContentEncoder(), IMAGES),
    "DRIT enc_a (concat 1): 2688160 parameters": ("enc_a", nets.StyleEncoder(), IMAGES),
    "DRIT enc_a (concat 0): 5529872 parameters": ("enc_a", nets.StyleEncoder(featurewise=True), IMAGES),
    "DRIT gen (concat 1): 9564710 parameters": ("gen", nets.Generator(), DRAWN),
    "DRIT gen (concat 0): 17146374 parameters": ("gen", nets.Generator(featurewise=True), DRAWN),
    "DRIT disA, disB, disA2, disB2 (dis_scale 3): 8271171 parameters": ("disB", nets.Discriminator(), IMAGES),
    "DRIT disA, disB, disA2, disB2 (dis_scale 1): 25149057 parameters": (
        "disA2",
        nets.Discriminator(scales=1, layers=6),
        IMAGES,
    ),
    "DRIT disContent: 10683649 parameters": ("disContent", nets.ContentDiscriminator(), DRAWN[:1]),
}
SETTINGS = {
    "image_size": 64,
    "load_size": 64,
    "channels": 1,
    "styling": "concat",
    "style_dim": 3,
    "width": 2,
    "blocks": 2,
    "discriminator": {"width": 3, "scales": 2, "layers": 3},
    "content_layers": 1,
}
OTHERS = {"styling": "featurewise", "discriminator": {"width": 3, "scales": 1, "layers": 4}}
CASES = pytest.mark.parametrize("more", [{}, OTHERS], ids=["concat", "featurewise"])


def state_of(seed, more):
    return published.state_of("drit", SETTINGS, seed, **more)


def tree_of(listed):
    network, module, inputs = PUBLISHED[listed]
    tree = shapes(module, *inputs)
    return network, {"params": drit.own(network, tree["params"])}


def test_every_published_list_of_keys_is_covered():
    assert set(PUBLISHED) == set(published_keys("keys_drit.txt"))


@pytest.mark.parametrize("listed", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones_and_a_file_comes_back_as_it_was(listed):
    network, tree = tree_of(listed)
    keys = published_keys("keys_drit.txt")[listed]
    exported = drit.export_network(network, zeros(tree))
    assert {name: value.shape for name, value in exported.items()} == keys
    assert sum(value.size for value in exported.values()) == int(listed.split(": ")[1].split()[0])
    random = np.random.default_rng(0)
    tensors = {name: random.random(shape, np.float32) for name, shape in keys.items()}
    found = drit.export_network(network, drit.import_network(network, tensors, tree))
    assert list(found) == list(tensors)
    assert_equal(found, tensors)


def test_transposed_kernels_and_scales_of_maps_are_torchs():
    code, style = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in ((4, 4, 8), (2,)))
    variables = sampled(shapes(nets.Generator(blocks=1), dict.fromkeys("ab", code), dict.fromkeys("ab", style)))
    exported, own = drit.export_network("gen", variables), variables["params"]["b"]
    assert exported["decB2.0.model.0.weight"][7, 2, 0, 1] == own["up_0"]["kernel"][0, 1, 7, 2]
    assert exported["decB4.0.weight"][3, 1, 0, 0] == own["image"]["conv"]["kernel"][0, 0, 3, 1]
    assert exported["decB3.0.model.1.weight"][2, 0, 0] == own["norm_1"]["scale"][2]


def test_networks_are_told_by_the_names_before_them():
    one = np.zeros(2)
    # As the published code writes them, beside the states of the optimisers.
    kept = {"enc_c": {"convA.0.model.1.bias": one}, "disA": {"Diss.0.4.bias": one}, "disA2": {"Diss.1.4.bias": one}}
    file = files.flatten(kept | {"enc_c_opt": {"state": {"0": {"exp_avg": one}}}, "disA_opt": {"state": {}}, "ep": 3})
    assert {name: list(tensors) for name, tensors in drit.networks(file).items()} == {
        name: list(tensors) for name, tensors in kept.items()
    }
    with pytest.raises(UserError, match="no network of DRIT .enc_c, enc_a, gen, .* found; .* holds model.1.bias"):
        drit.networks({"model.1.bias": one})


@CASES
def test_settings_are_read_from_the_shapes(more):
    found = drit.networks(files.flatten(drit.export_state(state_of(0, more))))
    known = {name: value for name, value in {**SETTINGS, **more}.items() if not name.endswith("_size")}
    assert set(found) == set(drit.LEARNERS)
    assert drit.settings(found) == known
    methods.build("drit", {**SETTINGS, **drit.settings(found)})
    for network in found:
        assert drit.settings({network: found[network]}).items() <= known.items()


@pytest.mark.parametrize("network", drit.LEARNERS)
def test_a_file_of_another_kind_has_no_settings(network):
    with pytest.raises(UserError, match=f"checkpoint's {network} is none of DRIT's.* fc.weight"):
        drit.settings({network: {"fc.weight": np.zeros((2, 2))}})


@CASES
def test_a_state_survives_the_files(more, tmp_path):
    state, other = state_of(0, more), state_of(1, more)
    files.write(tmp_path / "run.npz", drit.export_state(state))
    loaded = drit.import_state(files.read(tmp_path / "run.npz"), other)
    assert_equal(weights(loaded), weights(state))
    assert_equal(loaded.learners["generator"].opt_state, other.learners["generator"].opt_state)


def test_one_network_of_a_state_can_be_loaded():
    """The published disB is the half of one of ours."""
    state, other = state_of(0, {}), state_of(1, {})
    loaded = drit.import_state(files.flatten({"disB": drit.export_state(state)["disB"]}), other)
    found = loaded.learners["discriminator"].params
    assert_equal(found["b"], state.learners["discriminator"].params["b"])
    assert_equal(found["a"], other.learners["discriminator"].params["a"])
    for name in set(state.learners) - {"discriminator"}:
        assert_equal(loaded.learners[name].params, other.learners[name].params)


def test_a_network_that_does_not_fit_is_named():
    tensors = files.flatten({"enc_c": drit.export_state(state_of(0, {}))["enc_c"]})
    tensors.pop("enc_c.convB.0.model.1.bias")
    with pytest.raises(UserError, match="checkpoint's enc_c does not fit .* missing: convB.0.model.1.bias"):
        drit.import_state(tensors, state_of(0, {}))
