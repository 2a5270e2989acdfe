"""A series of checkpoints: final, best and the mean of the five best, whichever way is better."""

import dataclasses

import pytest

from tests import toy
from tests.evaluation.sets import SIZE, write_set
from uit_jax.errors import UserError
from uit_jax.evaluation import Clusters, Diversity, series
from uit_jax.evaluation.report import CAPTIONS
from uit_jax.images.charts import HEIGHT, WIDTH
from uit_jax.runs import Trained


def test_values_are_summed_up_whichever_way_is_better():
    steps, values = [10, 20, 30, 40, 50, 60, 70], [5.0, 1.0, 7.0, 3.0, 3.0, 9.0, 4.0]
    found = series.summary(steps, values, falling=False)
    assert (found["final"], found["best"], found["best_step"]) == (4.0, 9.0, 60)
    assert found["mean_of_best"] == (9 + 7 + 5 + 4 + 3) / 5 and found["best_steps"] == [60, 30, 10, 70, 40]
    found = series.summary(steps, values, falling=True)
    assert (found["best"], found["best_step"], found["mean_of_best"]) == (1.0, 20, (1 + 3 + 3 + 4 + 5) / 5)
    assert series.summary([1], [2.0], falling=True)["mean_of_best"] == 2


def test_all_checkpoints_are_scored(tmp_path, monkeypatch):
    write_set(tmp_path / "set")
    config = toy.config(SIZE, source=str(tmp_path / "set"), target="", test_target="", direction="AtoB")
    run = Trained(tmp_path, config, toy.method(image_size=SIZE), toy.variables(), 0)
    # The toy's styles are scaled: at step 20 all are one, and translations of an image too.
    scales = {10: 1.0, 20: 0.0, 30: 0.5}

    def load(workdir, step, **how):
        return dataclasses.replace(run, step=step, variables={"scale": scales[step]})

    monkeypatch.setattr(series.checkpoint, "steps", lambda workdir: list(scales))
    monkeypatch.setattr(series.runs, "load", load)
    record = series.series(tmp_path, [Clusters(), Diversity(outputs=3, random=0)])
    assert record["steps"] == [10, 20, 30] and record["values"]["cluster_accuracy"] == [1, 1 / 3, 1]
    assert record["series"]["cluster_accuracy"]["best_step"] == 10
    assert record["values"]["feature_diversity"][1] == 0 < record["series"]["feature_diversity"]["final"]
    assert "chosen by the very images" in record["chosen_by"] and "set/test" in record["chosen_by"]
    assert record["averaged"] == [] and "clusters" in record["protocol"] and "step" not in record
    text = series.table(record)
    assert "mean of 3 best" in text and "in random features, seed 0" in text
    assert series.picture(record).shape == (3 * HEIGHT, WIDTH, 3)
    monkeypatch.setattr(series.checkpoint, "steps", lambda workdir: [])
    with pytest.raises(UserError, match="no checkpoint is kept there, so there is no series"):
        series.series(tmp_path)


def test_no_two_charts_have_one_title():
    titles = [caption.strip() for name, caption in CAPTIONS.items() if not name.endswith(("_low", "_high"))]
    assert len(set(titles)) == len(titles)
