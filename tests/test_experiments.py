import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import report, run, tables
from experiments.tables import DATA_SETS, TABLES
from tests import toy
from uit_jax import config as config_module
from uit_jax import styles, train
from uit_jax.errors import UserError

ROWS = [row for rows in TABLES.values() for row in rows]
OURS = [row for row in ROWS if not row.absent]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.name)
def test_every_row_resolves_and_builds(row):
    config = run.build_config(row, source="procedural", seed=1)
    config_module.build_method(config)
    assert (config.data.image_size, config.batch_size, config.steps, config.seed) == (128, 32, 200_000, 1)


@pytest.mark.slow
def test_every_row_can_be_initialised():
    """At the paper's widths, by shapes alone; rows that differ in nothing that has a shape are one case."""
    seen = {}
    for row in OURS:
        config = row.config()
        settings = {key: value for key, value in config.method.items() if key != "labelled_share"}
        key = json.dumps(settings, sort_keys=True, default=str)
        if key not in seen:
            method = config_module.build_method(config)
            seen[key] = jax.eval_shape(lambda c=config, m=method: config_module.initial_state(c, m))
        logits = seen[key].learners["guide"].params["cluster"]["kernel"]
        assert logits.shape == (512, config.method.domains), row.name


def test_names_are_unique_and_data_sets_known():
    for rows in TABLES.values():
        assert len({row.name for row in rows}) == len(rows)
    assert all(row.data in DATA_SETS and row.paper for row in ROWS)
    assert all(row.config().method.domains == 10 for row in TABLES["table1"] if not row.absent)
    assert len(set(DATA_SETS["animalfaces10"].names)) == DATA_SETS["animalfaces10"].classes


def test_rows_set_what_their_names_say():
    method = tables.find_row("table1", "animalfaces10-no-feedback").config().method
    assert not method.adversarial_feedback
    assert tables.find_row("table1", "food10-b").config().method.labelled_share == 1
    assert tables.find_row("table1", "food10-e").config().method.joint_training == "frozen_domains"
    assert tables.find_row("table1", "food10-f").config().method.joint_training == "frozen"
    assert tables.find_row("table2", "food10-1000").config().method.domains == 1000
    semi = tables.find_row("table3", "animalfaces149-tunit-8pct").config().method
    assert (semi.labelled_share, semi.domains) == (0.08, 149)


def test_the_papers_numbers_are_where_they_belong():
    """Some of them, read off the paper once more."""
    expected = {
        ("table1", "animalfaces10-g"): dict(mfid=47.7, density=1.039, coverage=0.805, accuracy=0.841),
        ("table1", "food10-f"): dict(mfid=61.1, density=0.908, coverage=0.777, accuracy=0.860),
        ("table2", "animalfaces10-10"): dict(mfid=47.7, density=1.039, coverage=0.805),
        ("table2", "food10-500"): dict(mfid=63.2, density=0.986, coverage=0.826),
        ("table3", "food101-tunit-60pct"): dict(mfid=68.2),
        ("table3", "animalfaces149-semit-4pct"): dict(mfid=134.0),
    }
    for (table, name), paper in expected.items():
        assert tables.find_row(table, name).paper == paper


