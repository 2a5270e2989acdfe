"""The judge of translations: what it learns, what it calls those whose answer is known, and what is kept of it."""

import copy
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.evaluation.sets import CLASSES, SIZE, SMALL, STEPS, write_set
from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.evaluation import classifier, translations
from uit_jax.evaluation import judge as judging


def open_both(root, **form):
    return data.open_source(str(root), size=SIZE, **form), data.open_test(str(root), size=SIZE, **form)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of one colour each; half of the test images of the first look like the second."""
    root = tmp_path_factory.mktemp("set")
    write_set(root, wrong=6)
    return root


@pytest.fixture(scope="module")
def judge(folder):
    return classifier.train(*open_both(folder), steps=STEPS, **SMALL)


@pytest.fixture
def test(folder):
    return open_both(folder)[1]


def looks(source):
    """Return the brightest channel of each image, which is the class it looks like."""
    return source.images(range(len(source))).mean((1, 2)).argmax(-1)


def translator(answer):
    """Return a method whose style is an image itself, and whose translation is `answer(content, reference)`."""

    def translate(variables, inputs):
        return answer(inputs["content"], inputs["style"].reshape(inputs["content"].shape))

    readouts = {"style": lambda variables, images: images.reshape(len(images), -1)}
    return toy.altered(toy.method(image_size=SIZE), readouts=readouts, translate=translate)


def test_a_judge_learns_to_tell_images_apart(judge, folder, test):
    images = test.images(range(len(test)))
    assert (judge.read(images) == looks(test)).mean() > 0.95
    assert judge.accuracy == (judge.read(images) == test.labels).mean()
    assert judge.classes == tuple(CLASSES) and judge.shape == (SIZE, SIZE, 3)
    assert "all 90 labelled training images" in judge.protocol and "on 36 held-out" in judge.protocol
    np.testing.assert_array_equal(judge.read(open_both(folder, depth=16)[1].images(range(36))), judge.read(images))


def test_features_are_what_the_last_layer_reads(judge, test):
    images = test.images(range(5))
    out, features = judge.params["classes"]["out"], judge.features(images)
    logits = judge.network.apply(judge.params, images / np.float32(127.5) - 1)
    np.testing.assert_allclose(features @ out["kernel"] + out["bias"], logits, rtol=1e-4, atol=1e-4)


def test_training_is_a_function_of_images_and_seed(folder):
    eight, sixteen, other = (
        classifier.train(*open_both(folder, depth=depth), steps=STEPS, seed=seed, **SMALL)
        for depth, seed in ((8, 0), (16, 0), (8, 1))
    )
    assert eight.checksum == sixteen.checksum != other.checksum


@pytest.mark.parametrize("seed", [0, 1])
def test_a_translator_that_answers_with_the_reference_or_the_content_scores_what_these_are_called(judge, test, seed):
    own = judge.read(test.images(range(len(test))))
    others = translations.of_other_classes(test.labels, 5, seed)
    right = (own == test.labels).mean()
    assert 0.7 < right < 0.95

    def score(answer):
        method = translator(answer)
        return judging.score(method, toy.variables(), test, judge, references=5, seed=seed)

    scores, protocol = score(lambda content, reference: reference)
    # Calls in another order would meet the references' classes, a third each, in a third.
    assert scores.pop("translation_chance") == pytest.approx(1 / 3, abs=0.02)
    assert scores == {
        "judge_accuracy": right,
        "translation_accuracy": (own == test.labels)[others].mean(),
        "translation_kept": (own[others] == test.labels[:, None]).mean(),
    }
    assert scores["translation_accuracy"] > 0.7 and scores["translation_kept"] < 0.2
    assert protocol.startswith("180 translations") and "each of 36 labelled test images with 5 of another" in protocol
    assert f"(seed {seed};" in protocol
    scores, _ = score(lambda content, reference: content)
    assert scores.pop("translation_chance") > scores["translation_accuracy"]
    assert scores == {
        "judge_accuracy": right,
        "translation_accuracy": (own[:, None] == test.labels[others]).mean(),
        "translation_kept": right,
    }
    assert scores["translation_accuracy"] < 0.2


def test_likeness_is_that_of_the_translations_towards_each_class(judge, folder, test):
    """A reference itself is as like its class as other images of it are, and a content as unlike as it was."""
    true = open_both(folder)[0]

    def score(answer, true=true):
        return judging.score(translator(answer), toy.variables(), test, judge, true=true, references=24)

    perfect, protocol = score(lambda content, reference: reference)
    idle, _ = score(lambda content, reference: content)
    assert "means over 3 of the 3 classes" in protocol and "its training images, 90 in all" in protocol
    floor, apart = (perfect[f"translation_frechet_{name}"] for name in ("floor", "untranslated"))
    assert 0 <= floor < apart / 4
    # Every image comes 24 times, some twice in a sample.
    assert perfect["translation_frechet"] == pytest.approx(floor, rel=0.2)
    assert idle["translation_frechet"] == pytest.approx(apart, rel=0.1)
    assert idle["translation_frechet_untranslated"] == apart
    assert idle["translation_coverage"] < 0.5 < perfect["translation_coverage"] <= 1
    few = copy.copy(true)
    few.labels = np.where((true.labels == 0) & (np.cumsum(true.labels == 0) > 5), -1, true.labels)
    left, protocol = score(lambda content, reference: content, few)
    assert "means over 2 of the 3 classes" in protocol and left["translation_frechet"] > 0
    few.labels = np.full_like(true.labels, -1)
    none, protocol = score(lambda content, reference: content, few)
    assert "translation_frechet" not in none and "Fréchet" not in protocol


def test_what_is_of_one_distribution_is_as_far_however_many_there_are():
    features = [np.random.default_rng(seed).normal(size=(n, 24)) for seed, n in enumerate((450, 500, 200, 50))]
    found = judging._likeness(*features)
    floor = found["translation_frechet_floor"]
    assert found["translation_frechet"] == pytest.approx(floor, rel=0.15)
    assert found["translation_frechet_untranslated"] == pytest.approx(floor, rel=0.15)


def test_where_styles_are_of_classes_the_class_of_a_reference_is_told(judge, test):
    """A translator that draws a class's colour for every image of it, and grey where nobody tells."""

    def style(variables, images, domains=None):
        colours = jnp.zeros(3) if domains is None else 2 * jax.nn.one_hot(domains, 3) - 1
        return jnp.broadcast_to(colours[..., None, None, :], images.shape).reshape(len(images), -1)

    method = toy.altered(translator(lambda content, reference: reference), sampled_by_class=True)
    method = toy.altered(method, readouts={"style": style})
    scores, _ = judging.score(method, toy.variables(), test, judge, references=5)
    assert scores["translation_accuracy"] == 1 and scores["translation_kept"] == 0
    # Of one that has learnt other classes, these are not told.
    grey = judging.score(method, toy.variables(), test, judge, references=5, told=False)[0]
    assert grey["translation_accuracy"] < 0.5


