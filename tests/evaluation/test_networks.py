"""Feature networks: what tells one from another, and which one is chosen."""

import hashlib

import numpy as np
import pytest

from tests.evaluation.sets import SIZE
from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.evaluation import classifier, networks


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """The file of a judge that has learnt nothing."""
    file = tmp_path_factory.mktemp("judge") / "judge.npz"
    made = classifier.Classifier(None, ("a", "b"), (SIZE, SIZE, 1), 0.5, "untrained", 4)
    import jax

    params = jax.jit(made.network.init)(jax.random.key(0))
    classifier.save(file, made._replace(params=jax.device_get(params)))
    return file


def test_random_features_are_a_function_of_the_seed():
    first, again, other = (networks.random_network(seed) for seed in (0, 0, 1))
    assert first.record() == again.record() and first.sha256 != other.sha256 and other.name.endswith("seed 1")
    images = np.random.default_rng(0).integers(0, 256, (3, 30, 20, 3), np.uint8)
    np.testing.assert_array_equal(first.read(images), again.read(images))
    assert not np.allclose(first.read(images), other.read(images))
    # Known once and for all, so that a number can be compared with one of another day.
    assert first.sha256[:12] == "6c98bbf5e2f2"
    assert networks.random_network(0, channels=5).read(np.zeros((2, 64, 64, 5), np.uint8)).shape == (2, first.entries)


def test_the_judge_features_are_its_own(judge):
    network, images = networks.judge_network(judge), np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 1), np.uint8)
    np.testing.assert_allclose(network.read(images), classifier.load(judge).features(images), rtol=1e-5, atol=1e-5)
    assert network.sha256 == hashlib.sha256(judge.read_bytes()).hexdigest() and network.channels == 1
    assert not network.defines_fid and network.record()["weights"] == str(judge)


def test_one_network_is_chosen(judge, monkeypatch, tmp_path):
    monkeypatch.delenv(networks.VARIABLE, raising=False)
    assert networks.choose().name == "random features, seed 0"
    assert networks.choose(random=2).name == "random features, seed 2"
    assert networks.choose(judge=judge).kind == "judge"
    with pytest.raises(UserError, match="^--judge and --random_features: .*name one$"):
        networks.choose(judge=judge, random=0)
    with pytest.raises(UserError, match="none.npz: no such file"):
        networks.choose(judge=tmp_path / "none.npz")
    monkeypatch.setenv(networks.VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match="none.pth: no such file"):
        networks.choose()
    assert networks.choose(random=0).kind == "random"


def test_features_are_the_same_at_any_depth_of_colours():
    """A gray image is read as a gray one in RGB."""
    gray = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8)
    repeated = np.repeat(gray, 3, -1)
    source = data.Form(64)
    assert source.channels == 3
    network = networks.random_network()
    assert network.read(repeated).shape == (1, network.entries)