def write_set(root, classes):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for index, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 100, (16, 16, 3))
                image[..., index % 3] += 100
                Image.fromarray(image.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def trained(monkeypatch):
    """Pretend to train: every workdir then holds the toy, trained for as many steps as its config asks."""
    runs = {}

    def pretend(config, workdir):
        runs[str(workdir)] = config

    def open_run(workdir):
        config = runs[str(workdir)]
        return styles.Trained(workdir, config, toy.method(), toy.variables(), config.steps)

    monkeypatch.setattr(train, "train", pretend)
    monkeypatch.setattr(styles, "open_run", open_run)
    return runs


def test_a_row_is_run_for_each_seed_and_reported_beside_the_paper(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    arguments = ["1", "animalfaces10-g", f"--substitute={source}", "--config.steps=5", *where]
    assert run.main([*arguments, "--seeds=0,2"]) == 0
    files = sorted((tmp_path / "results").rglob("*.json"))
    assert [path.name for path in files] == ["seed0.json", "seed2.json"]
    result = json.loads(files[1].read_text())
    assert (result["table"], result["row"], result["training_seed"]) == ("table1", "animalfaces10-g", 2)
    assert result["substitute"] and result["changes"] == {"steps": "5"} and result["step"] == 5
    assert result["commit"] and result["images"] == 12 and result["scores"]["cluster_accuracy"] == 1
    assert "kmeans_accuracy" in result["scores"]

    capsys.readouterr()
    assert report.main(["table1", f"--results={tmp_path / 'results'}"]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("| animalfaces10-g "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["47.7 / not run", "1.039 / not run", "0.805 / not run", "0.841 / 1.000 ± 0.000"]
    assert cells[5:9] == ["0,2", "5", "12", result["commit"]]
    for note in ("other data, so no reproduction", "changed: steps=5", "not run: seed 1", "Hungarian"):
        assert note in text


def test_other_settings_are_another_line_and_another_run(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    for steps in (5, 6):
        run.main(["2", "food10-4", f"--substitute={source}", f"--config.steps={steps}", *where])
    assert len(trained) == 2
    capsys.readouterr()
    report.main(["2", f"--results={tmp_path / 'results'}"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| food10-4 ")]
    assert len(lines) == 2 and all("- / 1.000" in line for line in lines)


def test_with_given_labels_there_is_no_clustering_to_score(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path}", "--seeds=0"]
    assert run.main(["1", "food10-b", f"--substitute={source}", *where]) == 0
    (path,) = (tmp_path / "table1").rglob("*.json")
    assert [name for name in json.loads(path.read_text())["scores"] if name.startswith("cluster")] == []
    capsys.readouterr()
    report.main(["1", f"--results={tmp_path}"])
    assert "| food10-b " in capsys.readouterr().out


def test_where_nothing_was_run_the_report_says_so(tmp_path, capsys):
    report.main([f"--results={tmp_path / 'none'}"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "/" in line]
    assert len(lines) == len(ROWS)
    assert all(("not run" in line) != ("not ours" in line) for line in lines)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "seed0.json").write_text("{}")
    with pytest.raises(UserError, match=r"seed0\.json is not a result"):
        report.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9", "x"], "no table 'table9'"),
        (["table1", "animalfaces10-h"], "did you mean animalfaces10-"),
        (["table1", "animalfaces10-a", "--data=x"], "FUNIT is another method"),
        (["table1", "animalfaces10-g"], "--data=PATH is missing"),
        (["table1", "animalfaces10-g", "--substitute=x", "--config.seed=1"], "--seeds"),
        (["table1", "animalfaces10-g", "--substitute=x", "--config.data.source=y"], "--substitute"),
        (["table1", "animalfaces10-g", "--substitute=x", "--config.stepps=1"], "steps"),
        (["table1"], "name a table and a row"),
    ],
)
def test_what_cannot_be_run_is_told(arguments, message):
    with pytest.raises(UserError, match=message):
        run.main(arguments)


def test_images_are_not_taken_for_a_data_set_they_are_not(tmp_path, trained):
    source = write_set(tmp_path / "set", [f"class{i}" for i in range(10)])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    with pytest.raises(UserError, match="is not AnimalFaces-10"):
        run.main(["1", "animalfaces10-g", f"--data={source}", *where])
    real = write_set(tmp_path / "real", DATA_SETS["animalfaces10"].names)
    assert run.main(["1", "animalfaces10-g", f"--data={real}", *where]) == 0
    assert (tmp_path / "results" / "table1" / "animalfaces10-g" / "seed0.json").exists()


def test_a_run_that_was_stopped_is_no_result(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(styles, "open_run", lambda workdir: SimpleNamespace(step=3))
    with pytest.raises(UserError, match="stopped at step 3"):
        run.main(["1", "animalfaces10-g", "--substitute=procedural", f"--workdir={tmp_path}", "--seeds=0"])


@pytest.mark.parametrize(("module", "argument", "shown"), [("run", "--list", "table3"), ("report", "2", "food10-1000")])
def test_the_modules_are_commands(module, argument, shown):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", argument], cwd=run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and shown in done.stdout, done.stderr


def test_a_commands_error_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "table9", "x"], cwd=run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("experiments: there is no table")