def test_some_images_are_judged_among_themselves(judge, test):
    """And those without a label, or that cannot be read, are neither contents nor references."""
    chosen = np.arange(3, 36, 2)
    test.labels = test.labels.copy()
    test.labels[5] = -1
    test.mark_unreadable(7, "torn")
    kept = np.setdiff1d(chosen, [5, 7])
    scores, protocol = judging.score(
        translator(lambda content, reference: reference), toy.variables(), test, judge, chosen=chosen, references=99
    )
    own, labels = judge.read(test.images(kept)), test.labels[kept]
    others = translations.of_other_classes(labels, 99, 0)
    assert scores["judge_accuracy"] == (own == labels).mean()
    assert scores["translation_accuracy"] == (own == labels)[others].mean()
    assert f"{others.size} translations" in protocol and "each of 15 labelled" in protocol


class Images(data.Source):
    """Images [n, S, S, C] that are held in memory."""

    def __init__(self, pixels):
        labels = np.zeros(len(pixels), np.int32)
        super().__init__("held", data.Form(SIZE), names=[f"{i}" for i in labels], labels=labels, classes=())
        self._pixels = pixels

    def images(self, indices):
        return self._pixels[list(indices)]


@pytest.fixture(scope="module")
def domains(folder):
    """Red and green images to learn from, and to be judged."""
    found = []
    for source in open_both(folder):
        pixels, seen = source.images(range(len(source))), looks(source)
        found.append({"a": Images(pixels[seen == 0]), "b": Images(pixels[seen == 1])})
    return found


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_of_two_domains_a_translation_is_wanted_to_be_of_the_second(domains, direction):
    train, test = (judging._both(each, direction) for each in domains)
    assert train.classes == ("A", "B") and len(test) == sum(map(len, domains[1].values()))
    judge = classifier.train(train, test, steps=STEPS, **SMALL)
    first, second = domains[1].values()
    # The class A is that of the data, whichever side comes first.
    assert (judge.read(first.images(range(len(first)))) == (direction == "BtoA")).mean() > 0.95

    def score(answer, **how):
        true = domains[0]["b"]
        return judging.score_pair(answer, toy.variables(), domains[1], true, judge, direction=direction, **how)

    perfect, protocol = score(translator(lambda content, style: style), styled=True, references=3)
    assert perfect["translation_accuracy"] > 0.9 and perfect["translation_kept"] < 0.1
    assert perfect["judge_accuracy"] == judge.accuracy and protocol.startswith(f"{3 * len(first)} translations")
    assert f"of 3 of {direction[-1]}, drawn" in protocol and f"calls {direction[0]}'s" in protocol
    assert perfect["translation_frechet_floor"] > 0 and perfect["translation_coverage"] > 0.5
    idle = toy.altered(toy.method(image_size=SIZE), readouts={}, translate=lambda _, inputs: inputs["content"])
    few, protocol = score(idle, chosen=np.arange(4))
    assert few["translation_kept"] > 0.7 and "4 test images" in protocol and "as they are" in protocol
    assert "translation_frechet" not in few and "Fréchet" not in protocol
    without = judging.score_pair(idle, toy.variables(), domains[1], None, judge, direction=direction)[0]
    assert without.keys() == few.keys()
    idle, _ = score(idle)
    assert idle["translation_frechet"] > 5 * perfect["translation_frechet"] and idle["translation_coverage"] == 0
    # What a translator that changes nothing reaches is told beside.
    untranslated = "translation_frechet_untranslated"
    assert idle[untranslated] == perfect[untranslated] == pytest.approx(idle["translation_frechet"], rel=1e-5)
    turned = toy.altered(toy.method(image_size=SIZE), readouts={}, translate=lambda _, x: jnp.roll(x["content"], 1, -1))
    assert score(turned)[0]["translation_accuracy"] > 0.9


