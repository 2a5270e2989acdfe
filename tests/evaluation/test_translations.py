"""Translations scored in a network's features: who meets whom, known translators, and what cannot be scored."""

import dataclasses

import numpy as np
import pytest

from tests import toy, toy_translator
from tests.evaluation.sets import SIZE, paint, write_set
from tests.evaluation.test_report import altered
from uit_jax import evaluation
from uit_jax.errors import UserError
from uit_jax.evaluation import Likeness, diversity, featured, networks, perceptual
from uit_jax.evaluation.classifier import read_all
from uit_jax.evaluation.classwise import CluitClasses, TunitClasses
from uit_jax.evaluation.diversity import Diversity
from uit_jax.metrics import clusters
from uit_jax.runs import Trained


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    for name in (networks.VARIABLE, perceptual.VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path):
    write_set(tmp_path / "set")
    config = toy.config(SIZE, source=str(tmp_path / "set"), target="", test_target="", direction="AtoB")
    return Trained(tmp_path, config, toy.method(image_size=SIZE), toy.variables(), 7)


@pytest.fixture
def pair_run(tmp_path, run):
    rng = np.random.default_rng(0)
    for folder, channel, count in (("trainA", 0, 9), ("trainB", 1, 20), ("testA", 0, 12), ("testB", 1, 14)):
        for i in range(count):
            paint(tmp_path / "pair" / folder / f"{i:02}.png", channel, rng)
    config = run.config.copy_and_resolve_references()
    config.data.source = str(tmp_path / "pair")
    method = toy_translator.method(image_size=SIZE)
    return dataclasses.replace(run, config=config, method=method, variables=toy_translator.variables())


def idle(run):
    return altered(run, translate=lambda variables, inputs: inputs["content"])


def test_translations_of_a_pair_are_held_against_all_images_of_the_domain(pair_run, tmp_path, monkeypatch):
    still = idle(pair_run)
    record = evaluation.evaluate(still, ["likeness"])
    wanted = evaluation.compare(tmp_path / "pair" / "testB", tmp_path / "pair" / "testA", bar=False)
    assert record["scores"] == pytest.approx(wanted["scores"], rel=1e-5)
    assert record["features"] == wanted["features"]
    told = record["protocol"]["frechet_distance"]
    assert told.startswith("12 translations") and "as they are, against all 14 test images of B" in told
    assert "Fréchet distance  " in evaluation.table(record)
    assert "random features, seed 0, SHA-256 6c98bbf5e2f2, 64 px" in evaluation.table(record)
    read = []
    monkeypatch.setattr(featured, "read_all", lambda source, *rest: read.append(source) or read_all(source, *rest))
    assert evaluation.evaluate(still, ["likeness"]) == record and not read
    train = evaluation.evaluate(still, [Likeness(split="train", random=1)])
    assert len(read) == 1
    assert "all 20 train images" in train["protocol"]["kernel_distance"]
    assert train["features"]["name"] == "random features, seed 1"
    # One that draws what it is shown, as it is, is as near as the images of the domain are to each other.
    style = lambda variables, images: images.reshape(len(images), -1)  # noqa: E731
    perfect = altered(
        pair_run,
        readouts={"style": style},
        translate=lambda variables, inputs: inputs["style"].reshape(inputs["content"].shape),
    )
    styled = evaluation.evaluate(perfect, [Likeness(references=5)])
    assert styled["scores"]["frechet_distance"] < 0.1 * record["scores"]["frechet_distance"]
    assert styled["scores"]["coverage"] == 1 and "60 translations" in styled["protocol"]["frechet_distance"]


def test_classes_meet_as_tunit_pairs_them():
    labels, sizes = np.repeat([0, 1, 2], [8, 6, 7]), np.array([40, 30, 70])
    pairs, told = TunitClasses().pairs(labels, sizes, seed=0)
    assert "16 draws of at most 1 references" in told and "50 translations a class at most" in told
    for label, (contents, references) in pairs.items():
        assert (labels[references] == label).all() and (labels[contents] != label).all()
        assert len(contents) == len(references) == 16 * 2
    # Of ten classes of 50 test images, as in AnimalFaces-10: 5 draws of 24, as 1,000 training images give.
    labels = np.repeat(np.arange(10), 50)
    pairs, _ = TunitClasses().pairs(labels, np.full(10, 1100), seed=0)
    contents, references = pairs[3]
    assert len(contents) == 5 * 9 * 24 and len(np.unique(references[: 9 * 24])) == 24
    np.testing.assert_array_equal(contents[:24], np.arange(200, 224))
    # With two classes, the other one is the content, which in the reference code is always the first.
    pairs, _ = TunitClasses().pairs(np.repeat([0, 1], 5), np.array([9, 9]), seed=0)
    assert (pairs[0][0] >= 5).all() and (pairs[1][0] < 5).all()


