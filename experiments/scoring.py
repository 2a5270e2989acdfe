"""What the columns of a table are filled by: its evaluators, what these need to be named, and the cost of a step."""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import tables
from experiments.rows import Metric, Row
from experiments.tables import TABLES
from uit_jax import evaluation
from uit_jax.errors import UserError
from uit_jax.evaluation import Evaluator, Judge, manifest, networks, perceptual
from uit_jax.evaluation.featured import Featured
from uit_jax.paths import as_path
from uit_jax.runs import Trained
from uit_jax.training import measure

NEEDS = {
    "inception": f"--inception=FILE or ${networks.VARIABLE}",
    "lpips": f"${perceptual.VARIABLE}",
    "judge": "--judge=FILE.npz",
}
"""What columns need, and how it is named."""
_STEPS, _WINDOWS = 10, 5
_COST = (
    "s/it: median of {windows} windows of {steps} steps on images already read, phases by their share; GB: what XLA"
    " says a step needs on one device, in units of 2^30 bytes; {devices} x {device}, batch size {batch_size}"
)


def find_named(*, inception: str | None = None, judge: str | None = None) -> dict[str, str]:
    """Return what of NEEDS is named, by options or else by the environment. Raises UserError."""
    inception = inception or os.environ.get(networks.VARIABLE)
    # Before a training of days, not behind it.
    if inception and not as_path(inception).is_file():
        raise UserError(f"--inception={inception}: no such file")
    found = {"inception": inception, "lpips": os.environ.get(perceptual.VARIABLE), "judge": judge}
    return {name: value for name, value in found.items() if value}


def filled(table: str, evaluator: Evaluator) -> list[Metric]:
    """Return the columns of a table that an evaluator may fill."""
    return [metric for metric in tables.paper_of(table).metrics.values() if metric.score in evaluator.scores]


def scorers(table: str, named: Mapping[str, str]) -> tuple[Evaluator, ...]:
    """Return a table's evaluators with what is named, without those that could fill no column."""
    found = []
    for each in TABLES[table].evaluators:
        columns = filled(table, each)
        if columns and not any(metric.needs in ("", *named) for metric in columns):
            continue
        if isinstance(each, Featured) and "inception" in named:
            each = dataclasses.replace(each, inception=named["inception"])
        if isinstance(each, Judge):
            each = dataclasses.replace(each, file=as_path(named["judge"]))
        found.append(each)
    return tuple(found)


def left_out(table: str, row: Row, named: Mapping[str, str]) -> list[str]:
    """Say which columns stay empty because something is not named, and how it is named."""
    if not (row.data.classes or row.data.paired):
        return []
    columns = [metric for each in TABLES[table].evaluators for metric in filled(table, each)]
    heads = {need: dict.fromkeys(metric.head for metric in columns if metric.needs == need) for need in NEEDS}
    return [
        f"{row.name}: without {', '.join(heads[need])}, for which {how} is to be given"
        for need, how in NEEDS.items()
        if heads[need] and need not in named
    ]


def score(trained: Trained, wanted: Collection[str], *, also: Sequence[Evaluator] = ()) -> dict[str, Any]:
    """Measure what the protocols of a table's columns want: the cost of a step, what `uit evaluate` scores, or both."""
    config = trained.config
    if set(wanted) - {"cost"}:
        measured = evaluation.evaluate(trained, usual=(*evaluation.USUAL, *also), seed=config.seed)
        # Where a run and weights lie on the machine that has them is nothing to others.
        del measured["run"]
        if "features" in measured:
            measured["features"]["weights"] = Path(measured["features"]["weights"]).name
        protocol = measured["protocol"]
        for judge in (each for each in also if isinstance(each, Judge) and "judge" in protocol):
            protocol["judge"] = protocol["judge"].replace(str(judge.file), judge.file.name)
    else:
        measured = {
            "scores": {},
            "images": 0,
            "source": " and ".join(filter(None, (config.data.source, config.data.target))),
            "protocol": {},
            "step": trained.step,
            "training_seed": config.seed,
            "versions": manifest.versions(),
        }
    if "cost" in wanted:
        scores, protocol = cost(config)
        measured["scores"] |= scores
        measured["protocol"] |= {"cost": protocol}
    return measured


def cost(config) -> tuple[dict[str, float], str]:
    """Return seconds and memory of a training step, and how they were measured."""
    measured = measure.measure(config, _STEPS, _WINDOWS)
    phases = measured["phases"]
    scores = {
        "seconds_per_iteration": sum(phase["share"] / phase["steps_per_second"] for phase in phases),
        "million_parameters": measured["parameters"] / 1e6,
        "gigabytes": max(phase["mib"] for phase in phases) / 1024,
    }
    return scores, _COST.format(steps=_STEPS, windows=_WINDOWS, **measured)
