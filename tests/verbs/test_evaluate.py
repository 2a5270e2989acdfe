"""`uit evaluate`: the command prints a table and writes the same as JSON, and its options reach the evaluators."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests import toy
from tests.evaluation.sets import SIZE, write_set
from uit_jax import checkpoint, evaluation, main
from uit_jax.evaluation import Clusters, Diversity, Judge, KMeans, Likeness, Oracle, Retrieval, TunitClasses


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Return a folder that holds the toy, trained on `tmp_path/set`."""
    write_set(tmp_path / "set")
    config = toy.config(SIZE, source=str(tmp_path / "set"), target="", test_target="", direction="AtoB")
    state = SimpleNamespace(step=7, **toy.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(config, toy.method(image_size=SIZE), state))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_the_command_prints_a_table_and_writes_the_same_as_json(tmp_path, workdir, capsys):
    assert main.main(["evaluate", f"--workdir={workdir}", "--kmeans"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"clustering accuracy \(Hungarian\) +1.0000\n", text)
    assert re.search(r"images in each +12 12 12\n", text)
    assert re.search(r"same class +1.0000\n  by chance +0.3143\n", text)
    written = json.loads((workdir / "evaluation.json").read_text())
    assert written["scores"]["cluster_accuracy"] == 1 and "kmeans_accuracy" in written["scores"]
    assert [p.name for p in workdir.iterdir()] == ["evaluation.json"]

    assert main.main(["evaluate", f"--workdir={workdir}", f"--out={tmp_path / 'set'}"]) == 2
    assert "is a folder" in capsys.readouterr().err
    named = ["evaluate", f"--workdir={workdir}", f"--out={tmp_path / 'scores.json'}"]
    (tmp_path / "scores.json").write_text("someone's")
    assert main.main(named) == 2 and (tmp_path / "scores.json").read_text() == "someone's"
    assert "scores.json is there already: name another place, or replace by --overwrite" in capsys.readouterr().err
    assert main.main([*named, "--overwrite"]) == 0 and json.loads((tmp_path / "scores.json").read_text())["scores"]
    # What lies in the run's own folder is written anew.
    assert main.main(named[:2]) == 0
    capsys.readouterr()
    # Before any work.
    (tmp_path / "file").write_text("")
    assert main.main(["evaluate", "--workdir=nowhere", f"--out={tmp_path / 'file' / 'y.json'}"]) == 2
    assert f"{tmp_path / 'file'} is a file" in capsys.readouterr().err
    assert main.main(["evaluate", f"--workdir={workdir}", f"--source={tmp_path / 'none'}"]) == 2
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "asked", "pairs", "how"),
    [
        ([], [], 600, {"source": None, "limit": None, "seed": 0}),
        (["--kmeans", "--pairs=0"], [KMeans()], 0, {"source": None, "limit": None, "seed": 0}),
        (["--judge=j.npz"], [Judge(Path("j.npz"), 10, 1500)], 600, {"source": None, "limit": None, "seed": 0}),
        (
            ["--judge=j.npz", "--references=3", "--judge_steps=20", "--images=9", "--source=x", "--seed=2"],
            [Judge(Path("j.npz"), 3, 20)],
            600,
            {"source": "x", "limit": 9, "seed": 2},
        ),
        (["--evaluators=oracle", "--pairs=5"], [Oracle(5)], 5, {"source": None, "limit": None, "seed": 0}),
    ],
)
def test_options_reach_the_evaluators(workdir, monkeypatch, options, asked, pairs, how):
    calls = []

    def evaluate(run, asked, *, usual, **how):
        calls.append((run.step, asked, usual, how))
        return {"step": 7, "images": 0, "labelled_images": 0, "scores": {}, "source": ""}

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    assert main.main(["evaluate", f"--workdir={workdir}", *options]) == 0
    assert calls == [(7, asked, (Clusters(), Retrieval(), Oracle(pairs)), how)]


