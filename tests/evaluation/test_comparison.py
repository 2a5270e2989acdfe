"""Two sets of images compared without a model: what the numbers are of, what they do not depend on, what is refused."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.sets import write_set
from uit_jax import data
from uit_jax.data import packing
from uit_jax.errors import UserError
from uit_jax.evaluation import comparison, networks, reading
from uit_jax.inference import batched
from uit_jax.metrics import frechet, manifold

SCORES = "frechet_distance kernel_distance kernel_distance_low kernel_distance_high precision recall density coverage"


@pytest.fixture(scope="module")
def network():
    return networks.random_network(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of images of several sizes, the second in folders of its own and more green."""
    root, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    for name, count, green in (("a", 70, 0), ("b", 40, 60)):
        for i in range(count):
            pixels = rng.integers(0, 190, (20 + i % 3, 24, 3), np.uint8) // (1 + i % 4)
            pixels[..., 1] += green
            path = root / name / ("" if name == "a" else f"{i % 2}") / f"{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def compare(a, b, network, **how):
    return comparison.compare(str(a), str(b), network, bar=False, **how)


def images(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))]


def test_scores_are_those_of_the_features_of_all_images(folders, network):
    record = compare(folders / "a", folders / "b", network)
    one, other = (network.read(images(folders / name)) for name in "ab")
    assert one.shape == (70, network.entries) and one.dtype == np.float32
    wanted = frechet.distance(frechet.moments(one), frechet.moments(other))
    scores = record["scores"]
    assert list(scores) == SCORES.split()
    assert scores["frechet_distance"] == pytest.approx(wanted, rel=1e-6)
    near = manifold.scores(one, other, 5)
    assert {name: scores[name] for name in near} == near
    assert scores["kernel_distance_low"] <= scores["kernel_distance"] <= scores["kernel_distance_high"]
    assert scores["kernel_distance"] > 0
    assert (record["a"]["images"], record["b"]["images"], record["b"]["unreadable_images"]) == (70, 40, 0)
    assert record["features"] == network.record() and set(record["versions"]) >= {"jax", "flax", "numpy", "uit_jax"}
    assert json.loads(json.dumps(record)) == record
    assert "random features, seed 0" in record["protocol"]["frechet_distance"]
    text = comparison.table(record)
    assert f"Fréchet distance in random features, seed 0  {wanted:.5g}\n" in text and "FID" not in text
    assert re.search(r"A +\S+a: 70 images\n", text)


def test_a_set_is_no_distance_from_itself(folders, network):
    found = compare(folders / "a", folders / "a", network)["scores"]
    scale = np.trace(frechet.moments(network.read(images(folders / "a"))).covariance)
    assert found["frechet_distance"] < 1e-6 * scale
    assert found["precision"] == found["recall"] == found["coverage"] == 1


def test_order_batches_and_devices_change_nothing(folders, network, monkeypatch):
    before = compare(folders / "a", folders / "b", network)["scores"]
    a, b = (images(folders / name) for name in "ab")
    again = comparison.compare(a[::-1], b[3:] + b[:3], network, bar=False)["scores"]
    assert again == pytest.approx(before, rel=1e-6)
    monkeypatch.setattr(networks, "BATCH", 1)
    monkeypatch.setattr(reading, "_ROWS", 20)
    assert compare(folders / "a", folders / "b", network)["scores"] == pytest.approx(before, rel=1e-6)
    assert len(jax.tree.leaves(network.variables)[0].devices()) == len(jax.local_devices()) > 1
    on_one = jax.device_put(network.variables, jax.local_devices()[0])
    monkeypatch.setattr(batched, "everywhere", lambda variables: on_one)
    alone = compare(folders / "a", folders / "b", networks.random_network(0))["scores"]
    assert alone == pytest.approx(before, rel=1e-6)


