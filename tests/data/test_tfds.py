"""Any image builder of TFDS, read record by record where it lies, in the order every other source has."""

import numpy as np
import pytest

tfds = pytest.importorskip("tensorflow_datasets")

from tests.data.domains import open_domains, open_test_domains  # noqa: E402
from tests.data.image_files import picture  # noqa: E402
from uit_jax.data import batches, open_source, side_batches, splits  # noqa: E402
from uit_jax.data.sources.tfds import parse  # noqa: E402
from uit_jax.errors import UserError  # noqa: E402


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Twenty-four labelled pictures to train on and six to test with."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image, label = tfds.features.Image(shape=(16, 16, 3)), tfds.features.ClassLabel(names=["a", "b"])
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"image": image, "label": label}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 24), "validation": self._generate_examples(100, 6)}

    def _generate_examples(self, start, count):
        for i in range(start, start + count):
            yield i, {"image": picture(i), "label": i % 2}


class TinyPair(tfds.core.GeneratorBasedBuilder):
    """Pictures of two domains in splits of their own, laid out as cycle_gan's are; those of B are 16-bit gray."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="one2two")]

    def _info(self):
        image = tfds.features.Image(shape=(16, 16, 1), dtype=np.uint16)
        features = {"image": image, "label": tfds.features.ClassLabel(names=["A", "B"])}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        counts = {"trainA": 9, "trainB": 5, "testA": 3, "testB": 2}
        return {name: self._generate_examples(name, count) for name, count in counts.items()}

    def _generate_examples(self, name, count):
        for i in range(count):
            yield i, {"image": _deep(100 * (name[-1] == "B") + 500 * name.startswith("test") + i), "label": name[-1]}


def _deep(seed):
    return picture(seed)[..., :1].astype(np.uint16) * 200 + 7


class TinyWords(tfds.core.GeneratorBasedBuilder):
    """A builder without images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "word"}


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_records_arrive_whole(data_dir, file_format):
    TinyShapes(data_dir=data_dir, file_format=file_format).download_and_prepare()
    source = open_source("tfds:tiny_shapes", size=16)
    assert len(source) == 24 and source.classes == ("a", "b")
    pictures = {picture(i).tobytes(): i for i in range(24)}
    found = [pictures[source.image(i).tobytes()] for i in range(24)]
    assert sorted(found) == list(range(24)) and source.labels.tolist() == [i % 2 for i in found]
    for pipeline in ("tf.data", "threads"):
        with batches(source, batch_size=8, seed=2, pipeline=pipeline) as loader:
            drawn = [loader.batch(step) for step in range(3)]
        for batch in drawn:
            assert [pictures[image.tobytes()] % 2 for image in batch["image"]] == batch["label"].tolist()
        assert len({image.tobytes() for batch in drawn for image in batch["image"]}) == 24
    assert open_source("tfds:tiny_shapes", size=8, channels=1).image(0).shape == (8, 8, 1)


def test_splits_and_slices():
    assert splits("tfds:tiny_shapes") == ("train", "test")  # prepares it on the way
    test = open_source("tfds:tiny_shapes", split="test", size=16)
    assert len(test) == 6 and test.image(0).tobytes() in {picture(i).tobytes() for i in range(100, 106)}
    whole, part = open_source("tfds:tiny_shapes", size=16), open_source("tfds:tiny_shapes:train[5:15]", size=16)
    assert len(part) == 10
    np.testing.assert_array_equal(part.image(0), whole.image(5))
    np.testing.assert_array_equal(part.image(9), whole.image(14))
    assert splits("tfds:tiny_shapes:1.0.0") == ("train", "test") and splits("tfds:tiny_shapes:train") == ()


def test_a_builder_of_two_domains():
    spec = "tfds:tiny_pair/one2two"
    pair, test = (opened(spec, size=16, channels=1, depth=16) for opened in (open_domains, open_test_domains))
    assert [len(side) for side in (pair["a"], pair["b"], test["a"], test["b"])] == [9, 5, 3, 2]
    expected = {_deep(100 + i).tobytes() for i in range(5)}
    assert {pair["b"].image(i).tobytes() for i in range(5)} == expected
    drawn = []
    for pipeline in ("tf.data", "threads"):
        with side_batches(pair, batch_size=4, seed=2, pipeline=pipeline) as loader:
            drawn.append([loader.batch(step) for step in range(4)])
    for one, other in zip(*drawn, strict=True):
        assert one["a"].dtype == np.uint16 and one["a"].shape == (4, 16, 16, 1)
        np.testing.assert_array_equal(one["a"], other["a"])
        np.testing.assert_array_equal(one["b"], other["b"])
    # The high byte of 16 bits, and two splits as two sources.
    two = open_domains(f"{spec}:trainA", f"{spec}:testB", size=16, channels=1)
    assert len(two["b"]) == 2 and two["a"].image(0).tobytes() in {
        (_deep(i) >> 8).astype(np.uint8).tobytes() for i in range(9)
    }
    with pytest.raises(UserError, match="holds image pairs"):
        open_source(spec, size=16)


def test_classes_of_a_builder_are_domains():
    pair = open_domains("tfds:tiny_shapes#a", "tfds:tiny_shapes#b", size=16)
    for label, side in enumerate((pair["a"], pair["b"])):
        assert len(side) == 12 and set(side.labels) == {0}
        assert {side.image(i).tobytes() for i in range(12)} == {picture(i).tobytes() for i in range(label, 24, 2)}
    held_out = open_test_domains("tfds:tiny_shapes#a", "tfds:tiny_shapes#1", size=16)
    assert len(held_out["a"]) == len(held_out["b"]) == 3
    assert len(open_domains("tfds:tiny_shapes:train[:10]#a", "tfds:tiny_shapes#b", size=16)["a"]) < 10
    with pytest.raises(UserError, match="#c: no such class; there are: a, b"):
        open_domains("tfds:tiny_shapes#c", "tfds:tiny_shapes#b", size=16)
    with pytest.raises(UserError, match="one set of images"):
        open_domains("tfds:tiny_shapes", size=16)


def test_specs():
    assert parse("tfds:mnist") == ("mnist", "")
    assert parse("tfds:mnist:3.0.1") == ("mnist:3.0.1", "")
    assert parse("tfds:mnist:train[:80%]") == ("mnist", "train[:80%]")
    assert parse("tfds:imagenet_resized/64x64:0.1.*:validation") == ("imagenet_resized/64x64:0.1.*", "validation")


@pytest.mark.parametrize(
    "spec, options, line",
    [
        ("tfds:no_such_builder_at_all", {}, "no such builder"),
        ("tfds:tiny_words", {}, "no feature 'image'"),
        ("tfds:tiny_shapes:holdout", {}, "has no holdout split; it has train, validation"),
        ("tfds:tiny_shapes:train", {"split": "test"}, "names one split"),
    ],
)
def test_bad_specs(spec, options, line):
    with pytest.raises(UserError, match=line) as caught:
        open_source(spec, size=16, **options)
    assert "\n" not in str(caught.value)


def test_a_download_that_fails_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host\nand much more")

    monkeypatch.setattr(TinyShapes, "download_and_prepare", fail)
    with pytest.raises(UserError, match=r"could not be downloaded \(no route to host\)$"):
        open_source("tfds:tiny_shapes", size=16)