def test_two_folders_are_compared_without_a_run(tmp_path, capsys):
    write_set(tmp_path / "set")
    one, other = (tmp_path / "set" / "test" / name for name in ("a_red", "b_green"))
    both = ["evaluate", f"--a={one}", f"--b={other}", "--random_features=3"]
    assert main.main([*both, f"--out={tmp_path / 'scores.json'}", "--images=9"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"Fréchet distance in random features, seed 3 +\d", text) and "scores.json" in text
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["scores"]["frechet_distance"] > 0 and written["b"]["images"] == 9
    assert main.main(["evaluate", f"--a={one}", "--random_features=3", f"--save_statistics={tmp_path / 's.npz'}"]) == 0
    assert main.main(["evaluate", f"--a={tmp_path / 's.npz'}", f"--b={one}", "--random_features=3"]) == 0
    assert re.search(r"seed 3 +[\d.]+(e-\d+)?\n$", capsys.readouterr().out)


def test_label_maps_are_compared_without_a_run(tmp_path, capsys):
    for folder in ("true", "found"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((2, 3), 4, np.uint8)).save(tmp_path / folder / "0.png")
    named = ["evaluate", f"--labels={tmp_path / 'true'}", f"--predicted={tmp_path / 'found'}"]
    assert main.main([*named, f"--out={tmp_path / 'scores.json'}"]) == 0
    assert "IoU of class 4  1.0000" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["scores"]["mean_iou"] == 1
    assert main.main(named[:2]) == 2 and "--predicted: name the folder" in capsys.readouterr().err


def test_a_series_is_of_all_checkpoints(workdir, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "steps", lambda workdir: [3, 7])
    assert main.main(["evaluate", f"--workdir={workdir}", "--series", "--evaluators=variance"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"clustering accuracy \(Hungarian\) +1 +1 +3 +1\n", text) and "checkpoints at 3, 7" in text
    record = json.loads((workdir / "series.json").read_text())
    assert record["series"]["ioi_classes"]["best_step"] == 3 and record["steps"] == [3, 7]
    assert Image.open(workdir / "series.png").width == 640
    assert main.main(["evaluate", f"--workdir={workdir}", "--series", "--checkpoint=best"]) == 2
    assert "--checkpoint=best: a series is of all checkpoints" in capsys.readouterr().err


def test_where_features_are_named_translations_are_scored_in_them(workdir, monkeypatch):
    calls = []
    record = {"step": 7, "images": 0, "labelled_images": 0, "scores": {}, "source": ""}

    def evaluate(run, asked, *, usual, **how):
        calls.append((asked, usual))
        return record

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    for options in (["--random_features=2"], ["--judge=j.npz", "--evaluators=likeness,tunit_classes", "--true=train"]):
        assert main.main(["evaluate", f"--workdir={workdir}", *options]) == 0
    (first, usual), (second, plain) = calls
    assert first == [] and usual[3:] == (Likeness(random=2), TunitClasses(random=2), Diversity(random=2))
    assert second[1:] == [Likeness(judge_file="j.npz", split="train"), TunitClasses(judge_file="j.npz")]
    assert plain == (Clusters(), Retrieval(), Oracle(600))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--workdir=RUN: name the run to score, or two sets of images to compare by --a and --b"),
        (["--a={set}"], "--b: name the images that are compared with those of --a, or --save_statistics=FILE.npz"),
        (["--workdir=run", "--b={set}"], "--b: does nothing beside --workdir; leave one of the two out"),
        (["--workdir=run", "--classes=3"], "--classes: does nothing beside --workdir"),
        (["--a={set}", "--b={set}", "--evaluators=likeness"], "--evaluators: does nothing beside --a"),
        (["--labels={set}", "--predicted={set}", "--data.max_pixels=9"], "--data.max_pixels: does nothing beside"),
        (["--a={set}", "--b={set}", "--judge=no.npz"], "no.npz: no such file"),
        (["--a={set}", "--save_statistics=s.txt"], "--save_statistics=s.txt: give the name of a file that ends in"),
        (["--a={set}", "--b={set}", "--random_features"], "holds the parts train, test; name the folder of one"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, options, message):
    write_set(tmp_path / "set", train=1, test=1)
    assert main.main(["evaluate", *(each.format(set=tmp_path / "set") for each in options)]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
