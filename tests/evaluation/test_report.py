"""What an evaluation finds of runs whose scores are known, in which order, and what it refuses."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests import toy, toy_translator
from tests.evaluation.sets import CLASSES, SIZE, SMALL, STEPS, paint, write_set
from uit_jax import evaluation
from uit_jax.errors import UserError
from uit_jax.evaluation import Clusters, Judge, KMeans, Oracle, Retrieval, classifier, context, oracle
from uit_jax.evaluation.kmeans import pixels
from uit_jax.metrics import clusters
from uit_jax.runs import Trained
from uit_jax.training.progress import Progress


@pytest.fixture
def run(tmp_path):
    config = toy.config(SIZE, source=str(tmp_path / "set"), target="", test_target="", direction="AtoB")
    config.seed = 3
    (tmp_path / "run").mkdir()
    return Trained(tmp_path / "run", config, toy.method(image_size=SIZE), toy.variables(), 7)


def evaluate(run, *asked, pairs=600, **how):
    """Do what the command does: what it can without being asked, and what is asked for."""
    return evaluation.evaluate(run, asked, usual=(Clusters(), Retrieval(), Oracle(pairs)), **how)


def test_scores_of_a_set_whose_clusters_are_known(tmp_path, run):
    write_set(tmp_path / "set", wrong=6)
    result = evaluate(run, KMeans())
    predicted = [1] * 6 + [0] * 6 + [1] * 12 + [2] * 12
    true = np.repeat([0, 1, 2], 12)
    scores = result["scores"]
    assert scores["cluster_accuracy"] == 30 / 36
    assert scores["cluster_nmi"] == pytest.approx(clusters.normalized_mutual_information(predicted, true))
    # Pixels separate these classes, and so do the mean colours that are the styles; both make the same six mistakes.
    assert scores["kmeans_accuracy"] == scores["kmeans_style_accuracy"] == 30 / 36
    assert scores["kmeans_style_nmi"] == pytest.approx(scores["kmeans_nmi"])
    assert result["cluster_sizes"] == [6, 18, 12]
    assert (result["images"], result["labelled_images"], result["step"]) == (36, 36, 7)
    assert result["classes"] == list(CLASSES) and result["training_seed"] == 3
    assert result["averaged"] == [] and result["run"] == str(tmp_path / "run") and len(result["config_sha256"]) == 64
    assert "fitted on 90 training images" in result["protocol"]["kmeans"]
    assert "16 px" in result["protocol"]["kmeans"]
    assert "on style codes" in result["protocol"]["kmeans_style"]


def unclustered(run):
    """Return a run whose method has styles and no pseudo domains."""
    return altered(run, readouts={"style": run.method.style})


def altered(run, **attributes):
    """Return a run of a method of which something is replaced."""
    return dataclasses.replace(run, method=toy.altered(run.method, **attributes))


def retrieved(folder):
    """Return how often an image's nearest other one in mean colour has its class, and what chance gives, by numpy."""
    paths = sorted(folder.rglob("*.png"))
    codes = np.stack([np.asarray(Image.open(path), np.float64).mean((0, 1)) / 127.5 - 1 for path in paths])
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    classes = np.array([path.parent.name for path in paths])
    nearest = (codes @ codes.T - 9 * np.eye(len(codes))).argmax(1)
    same = classes[:, None] == classes
    chance = (same.sum() - len(codes)) / (len(codes) * (len(codes) - 1))
    return (classes[nearest] == classes).mean(), chance


def test_styles_are_scored_by_the_classes_of_neighbours(tmp_path, run):
    write_set(tmp_path / "set", wrong=3)
    share, chance = retrieved(tmp_path / "set" / "test")
    assert 0.5 < share < 1
    clustered, plain = evaluate(run), evaluate(unclustered(run))
    for result in (clustered, plain):
        assert result["scores"]["style_retrieval"] == pytest.approx(share)
        assert result["scores"]["style_retrieval_chance"] == pytest.approx(chance)
        assert "share of 36 labelled test images whose nearest" in result["protocol"]["style_retrieval"]
    assert set(plain["scores"]) == {"style_retrieval", "style_retrieval_chance"}
    assert "cluster_accuracy" in clustered["scores"] and "cluster_sizes" not in plain
    kept = set(clustered) - {"cluster_sizes"}
    assert set(plain) == kept and (plain["images"], plain["labelled_images"], plain["step"]) == (36, 36, 7)
    text = evaluation.table(plain)
    assert f"nearest in style is of the same class  {share:.4f}" in text and "pseudo domain" not in text
    assert json.loads(json.dumps(plain)) == plain


