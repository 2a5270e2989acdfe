"""Clusters of images by what they are compared by, their agreement with classes, and `uit data label`."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.evaluation.sets import write_set
from uit_jax import runs
from uit_jax.convert import lpips
from uit_jax.data import open_source, relabelled
from uit_jax.errors import UserError
from uit_jax.evaluation import labelling, networks
from uit_jax.main import main
from uit_jax.runs import Trained


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Make a tree of three classes of 30 and 12 images that differ in their brightest channel."""
    root = tmp_path_factory.mktemp("images")
    write_set(root)
    return root


@pytest.fixture
def toy_run(monkeypatch):
    """Make every workdir that of the toy, whose style is an image's mean colour."""

    def load(workdir):
        return Trained(workdir, toy.config(16), toy.method(image_size=16), toy.variables(), 7)

    monkeypatch.setattr(runs, "load", load)


def test_the_verb_writes_a_file_that_the_source_reads(images, tmp_path, toy_run, capsys):
    out = tmp_path / "labels.csv"
    command = ["data", "label", str(images), str(out), "--by=kmeans-features", "--features=style:x", "--domains=3"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "images of each label: 30 30 30" in told
    assert "sorted by style codes, scaled to length 1, of a Toy run at step 7" in told
    for kind in ("these", "held-out"):
        assert f"agreement with the classes of {kind} images: accuracy 1.0000, NMI 1.0000" in told
    found = relabelled(open_source(str(images), size=16), out)
    assert found.classes == ("0", "1", "2")
    assert len(set(zip(found.labels.tolist(), open_source(str(images), size=16).labels.tolist(), strict=True))) == 3
    first = out.read_bytes()
    assert main(command) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0 and out.read_bytes() == first


def test_labels_are_a_function_of_the_seed():
    spec, first = "procedural:count=60,test_count=20,seed=3", None
    points = labelling.points_of(spec, "kmeans-pixels", side=16)
    for seed in (0, 0, 1):
        found = labelling.label(spec, points, 4, seed=seed)
        assert found.labels.shape == (60,) and set(found.labels) == set(range(4))
        assert {*found.training} == {*found.held_out} == {"cluster_accuracy", "cluster_nmi"}
        assert "best of 10 starts" in found.protocol and "20 test images belong" in found.protocol
        assert first is None or np.array_equal(found.labels, first) == (seed == 0)
        first = found.labels if first is None else first


def test_images_without_labels_are_sorted_too(tmp_path):
    write_set(tmp_path, labelled=False)
    spec = str(tmp_path)
    found = labelling.label(spec, labelling.points_of(spec, "kmeans-pixels", side=4), 3)
    assert found.training == found.held_out == {} and "scored on these" in found.protocol
    names = [found.source.key(index)[0] for index in range(90)]
    assert len(set(zip(names, found.labels.tolist(), strict=True))) == 3


def test_a_file_of_weights_says_which_network_it_is(tmp_path, monkeypatch):
    assert lpips.kind_of(["features.10.weight", "lin0.model.1.weight"]) == "alex"
    assert lpips.kind_of(["module.net.slice5.28.weight", "lin0.model.1.weight"]) == "vgg"
    assert lpips.kind_of(["Conv2d_1a_3x3.conv.weight"]) is None
    made = []
    for kind in ("lpips", "inception"):
        monkeypatch.setattr(networks, f"{kind}_network", lambda *given, kind=kind: made.append((kind, *given)) or FLAT)
    np.savez(tmp_path / "alex.npz", **{"features.10.weight": np.zeros(1)})
    np.savez(tmp_path / "lin.npz", **{"lin0.model.1.weight": np.zeros(1)})
    np.savez(tmp_path / "fid.npz", **{"fc.weight": np.zeros(1)})
    for files in ("alex.npz,{0}/lin.npz", "fid.npz"):
        points = labelling.points_of("procedural", "kmeans-features", features=f"{tmp_path}/{files}".format(tmp_path))
        assert points.form == {"size": 32} and points.told == "flat features (SHA-256 0123456789ab)"
    assert made == [
        ("lpips", "alex", f"{tmp_path}/alex.npz", f"{tmp_path}/lin.npz"),
        ("inception", f"{tmp_path}/fid.npz"),
    ]


FLAT = networks.FeatureNetwork(
    "flat", "flat features", "", "0123456789abcdef", 32, 3, "pillow_bilinear", lambda _, images: jnp.mean(images), ()
)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--domains=200"], "has 90 images, too few for 200 clusters; lower --domains"),
        (["--domains=3", "--features=style:x"], "--features=style:x: is for --by=kmeans-features; leave one"),
        (["--domains=3", "--by=kmeans-features"], "--features is missing: give style:WORKDIR"),
        (["--domains=3", "--by=kmeans-features", "--features=none.pth"], "none.pth"),
        (["--domains=3", "--by=kmeans-features", "--features=style:none"], "no run"),
    ],
)
def test_what_cannot_be_sorted_is_one_line(images, tmp_path, options, told, capsys):
    assert main(["data", "label", str(images), str(tmp_path / "labels.csv"), *options]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "labels.csv").exists()


def test_a_run_without_styles_is_refused(monkeypatch):
    method = toy.altered(toy.method(image_size=16), readouts={})
    monkeypatch.setattr(runs, "load", lambda workdir: Trained(workdir, toy.config(16), method, {}, 7))
    with pytest.raises(UserError, match="no style codes; name another run"):
        labelling.points_of("procedural", "kmeans-features", features="style:x")