def test_a_judge_of_other_domains_is_doubted(judge, caplog, tmp_path):
    known = judge._replace(classes=("A", "B"), accuracy=0.9)
    for accuracy, warned in ((0.8, 0), (0.6, 1), (0.0, 1)):
        caplog.clear()
        judging._doubt(known, accuracy, tmp_path / "judge.npz")
        assert len(caplog.messages) == warned
    assert "judge.npz: names 0% of these true images right, of its own 90%; if" in caplog.text
    # One that never knew better tells nothing by it.
    judging._doubt(known._replace(accuracy=0.5), 0.4, tmp_path / "judge.npz")
    assert len(caplog.messages) == 1


def test_references_are_others_of_another_class_and_the_same_every_time():
    labels = np.random.default_rng(0).integers(4, size=60)
    others = translations.of_other_classes(labels, 10, seed=3)
    assert others.shape == (60, 10) and (labels[others] != labels[:, None]).all()
    assert all(len(set(row)) == 10 for row in others.tolist())
    np.testing.assert_array_equal(others, translations.of_other_classes(labels, 10, seed=3))
    assert (others != translations.of_other_classes(labels, 10, seed=4)).any()
    # Of any class but one's own, and not of the next one alone.
    for label in range(4):
        assert set(labels[others[labels == label]].ravel()) == set(range(4)) - {label}
    # As many for every image, where one class is larger than all the others together.
    few = translations.of_other_classes(np.array([0, 0, 0, 0, 1, 2]), 10, seed=0)
    assert few.shape == (6, 2) and (few[:4] >= 4).all() and (few[4] != 4).all() and (few[5] != 5).all()