def test_an_unreadable_image_is_nobodys_neighbour(tmp_path, run):
    """What is read in its place is another's double, which would be found at once."""
    write_set(tmp_path / "set", wrong=3)
    for name in ("a_red/a_red1.png", "c_blue/c_blue4.png"):
        (tmp_path / "set" / "test" / name).write_bytes(b"torn")
    result = evaluate(unclustered(run))
    for name in ("a_red/a_red1.png", "c_blue/c_blue4.png"):
        (tmp_path / "set" / "test" / name).unlink()
    share, chance = retrieved(tmp_path / "set" / "test")
    assert result["scores"] == {
        "style_retrieval": pytest.approx(share),
        "style_retrieval_chance": pytest.approx(chance),
    }
    assert (result["images"], result["unreadable_images"]) == (36, 2)


def test_kmeans_without_pseudo_domains_forms_as_many_clusters_as_classes(tmp_path, run):
    write_set(tmp_path / "set", wrong=6)
    result = evaluate(unclustered(run), KMeans())
    assert result["scores"]["kmeans_accuracy"] == 30 / 36
    assert "as many clusters as classes" in result["protocol"]["kmeans"]
    assert "as many clusters as pseudo domains" in evaluate(run, KMeans())["protocol"]["kmeans"]


def test_images_without_labels_have_sizes_but_no_accuracy(tmp_path, run):
    write_set(tmp_path / "set", labelled=False)
    result = evaluate(run, KMeans())
    assert result["scores"] == {} and result["cluster_sizes"] == [12, 12, 12]
    assert set(result["protocol"]) == {"clusters", "kmeans", "kmeans_style"}
    assert "no labels" in evaluation.table(result)


def test_another_source_and_fewer_images(tmp_path, run):
    rng = np.random.default_rng(0)
    for i in range(9):
        paint(tmp_path / "flat" / f"{i}.png", 2, rng)
    result = evaluate(run, source=str(tmp_path / "flat"), limit=4)
    assert result["cluster_sizes"] == [0, 0, 4] and result["images"] == 4


def test_on_the_procedural_world_the_oracle_is_asked(run, monkeypatch):
    asked = {}

    def score(method, variables, world, content, reference, told):
        assert len(content) == len(reference) and (content.species != reference.species).all()
        asked.update(method=method, size=world.size, seed=world.seed, count=len(content))
        return {"species": np.float32(0.25), "position": 0.5}

    monkeypatch.setattr(oracle, "score", score)
    run.config.data.source = "procedural:species=3,test_count=20"
    result = evaluate(run, pairs=50)
    assert asked == {"method": run.method, "size": SIZE, "seed": 3, "count": 50}
    assert result["scores"]["translation_species"] == 0.25 and result["scores"]["translation_position"] == 0.5
    assert "50 pairs" in result["protocol"]["translations"]
    assert not [name for name in evaluate(run, pairs=0)["scores"] if name.startswith("translation")]


def test_translations_of_a_method_without_pseudo_domains_are_judged_too(run, monkeypatch):
    asked = []
    monkeypatch.setattr(oracle, "score", lambda *a, **_: asked.append(len(a[-1])) or {"species": 0.25})
    run.config.data.source = "procedural:species=3,test_count=20"
    scores = evaluate(unclustered(run), pairs=50)["scores"]
    assert set(scores) == {"style_retrieval", "style_retrieval_chance", "translation_species"} and asked == [50]
    assert set(evaluate(unclustered(run), pairs=0)["scores"]) == set(scores) - {"translation_species"}
    # The oracle judges RGB alone.
    gray = dataclasses.replace(run, method=toy.method(image_size=SIZE, channels=1))
    assert "translation_species" not in evaluate(gray)["scores"] and asked == [50]


