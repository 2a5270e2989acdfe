"""What is read of a workdir: all that is whole, and a line about each thing that is not."""

import json
import math

import pytest

from tests.report.made import metrics, write_config, write_lines, write_picture, write_run
from uit_jax.errors import UserError
from uit_jax.report import records
from uit_jax.report.records import Curve, Phase


def test_a_run_is_read_as_it_was_written(tiny, tmp_path):
    write_run(tmp_path / "run")
    found = records.read(tmp_path / "run", "run")
    assert found.notes == [] and found.step == 12 and found.config.method.name == "tiny"
    assert found.curves["model/fit"] == Curve([2, 4, 6, 8, 10, 12], [1.1 / step for step in (2, 4, 6, 8, 10, 12)])
    assert found.curves["cluster_accuracy"] == Curve([4, 8, 12], [0.2, 0.4, 0.6])
    assert found.phases == [Phase("first", 0, 4), Phase("second", 4, 12)]
    assert found.speed["images_per_second"] == Curve([2], [31.5])
    assert [step for step, _ in found.pictures["translations"]] == [4, 8, 12]
    assert found.evaluations["evaluation.json"]["scores"] == {"cluster_accuracy": 0.75}


def test_what_is_damaged_costs_itself_alone_and_is_told(tiny, tmp_path):
    write_config(tmp_path)
    lines = [json.dumps(record) for record in metrics()]
    lines[1] = "no JSON"
    lines[2] = '{"step": 6, "model/fit": NaN}'
    # The last one is being written.
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines[:4]) + '\n[3]\n{"step": 10, "mod')
    (tmp_path / "evaluation.json").write_text('{"scores": 3}')
    (tmp_path / "started.json").write_text("{")
    found = records.read(tmp_path, "run")
    assert found.curves["model/fit"].steps == [2, 6, 8] and math.isnan(found.curves["model/fit"].values[1])
    line, nan, evaluation = found.notes
    assert line.endswith("metrics.jsonl: no record of a step: line 2, 5")
    assert nan == "model/fit is not finite at 1 of 3 records, at step 6 first"
    assert evaluation.endswith("evaluation.json is no record of an evaluation")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no run was trained there \(it has no config.json\)$"):
        records.read(tmp_path, "run")


def test_of_a_step_that_was_done_again_the_later_record_counts():
    assert records.curves([{"step": 4, "a": 1}, {"step": 2, "a": 2}, {"step": 4, "a": 3.5, "b": True}]) == {
        "a": Curve([2, 4], [2.0, 3.5])
    }


def test_phases_that_take_turns_are_one():
    names = ["guide", "guide", "lazy", "joint", "lazy", "last"]
    lines = [{"step": 10 * i + 10, "phase": name} for i, name in enumerate(names)]
    assert records.phases(lines) == [Phase("guide", 0, 20), Phase("lazy, joint", 20, 50), Phase("last", 50, 60)]


def test_many_points_become_few_with_both_ends():
    thin = Curve(list(range(5_000)), [float(i) for i in range(5_000)]).thinned(100)
    assert len(thin.steps) == 100 and thin.steps[0] == 0 and thin.steps[-1] == 4999
    assert thin.values == [float(step) for step in thin.steps]


def test_names_are_the_shortest_ends_that_differ(tmp_path):
    assert records.names([tmp_path / "a" / "run"]) == ["run"]
    assert records.names([tmp_path / "a" / "run", tmp_path / "b" / "run"]) == ["a/run", "b/run"]


def test_pictures_go_by_their_names_translations_first(tiny, tmp_path):
    write_config(tmp_path)
    for name in ("domains_00000002", "translations_00000010", "translations_00000002", "odd"):
        write_picture(tmp_path / "images" / f"{name}.png")
    found = records.read(tmp_path, "run").pictures
    assert list(found) == ["translations", "domains"] and [step for step, _ in found["translations"]] == [2, 10]


def test_settings_are_told_apart_from_the_recipe_or_the_defaults(tiny, tmp_path):
    write_config(tmp_path / "a", steps=30)
    write_config(tmp_path / "b", steps=30, seed=4)
    one, other = (records.read(tmp_path / name, name) for name in "ab")
    against, changed, same = records.settings_rows([one, other])
    rows = {row["key"]: row for row in changed}
    assert against == "the defaults of tiny" and not rows["steps"]["apart"] and rows["steps"]["values"] == [30, 30]
    assert rows["seed"]["apart"] and rows["seed"]["values"] == [0, 4] and rows["seed"]["base"] == 0
    assert "method.layers" in {row["key"] for row in same}
    base = {row["key"]: row["base"] for row in changed + same} | {"steps": 12, "batch_size": 4}
    one.started = {"recipe": "configs/own.py:small", "settings": base}
    against, changed, _ = records.settings_rows([one])
    assert against == "configs/own.py:small" and "batch_size" not in {row["key"] for row in changed}
    assert next(row for row in changed if row["key"] == "steps")["base"] == 12
    assert records.settings_rows([records.Record(tmp_path, "broken")]) == ("", [], [])


def test_a_run_with_metrics_and_no_settings_still_has_a_page(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", metrics())
    found = records.read(tmp_path, "run")
    assert found.config is None and found.step == 12
