"""Layouts are told apart by content, and whatever is wrong with a source is one clear line."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.data import Unreadable, examples, open_source, open_test, rooted, splits
from uit_jax.data.opening import parts
from uit_jax.errors import UserError


def _fill(folder, count, *, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        (folder / f"{i:03d}.png").write_bytes(encode(Image.fromarray(picture(i)), "PNG"))
    return folder


def test_class_folders(class_folders):
    source = open_source(str(class_folders), size=16)
    assert source.classes == ("cat", "dog", "eel") and len(source) == 24
    assert source.labels.dtype == np.int32 and np.bincount(source.labels).tolist() == [12, 8, 4]
    assert source.names[12].endswith("dog/dog00.jpg") and source.image(12).shape == (16, 16, 3)
    assert "24 images" in source.describe() and "3 classes" in source.describe()
    assert splits(str(class_folders)) == ()


def test_flat_folder_takes_nested_images_and_passes_over_the_rest(tmp_path):
    _fill(tmp_path, 3)
    _fill(tmp_path / "more" / "deep", 2, start=10)
    _fill(tmp_path / ".hidden", 1)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "SHOUT.PNG").write_bytes(encode(Image.fromarray(picture(5)), "PNG"))
    source = open_source(str(tmp_path), size=16)
    assert [name[len(str(tmp_path)) + 1 :] for name in source.names] == [
        "000.png", "001.png", "002.png", "SHOUT.PNG", "more/deep/010.png", "more/deep/011.png",
    ]  # fmt: skip
    assert source.classes == () and (source.labels == -1).all()


def test_images_nested_in_class_folders_belong_to_the_class(tmp_path):
    _fill(tmp_path / "cat" / "2019" / "may", 2)
    _fill(tmp_path / "dog", 1)
    assert open_source(str(tmp_path), size=16).labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_split_trees(tmp_path, held_out):
    _fill(tmp_path / "train" / "cat", 3)
    _fill(tmp_path / "train" / "dog", 2)
    _fill(tmp_path / held_out / "dog", 2, start=10)  # no cats: labels stay those of the train split
    spec = str(tmp_path)
    assert splits(spec) == ("train", "test")
    assert open_source(spec, size=16).labels.tolist() == [0, 0, 0, 1, 1]
    test = open_source(spec, split="test", size=16)
    assert test.classes == ("cat", "dog") and test.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(test.image(0), picture(10))


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("TRAIN", "VAL"), ("training", "testing"), ("train", "Validation")]
)
def test_splits_however_they_are_spelt(tmp_path, names):
    for name, count in zip(names, (3, 2), strict=True):
        for each in ("cat", "dog"):
            _fill(tmp_path / name / each, count)
    assert splits(str(tmp_path)) == ("train", "test")
    train, test = (open_source(str(tmp_path), split=split, size=16) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog") and (len(train), len(test)) == (6, 4)


def test_pairs_however_they_are_spelt(tmp_path):
    for name in ("TrainA", "TRAINB", "testa"):
        _fill(tmp_path / name, 1)
    assert parts(str(tmp_path)) == ("trainA", "trainB", "testA")


def test_a_split_that_is_there_twice_is_refused(tmp_path):
    for name in ("Train", "train", "test"):
        _fill(tmp_path / name, 1)
    with pytest.raises(UserError, match="has Train and train, which mean the same split; rename one"):
        open_source(str(tmp_path), size=16)


def test_one_class_that_holds_the_classes_is_warned_of_once(tmp_path, caplog):
    for name in ("cat", "dog"):
        _fill(tmp_path / "data" / "flowers" / name, 1)
    for _ in range(2):
        assert open_source(str(tmp_path), size=16).classes == ("data",)
    assert caplog.messages == [
        f"{tmp_path}: is read as one class; if the folders in {tmp_path}/data/flowers are the classes, name that"
    ]
    caplog.clear()
    assert open_source(str(tmp_path / "data" / "flowers"), size=16).classes == ("cat", "dog")
    _fill(tmp_path / "more" / "cat" / "2019", 1)
    _fill(tmp_path / "more" / "cat", 1)
    assert open_source(str(tmp_path / "more"), size=16).classes == ("cat",)
    assert not caplog.messages


def test_flat_split_trees(tmp_path):
    _fill(tmp_path / "train", 3)
    _fill(tmp_path / "test", 2)
    assert len(open_source(str(tmp_path), size=16)) == 3
    assert len(open_source(str(tmp_path), split="test", size=16)) == 2


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        _fill(tmp_path / name, 1)
    assert open_source(str(tmp_path), size=16).classes == ("bus", "car", "train")


def test_the_held_out_source(tmp_path):
    whole, tree = _fill(tmp_path / "whole", 3), tmp_path / "tree"
    _fill(tree / "train", 4)
    _fill(tree / "test", 2)
    assert len(open_test(str(tree), size=16)) == 2
    assert len(open_test(str(tree), str(whole), size=16)) == 3
    assert len(open_test(str(whole), str(tree), size=16)) == 2
    with pytest.raises(UserError, match="has no test split"):
        open_test(str(whole), size=16)


def test_procedural_world():
    source = open_source("procedural:count=30,test_count=8,species=3", size=16, seed=4)
    test = open_source("procedural:count=30,test_count=8,species=3", split="test", size=16, seed=4)
    assert (len(source), len(test), len(source.classes)) == (30, 8, 3)
    np.testing.assert_array_equal(source.labels, source.scenes.species)
    np.testing.assert_array_equal(source.images([7, 3, 7]), source.world.render(source.scenes[np.array([7, 3, 7])]))
    np.testing.assert_array_equal(source.image(3), source.images([3])[0])
    assert open_source("procedural:count=30,species=3", size=16, channels=1).image(0).shape == (16, 16, 1)
    again = open_source("procedural:count=30,test_count=8,species=3,seed=4", size=16, seed=0)
    np.testing.assert_array_equal(again.image(5), source.image(5))


@pytest.mark.parametrize(
    "spec, line",
    [
        ("procedural:specis=3", "did you mean species?"),
        ("procedural:count", "not key=value"),
        ("procedural:count=many", "count=many"),
        ("procedural:count=2.5", "count=2.5"),
        ("procedural:size=64", "data.image_size"),
        ("procedural:species=99", "species=99"),
        ("", "data.source is empty"),
    ],
)
def test_bad_specs(spec, line):
    with pytest.raises(UserError, match=line):
        open_source(spec, size=32)


def test_bad_folders(tmp_path, class_folders):
    def fails(path, line, **options):
        with pytest.raises(UserError) as caught:
            open_source(str(path), **{"size": 16, **options})
        assert line in str(caught.value) and "\n" not in str(caught.value)

    fails(tmp_path / "absent", "absent: no such folder")
    fails(class_folders / "cat" / "cat00.jpg", "is a file")
    (tmp_path / "empty" / "also").mkdir(parents=True)
    fails(tmp_path / "empty", "empty: no images found")
    fails(class_folders, "unknown split", split="valid")
    fails(class_folders, "has no test split", split="test")
    fails(class_folders, "channels is 0", channels=0)
    fails(class_folders, "data.image_size is -1", size=-1)
    fails(class_folders, "cat00.jpg: has 3 channels, of which 4 cannot be made; set data.channels=3", channels=4)
    (class_folders / "fox").mkdir()
    fails(class_folders, "fox: a class with no images")
    for name in ("trainA", "trainB"):
        _fill(tmp_path / "pairs" / name, 1)
    fails(tmp_path / "pairs", "image pairs")
    _fill(tmp_path / "tree" / "train" / "cat", 1)
    _fill(tmp_path / "tree" / "test" / "dog", 1)
    fails(tmp_path / "tree", "dog: the train split has no class of this name", split="test")


def test_examples_replace_an_unreadable_image_by_one_of_its_class(class_folders, caplog):
    bad = class_folders / "cat" / "cat11.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    source = open_source(str(class_folders), size=16)
    with pytest.raises(Unreadable):
        source.image(11)
    for _ in range(2):
        images = examples(source, [10, 11, 12])
    np.testing.assert_array_equal(images[1], source.image(0))  # around the end of the cats
    np.testing.assert_array_equal(images[2], source.image(12))
    assert [record.getMessage().count("cat11.jpg") for record in caplog.records] == [1]
    assert examples(source, []).shape == (0, 16, 16, 3)
    shutil.rmtree(class_folders / "eel")
    with pytest.raises(UserError, match="none of the images that could replace"):
        examples(source, [20])


def test_a_damaged_packed_set_is_refused(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((2, 16, 16, 3), np.uint8))
    meta = {"format": 1, "size": 16, "channels": 3, "classes": ["a"], "labels": [0, 0], "names": ["x", "y"]}

    def fails(line, **changes):
        (tmp_path / "meta.json").write_text(json.dumps({**meta, **changes}))
        with pytest.raises(UserError, match=line):
            open_source(str(tmp_path), size=16)

    fails("meta.json: not readable .2 labels of 1 names", names=["x"])
    fails("images.npy: not readable .uint8 .2, 16, 16, 3., and meta.json has .2, 8, 8, 3.", size=8)
    fails("its labels cannot be so", labels=[0, 1])
    fails("not of format", format=99)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(UserError, match="meta.json: not readable"):
        open_source(str(tmp_path), size=16)
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    assert len(open_source(str(tmp_path), size=16)) == 2
    with pytest.raises(UserError, match="is packed at 16 px, and 32 are asked for"):
        open_source(str(tmp_path), size=32)
    data = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(data[:-100])
    with pytest.raises(UserError, match="images.npy: not readable"):
        open_source(str(tmp_path), size=16)


def test_a_rooted_spec_means_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("set/a", "c#d", "home/mine"):
        (tmp_path / name).mkdir(parents=True)
    for spec, meant in (
        ("set", f"{tmp_path}/set"),
        ("./set/#a", f"{tmp_path}/set#a"),
        ("c#d", f"{tmp_path}/c#d"),
        ("~/mine", f"{tmp_path}/home/mine"),
        (f"{tmp_path}/set", f"{tmp_path}/set"),
    ):
        assert rooted(spec) == meant
    # What is no path, and what is not there and will be refused by the name it was given.
    for spec in ("", "procedural", "procedural:count=3#0", "tfds:cifar10:train", "tfds:cifar10#cat", "missing"):
        assert rooted(spec) == spec