def test_of_styles_without_labels_nothing_is_known(tmp_path, run):
    write_set(tmp_path / "set", labelled=False)
    for asked, message in (
        ((), r"set/test: nothing can be scored .* see translations .*\(clusters: .*have no labels to score styles by"),
        ((KMeans(),), "^kmeans: .*set/test: its images have no labels to compare with"),
        ((Retrieval(),), "^retrieval: .*set/test: its images have no labels to score styles by"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(unclustered(run), *asked)
    write_set(tmp_path / "labelled")
    labelled = evaluate(unclustered(run), source=str(tmp_path / "labelled"), limit=1 + 12)
    assert labelled["images"] == 13 and "style_retrieval" in labelled["scores"]
    with pytest.raises(UserError, match="have no labels"):
        evaluate(unclustered(run), source=str(tmp_path / "labelled"), limit=1)


@pytest.fixture
def pair_run(run):
    run.config.data.source = "procedural:species=3,test_count=60"
    method = toy_translator.method(image_size=SIZE)
    return dataclasses.replace(run, method=method, variables=toy_translator.variables())


def test_translations_of_a_pair_of_procedural_classes_are_judged(pair_run, monkeypatch):
    asked = {}

    def score(method, variables, world, scenes, wanted):
        asked.update(method=method, size=world.size, seed=world.seed, scenes=scenes, species=set(wanted.species))
        return {"species": 0.25, "position": np.float32(0.5)}

    monkeypatch.setattr(oracle, "score_domain", score)
    result = evaluate(pair_run, limit=5)
    assert (asked["size"], asked["seed"], asked["species"], len(asked["scenes"])) == (SIZE, 3, {1}, 5)
    assert (asked["scenes"].species == 0).all()
    assert result["scores"] == {"translation_species": 0.25, "translation_position": 0.5}
    assert result["classes"] == ["disk", "square"] and "test images of A" in result["protocol"]["translations"]
    assert json.dumps(result)
    text = evaluation.table(result)
    assert "wanted species" in text and "5 (5 labelled)" in text and "pseudo domains" not in text
    assert result["direction"] == "AtoB" and re.search("direction +AtoB", text)
    pair_run.config.data.direction = "BtoA"
    assert evaluate(pair_run, pairs=4)["direction"] == "BtoA"
    assert asked["species"] == {0} and len(asked["scenes"]) == 4


def test_styles_of_a_pair_are_those_of_images_of_the_second_domain(pair_run, monkeypatch):
    asked = {}

    def score(method, variables, world, content, reference):
        asked.update(content=set(content.species), reference=set(reference.species), count=len(content))
        return {"species": 0.25}

    monkeypatch.setattr(oracle, "score", score)
    styled = altered(pair_run, readouts={"style": lambda variables, images: images.mean((1, 2))})
    result = evaluate(styled, pairs=70)
    assert asked == {"content": {0}, "reference": {1}, "count": 70}
    assert "70 test images of A, each in the style of one of B" in result["protocol"]["translations"]


def test_styles_of_one_of_two_domains_are_not_compared_by_labels_of_the_other(pair_run):
    styled = altered(pair_run, readouts={"style": lambda variables, images: images.mean((1, 2))})
    with pytest.raises(UserError, match="retrieval: this run's styles are of the domain it translates to"):
        evaluate(styled, pairs=0)


def test_what_cannot_be_scored_is_one_line(tmp_path, run, pair_run):
    paint(tmp_path / "flat" / "0.png", 0, np.random.default_rng(0))
    for asked, pairs, message in (
        ([KMeans()], 600, "^kmeans: of this run's method only translations can be scored"),
        ([], 0, r"nothing can be scored .*oracle: no translations are asked for \(--pairs=0\)"),
        (["cluster"], 600, "^no evaluator is called 'cluster'; did you mean clusters?"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(pair_run, *asked, pairs=pairs)
    with pytest.raises(UserError, match="no pseudo domains; retrieval: this run's method has no styles"):
        evaluate(altered(run, readouts={}), source=str(tmp_path / "flat"))
    for name in ("testA", "testB", "trainA", "trainB"):
        paint(tmp_path / "pair" / name / "0.png", 0, np.random.default_rng(0))
    for source in (str(tmp_path / "pair"), f"procedural:test_count=60#0 {tmp_path / 'pair' / 'testB'}"):
        data = pair_run.config.data
        data.source, _, data.target = source.partition(" ")
        with pytest.raises(UserError, match="npz or --random_feat.*procedural world's images in RGB alone"):
            evaluate(pair_run)
    pair_run.config.data.source = ""
    with pytest.raises(UserError, match="^this run names no images of its own: name some by --source$"):
        evaluate(pair_run)


def test_a_judge_says_of_which_domain_there_are_no_images(tmp_path, pair_run):
    for name in ("trainA", "trainB", "testB"):
        paint(tmp_path / "pair" / name / "0.png", 0, np.random.default_rng(0))
    pair_run.config.data.source, pair_run.config.data.direction = str(tmp_path / "pair"), "BtoA"
    with pytest.raises(UserError, match="^judge: there are no test images of A: give --source=FOLDER with testA"):
        evaluate(pair_run, Judge(tmp_path / "judge.npz"))


def test_named_evaluators_alone_run_and_each_reads_no_more_than_it_needs(tmp_path, run, monkeypatch):
    write_set(tmp_path / "set", wrong=3)
    read = []
    monkeypatch.setattr(context.batched, "read", recorded(read, context.batched.read))
    assert set(evaluation.evaluate(run, ["retrieval"])["scores"]) == {"style_retrieval", "style_retrieval_chance"}
    assert read == ["style"]
    both = evaluation.evaluate(run, ("retrieval", "clusters"))
    assert read == ["style", "cluster", "style"]
    assert list(both["scores"]) == ["cluster_accuracy", "cluster_nmi", "style_retrieval", "style_retrieval_chance"]
    assert both == evaluation.evaluate(run)


def test_an_evaluator_that_is_named_runs_once(tmp_path, run, monkeypatch):
    write_set(tmp_path / "set")
    ran = []
    monkeypatch.setattr(Clusters, "run", lambda each, context, run=Clusters.run: ran.append(1) or run(each, context))
    assert "cluster_accuracy" in evaluate(run, "clusters", Clusters())["scores"] and ran == [1]


def recorded(names, read):
    def reading(method, name, *rest, **how):
        names.append(name)
        return read(method, name, *rest, **how)

    return reading


@pytest.fixture
def small_judge(monkeypatch):
    """Let judges be trained narrow, and return what was trained."""
    trained = []

    def train(source, test, *, steps, progress, original=classifier.train):
        trained.append((source.spec, steps))
        return original(source, test, steps=steps, progress=progress, **SMALL)

    monkeypatch.setattr(classifier, "train", train)
    return trained


def test_translations_are_judged_by_a_classifier_that_is_trained_once(tmp_path, run, small_judge, monkeypatch, capsys):
    """The toy translator moves an image's mean colour to the reference's, which is all there is to its class."""
    write_set(tmp_path / "set", wrong=3)
    judging = Judge(tmp_path / "judge.npz", references=4, steps=STEPS, progress=Progress(STEPS))
    result = evaluate(run, judging)
    assert small_judge == [(str(tmp_path / "set" / "train"), STEPS)]
    assert re.search(r"step 100/100  judge  \d+ images/s  ETA \d\d:\d\d  loss", capsys.readouterr().err)
    scores = result["scores"]
    assert 0.8 < scores["judge_accuracy"] < 0.95
    assert scores["translation_accuracy"] > 0.8 and scores["translation_kept"] < 0.15
    assert scores["style_retrieval"] > 0.5 and scores["cluster_accuracy"] == 33 / 36
    assert "144 translations" in result["protocol"]["judged_translations"]
    judge = result["protocol"]["judge"]
    assert judge.startswith(f"{tmp_path / 'judge.npz'} (checksum ") and "ResNet-50" in judge and "90 labelled" in judge
    text = evaluation.table(json.loads(json.dumps(result)))
    assert re.search(rf"^translations of the wanted class +{scores['translation_accuracy']:.4f}$", text, re.MULTILINE)

    assert evaluate(run, judging) == result
    # Another run on the same images has the same judge and the same pairs.
    idle = altered(unclustered(run), translate=lambda variables, inputs: inputs["content"])
    again = evaluate(idle, judging)
    assert len(small_judge) == 1 and again["protocol"]["judge"] == judge
    assert again["scores"]["judge_accuracy"] == again["scores"]["translation_kept"] == scores["judge_accuracy"]
    fewer = evaluate(run, dataclasses.replace(judging, references=1), limit=9, seed=5)
    assert "9 translations" in fewer["protocol"]["judged_translations"]
    assert "(seed 5;" in fewer["protocol"]["judged_translations"]


def test_on_the_procedural_world_a_classifier_judges_beside_the_oracle(tmp_path, run, small_judge, monkeypatch):
    monkeypatch.setattr(oracle, "score", lambda *a, **_: {"species": 0.25})
    run.config.data.source = "procedural:species=3,count=40,test_count=20"
    judging = Judge(tmp_path / "judge.npz", references=2, steps=STEPS)
    scores = evaluate(run, judging)["scores"]
    assert {"translation_species", "judge_accuracy", "translation_accuracy", "translation_kept"} <= set(scores)
    # Of gray images it is the one judge there is.
    gray = dataclasses.replace(run, method=toy.method(image_size=SIZE, channels=1))
    with pytest.raises(UserError, match="judge.npz: this judge is of 3 classes .* in 1 channels"):
        evaluate(gray, judging)


def test_what_cannot_be_judged_is_one_line_before_anything_is_trained(tmp_path, run, pair_run, small_judge):
    file = tmp_path / "judge.npz"

    def refused(message, run=run, file=file, **arguments):
        with pytest.raises(UserError, match=message):
            evaluate(run, Judge(file), **arguments)

    refused("^judge: this run's method has no styles", altered(run, readouts={}))
    refused("^judge: name the file", pair_run, file=None)
    run.config.data.source = str(tmp_path / "set")
    write_set(tmp_path / "set", labelled=False)
    refused("^judge: name the file", file=None)
    refused("test: its images have no labels to judge translations by")
    write_set(tmp_path / "labelled")
    refused("set/train: its images have no labels", source=str(tmp_path / "labelled"))
    run.config.data.source = str(tmp_path / "labelled")
    refused("its images are of one class", limit=1)
    refused("its images are of one class", source=str(tmp_path / "labelled" / "test#a_red"))
    (tmp_path / "folder.npz").mkdir()
    for name in ("judge.pth", "folder.npz"):
        refused(f"^--judge=.*{name}: give the name of a file that ends in .npz", file=tmp_path / name)
    (tmp_path / "file").write_text("")
    refused("is a file", file=tmp_path / "file" / "judge.npz")
    paint(tmp_path / "two" / "a_red" / "0.png", 0, np.random.default_rng(0))
    paint(tmp_path / "two" / "b_green" / "0.png", 1, np.random.default_rng(0))
    refused("3 classes .* 2 classes .* a judge needs the same in both", source=str(tmp_path / "two"))
    assert not file.exists()
    evaluate(run, Judge(file, steps=STEPS))
    refused(f"^{re.escape(str(file))}: this judge is of 3 classes .* has 2 classes", source=str(tmp_path / "two"))
    file.write_text("torn")
    refused(f"^{re.escape(str(file))}: is no .npz file")


def test_pixels_are_block_means():
    images = np.arange(2 * 64 * 64 * 3).reshape(2, 64, 64, 3) % 251
    points = pixels(images.astype(np.uint8))
    assert points.shape == (2, 32 * 32 * 3) and abs(points).max() <= 1
    assert points[1, 3] == pytest.approx(images[1, :2, 2:4, 0].mean() / 127.5 - 1, abs=1e-6)