def test_classes_meet_as_cluit_pairs_them():
    labels = np.repeat([0, 1, 2], [8, 6, 7])
    pairs, told = CluitClasses(references=4).pairs(labels, np.zeros(3), seed=1)
    assert sum(len(contents) for contents, _ in pairs.values()) == 21 * 4 and "styles of 4 test images" in told
    assert all((labels[references] == label).all() for label, (_, references) in pairs.items())


def test_the_class_wise_distance_is_the_mean_of_the_classes(run):
    record = evaluation.evaluate(run, ["tunit_classes", "cluit_classes"])
    for paper in ("tunit", "cluit"):
        found = record[f"{paper}_classes"]
        assert list(found) == ["a_red", "b_green", "c_blue"]
        mean = np.mean([each["distance"] for each in found.values()])
        assert record["scores"][f"mean_class_frechet_{paper}"] == pytest.approx(mean)
        assert f"{paper.upper()}'s protocol" in evaluation.table(record)
        assert "not mirrored" in record["protocol"][f"{paper}_classes"]
    still = evaluation.evaluate(idle(run), [TunitClasses()])["scores"]
    # The toy moves an image's mean colour to the reference's, which is all there is to its class.
    assert record["scores"]["mean_class_frechet_tunit"] < 0.2 * still["mean_class_frechet_tunit"]
    assert still["mean_class_coverage_tunit"] == 0 < record["scores"]["mean_class_coverage_tunit"]


def test_an_idle_translator_has_no_diversity(run, pair_run, tmp_path):
    still, moving = (evaluation.evaluate(each, [Diversity(outputs=3)]) for each in (idle(run), run))
    assert still["scores"] == {"feature_diversity": 0} and "3 translations" in still["protocol"]["feature_diversity"]
    assert moving["scores"]["feature_diversity"] > 0
    with pytest.raises(UserError, match="diversity: this run's method has no styles"):
        evaluation.evaluate(pair_run, ["diversity"])


def test_lpips_is_called_so_where_its_weights_are_given(run, monkeypatch):
    class Fixed(perceptual.Perceptual):
        def among(self, images):
            assert images.shape == (3, SIZE, SIZE, 3)
            return np.arange(3)

    asked = []

    def opened(*paths, kind):
        asked.append((paths, kind))
        return Fixed(kind, {"alex.pth": "0" * 64}, {})

    monkeypatch.setattr(diversity.perceptual, "opened", opened)
    record = evaluation.evaluate(run, [Diversity(outputs=3, lpips=("alex.pth",))])
    assert record["scores"] == {"lpips_diversity": 1} and asked == [(("alex.pth",), "alex")]
    assert record["lpips"]["sha256"] == {"alex.pth": "0" * 64}


def test_references_of_one_image_are_of_one_other_class():
    labels = np.repeat([0, 1, 2], [3, 4, 5])
    drawn = diversity._of_one_class(labels, labels, 10, seed=0)
    assert drawn.shape == (12, 3) and all(len(set(labels[row])) == 1 and len(set(row)) == 3 for row in drawn)
    assert (labels[drawn[:, 0]] != labels).all()


def test_variances_of_codes_are_compared(run):
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(20, 3)), np.repeat([3, 7, 1], [5, 8, 7])
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    apart, same = 1 - unit @ unit.T, labels[:, None] == labels
    pairs = ~np.eye(20, dtype=bool)
    wanted = apart[~same].mean() / apart[same & pairs].mean()
    assert clusters.inter_over_intra(codes, labels) == pytest.approx(wanted)
    assert clusters.inter_over_intra(codes, np.zeros(20, int)) is None
    scores = evaluation.evaluate(run, ["variance"])["scores"]
    assert scores["ioi_domains"] == pytest.approx(scores["ioi_classes"]) and scores["ioi_classes"] > 1


def test_what_cannot_be_scored_is_one_line(run, pair_run):
    for asked, who, message in (
        ("likeness", run, "^likeness: this run has no domain that its translations go to; name tunit_classes"),
        ("tunit_classes", pair_run, "^tunit_classes: this run translates between two domains; name likeness"),
        ("variance", pair_run, "^variance: this run's method has no styles of all its images"),
    ):
        with pytest.raises(UserError, match=message):
            evaluation.evaluate(who, [asked])
    with pytest.raises(UserError, match="best_metric='frechet_distance' .*: set it to '-frechet_distance'"):
        evaluation.followed(["likeness"], "frechet_distance")
    assert evaluation.followed(["likeness"], "-frechet_distance") == (Likeness(),)
    with pytest.raises(UserError, match="did you mean coverage.; leave it empty"):
        evaluation.followed(["likeness"], "-coverage")