def test_a_judge_comes_back_from_its_file(tmp_path, judge, test):
    path = tmp_path / "kept" / "judge.npz"
    path.parent.mkdir()
    classifier.save(path, judge)
    again = classifier.load(path)
    images = test.images(range(len(test)))
    np.testing.assert_array_equal(again.read(images), judge.read(images))
    floats = jnp.asarray(images[:4] / 127.5 - 1, jnp.float32)
    logits = (each.network.apply(each.params, floats) for each in (again, judge))
    np.testing.assert_array_equal(*logits)
    assert again.checksum == judge.checksum
    assert again._replace(params=None) == judge._replace(params=None)
    again.check_fits(test, str(path))
    assert [each.name for each in path.parent.iterdir()] == ["judge.npz"]


def test_an_interrupted_write_leaves_what_was_there(tmp_path, judge, monkeypatch):
    path = tmp_path / "judge.npz"

    def torn(file, **arrays):
        file.write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", torn)
        with pytest.raises(KeyboardInterrupt):
            classifier.save(path, judge)
        assert list(tmp_path.iterdir()) == []
    classifier.save(path, judge)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", torn)
        with pytest.raises(KeyboardInterrupt):
            classifier.save(path, judge._replace(accuracy=0.0))
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["judge.npz"]


def test_a_file_that_holds_no_judge_is_refused_in_one_line(tmp_path, judge):
    path = tmp_path / "judge.npz"
    classifier.save(path, judge)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    kernel = "params.classes.out.kernel"
    for damage in (
        {"width": np.array(8)},
        {"shape": np.array([SIZE, SIZE, 1])},
        {"classes": np.array(["one", "two"])},
        {"more": np.zeros(3)},
        {kernel: arrays[kernel][:-1]},
        {kernel: arrays[kernel].astype(np.float64)},
        {kernel: arrays[kernel] * np.nan},
        {kernel: None},
        {"accuracy": None},
    ):
        kept = {name: value for name, value in {**arrays, **damage}.items() if value is not None}
        np.savez(path, **kept)
        with pytest.raises(UserError, match=f"^{re.escape(str(path))}: holds no judge .*name another file$"):
            classifier.load(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: cannot be read"):
        classifier.load(path)


def test_what_a_judge_cannot_judge_is_refused(tmp_path, folder, judge, test):
    source = open_both(folder)[0]
    for other, what in (
        (data.open_test("procedural:species=3,test_count=9", size=SIZE), "disk, square"),
        (data.open_test(str(folder), size=2 * SIZE), "32 x 32 px"),
        (data.open_test(str(folder), size=SIZE, channels=1), "in 1 channels"),
    ):
        with pytest.raises(UserError, match=f"^FILE: this judge is of 3 classes \\(a_red, .*{what}.*name a file that"):
            judge.check_fits(other, "FILE")
        with pytest.raises(UserError, match=f"{what}.*a judge needs the same in both"):
            classifier.train(source, other, steps=1)
        with pytest.raises(UserError, match=what):
            judging.score(toy.method(), toy.variables(), other, judge)
    write_set(tmp_path / "flat", labelled=False, test=2, train=2)
    with pytest.raises(UserError, match="flat/train: its images have no labels to judge translations by"):
        classifier.train(open_both(tmp_path / "flat")[0], test, steps=1)
    with pytest.raises(UserError, match="its images are of one class"):
        judging.score(toy.method(), toy.variables(), test, judge, chosen=np.arange(12))
    with pytest.raises(UserError, match="its images are of one class"):
        classifier.train(source, test.of_class("a_red"), steps=1)
    odd = [data.open_source(str(folder), size=24, split=split) for split in ("train", "test")]
    with pytest.raises(UserError, match="a side that is a power of two"):
        classifier.train(*odd, steps=1)
