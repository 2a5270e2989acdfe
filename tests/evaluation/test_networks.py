"""Feature networks: what tells one from another, and which one is chosen."""

import hashlib
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.sets import SIZE
from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.evaluation import classifier, networks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """The file of a judge that has learnt nothing."""
    file = tmp_path_factory.mktemp("judge") / "judge.npz"
    made = classifier.Classifier(None, ("a", "b"), (SIZE, SIZE, 1), 0.5, "untrained", 4)
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
    network = networks.judge_network(judge)
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 1), np.uint8)
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
    for asked, message in (
        (dict(random=0, resize="clean"), "^--resize=clean: is how .* Inception: give its weights by --inception$"),
        (dict(inception="none.pth", resize="cleen"), "^--resize=cleen: no such mode; did you mean clean.$"),
        (dict(inception="none.pth", resize="bicubic"), "^--resize=bicubic: no such mode; there are: [^;]*$"),
    ):
        with pytest.raises(UserError, match=message):
            networks.choose(**asked)


def test_what_lpips_sees_is_averaged_over_the_image(tmp_path):
    """Of one colour every pixel is the same, but at the edges; of twice the file there are two hashes."""
    rng = np.random.default_rng(0)
    specs = json.loads((Path(__file__).parents[1] / "goldens" / "perceptual.json").read_text())["weights"]["alex"]
    given = {name: rng.standard_normal(spec["shape"]).astype(np.float32) for name, spec in specs.items()}
    for name, part in (("alexnet", "net"), ("alex", "lin")):
        tensors.write(tmp_path / f"{name}.npz", {key: value for key, value in given.items() if part in key})
    network = networks.lpips_network("alex", tmp_path / "alexnet.npz", tmp_path / "alex.npz")
    assert (network.kind, network.side, network.entries) == ("lpips", 224, 64 + 192 + 384 + 256 + 256)
    assert len(network.sha256) == 2 * 64 + 1 and not network.defines_fid
    found = network.read([np.full((size, size, 3), 90, np.uint8) for size in (32, 224)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-5)
    # Every pixel of a map has length 1: so has no mean more.
    ends = np.cumsum([0, 64, 192, 384, 256, 256])
    assert all(np.linalg.norm(found[0, a:b]) <= 1 + 1e-5 for a, b in zip(ends, ends[1:], strict=False))


@pytest.fixture
def inception(tmp_path, monkeypatch):
    """A file of weights that give what is easily told: the network itself, long to compile, is left out."""
    file = tmp_path / "inception.npz"
    np.savez(file, scale=np.float32(2))
    monkeypatch.setattr(networks.weights_file, "read", lambda path: dict(np.load(path)))
    monkeypatch.setattr(networks, "_pooled", lambda variables, images: images.mean((1, 2)) * variables["scale"])
    return file


def test_inception_is_named_by_its_file(inception, monkeypatch):
    images = np.full((2, 9, 12, 3), 255, np.uint8)
    network = networks.inception_network(inception)
    np.testing.assert_allclose(network.read(images), np.full((2, 3), 2.0), rtol=1e-6)
    assert network.defines_fid and (network.side, network.resize) == (299, "pytorch_fid")
    assert network.sha256 == hashlib.sha256(inception.read_bytes()).hexdigest()
    clean = networks.choose(inception=inception, resize="clean")
    np.testing.assert_allclose(clean.read(images), np.full((2, 3), 2 * 127 / 128), rtol=1e-6)
    monkeypatch.setenv(networks.VARIABLE, str(inception))
    assert networks.choose().record() == network.record()


def test_the_page_about_metrics_runs_in_python(inception, tmp_path, monkeypatch, capsys):
    """Of two sets of one colour each the covariances are 0, and the distance is that of the means."""
    monkeypatch.chdir(tmp_path)
    for folder, level in (("true", 255), ("generated", 127)):
        (tmp_path / folder).mkdir()
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / folder / f"{number}.png")
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
    exec(compile(snippet.replace('"FILE"', repr(str(inception))), "docs/metrics.md", "exec"), {})
    distance, sha256 = capsys.readouterr().out.split()[-2:]
    assert float(distance) == pytest.approx(3 * (2 * (255 - 127) / 128) ** 2, rel=1e-4)
    assert sha256 == hashlib.sha256(inception.read_bytes()).hexdigest()