def test_statistics_stand_for_images(tmp_path, folders, network):
    file = tmp_path / "a.npz"
    whole = compare(folders / "a", folders / "b", network, save_statistics=file)
    kept = compare(file, folders / "b", network)
    assert kept["scores"] == {"frechet_distance": pytest.approx(whole["scores"]["frechet_distance"], rel=1e-9)}
    assert kept["a"] == {"source": str(file), "images": 70, "unreadable_images": 0}
    with np.load(file) as found:
        features = network.read(images(folders / "a"))
        np.testing.assert_allclose(found["mu"], features.mean(0, dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(found["sigma"], np.cov(features, rowvar=False), rtol=1e-4, atol=1e-6)
        mu, sigma = found["mu"], found["sigma"]
    # As pytorch-fid writes them: of how many images, and in which features, nobody knows.
    np.savez(tmp_path / "plain.npz", mu=mu, sigma=sigma)
    plain = compare(tmp_path / "plain.npz", file, network)
    assert plain["scores"]["frechet_distance"] < 1e-6 and "images" not in plain["a"]
    assert "unknown number" in comparison.table(plain)


def test_packed_sets_are_their_images(tmp_path, network):
    write_set(tmp_path / "set")
    packing.pack(str(tmp_path / "set" / "test"), tmp_path / "packed", size=16)
    found = compare(tmp_path / "packed", tmp_path / "set" / "test", network)
    assert found["scores"]["frechet_distance"] < 1e-6 and found["a"]["images"] == 36
    one = compare(f"{tmp_path / 'packed'}#b_green", tmp_path / "set" / "test", network, limit=9)
    assert (one["a"]["images"], one["b"]["images"]) == (9, 9)


def test_unreadable_images_are_left_out_and_counted(tmp_path, folders, network, caplog):
    write_set(tmp_path / "set")
    test = tmp_path / "set" / "test"
    (test / "a_red" / "a_red0.png").write_bytes(b"torn")
    record = compare(test, folders / "b", network)
    assert (record["a"]["images"], record["a"]["unreadable_images"]) == (35, 1)
    assert "left out" in caplog.text and "a_red0.png" in caplog.text and "1 unreadable" in comparison.table(record)


def test_what_cannot_be_compared_is_one_line(tmp_path, folders, network):
    write_set(tmp_path / "set", train=1, test=1)
    b = folders / "b"
    for a, message in (
        (tmp_path / "set", "^--a=.*set: holds the parts train, test; name the folder of one$"),
        (tmp_path / "none", "none: no such folder"),
        (tmp_path / "set" / "test" / "a_red", "a distribution needs 2 readable images"),
        (tmp_path / "none.npz", "none.npz: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            compare(a, b, network)
    file = tmp_path / "a.npz"
    reading.save_statistics(file, reading.measured(str(b), "b", network, keep=False, bar=False), network)
    with pytest.raises(UserError, match="^.*a.npz: is of random features, seed 0, not of random features, seed 1"):
        compare(file, b, networks.random_network(1))
    for wrong in ({"mu": np.zeros(3)}, {"mu": np.zeros(3), "sigma": np.zeros((3, 2))}):
        np.savez(file, **wrong)
        with pytest.raises(UserError, match=r"a.npz: holds no mu \[D\] and sigma \[D, D\]; write statistics by"):
            compare(file, b, network)
    np.savez(file, mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(UserError, match="a.npz: is of other features, not of random features"):
        compare(file, b, network)


def test_what_is_not_there_is_told_before_anything_is_read(tmp_path, folders, network, monkeypatch):
    monkeypatch.setattr(type(network), "prepare", lambda *_: pytest.fail("an image was read"))
    for missing in (tmp_path / "none", tmp_path / "none.npz"):
        with pytest.raises(UserError, match="none"):
            compare(folders / "a", missing, network)


def test_few_images_have_no_neighbourhoods(folders, network):
    found = compare(folders / "a", folders / "b", network, limit=4)["scores"]
    assert "frechet_distance" in found and "coverage" not in found


def test_a_source_and_a_folder_have_the_same_images(folders):
    opened = reading.open_pictures(str(folders / "b"), "b", 3)
    listed = data.open_source(str(folders / "b"), size=8)
    assert [opened.called(i) for i in opened.chosen] == list(listed.names)
    assert opened.read(0).shape == images(folders / "b")[0].shape
