"""What a run has left in its workdir, read for its page: numbers, pictures, evaluations, settings.

A workdir may be that of a training under way, or of one that broke: what cannot be read is told, and left out.
"""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from uit_jax import checkpoint
from uit_jax import config as configs
from uit_jax.errors import UserError, shown
from uit_jax.files import read_regular
from uit_jax.listing import pick_evenly


class Curve(NamedTuple):
    """The values of a metric, and at which steps."""

    steps: list[int]
    values: list[float]

    def thinned(self, most: int) -> "Curve":
        """Return at most so many of its points, evenly spread, the two ends among them."""
        rows = pick_evenly(len(self.steps), most)
        return Curve([self.steps[i] for i in rows], [self.values[i] for i in rows])


class Phase(NamedTuple):
    """A part of a training: its name, the last step before it, and its own last step."""

    name: str
    begin: int
    end: int


@dataclasses.dataclass
class Record:
    """What is known of a run without its weights.

    Attributes:
      workdir: its folder.
      name: what the page calls it.
      config: its settings; None where none can be read.
      started: by what it was started the last time, as `training.beginning.record` writes it; {} if that is not known.
      curves, speed: by the names of metrics, in the order of their first appearance.
      phases: in their order; those that take turns are one.
      pictures: the files of images/ by their names' beginning, each with its step, ascending.
      evaluations: the records of `uit evaluate`, by the names of their files.
      step: the last that is recorded.
      notes: what could not be read, a line each.
    """

    workdir: Path
    name: str
    config: ConfigDict | None = None
    started: dict[str, Any] = dataclasses.field(default_factory=dict)
    curves: dict[str, Curve] = dataclasses.field(default_factory=dict)
    speed: dict[str, Curve] = dataclasses.field(default_factory=dict)
    phases: list[Phase] = dataclasses.field(default_factory=list)
    pictures: dict[str, list[tuple[int, Path]]] = dataclasses.field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    step: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)


def read(workdir: Path, name: str) -> Record:
    """Read what a run has left. Raises UserError where there is no run."""
    record = Record(workdir, name)
    try:
        record.config = checkpoint.begun_with(workdir)
    except UserError as error:
        record.notes.append(str(error))
    if record.config is None and not (workdir / "metrics.jsonl").exists():
        told = f" ({record.notes[0]})" if record.notes else " (it has no config.json)"
        raise UserError(f"--workdir={workdir}: no run was trained there{told}")
    with contextlib.suppress(ValueError, OSError):
        started = json.loads(read_regular(workdir / "started.json"))
        record.started = started if isinstance(started, dict) else {}
    lines = _lines(workdir / "metrics.jsonl", record.notes)
    record.curves, record.phases = curves(lines), phases(lines)
    record.speed = curves(_lines(workdir / "speed.jsonl", record.notes))
    record.notes += [text for name, curve in record.curves.items() if (text := _broken(name, curve))]
    record.pictures = _pictures(workdir / "images", record.notes)
    record.evaluations = dict(_evaluations(workdir, record.notes))
    drawn = [drawn[-1][0] for drawn in record.pictures.values()]
    record.step = max([*(line["step"] for line in lines), *drawn, *checkpoint.steps(workdir)], default=0)
    return record


def names(workdirs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart, as a page may show them."""
    for depth in range(1, max(len(path.parts) for path in workdirs) + 1):
        found = [shown("/".join(path.parts[-depth:])) for path in workdirs]
        if len(set(found)) == len(found):
            break
    return found


def curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the numbers of records by their names; of a step that was done again the later record counts."""
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, {})[line["step"]] = float(value)
    return {name: Curve(*map(list, zip(*sorted(points.items()), strict=True))) for name, points in found.items()}


def phases(lines: Sequence[Mapping[str, Any]]) -> list[Phase]:
    """Return the phases that records name, from the last record before each on; those that take turns are one."""
    spans: dict[str, list[int]] = {}
    before = 0
    for line in sorted((line for line in lines if isinstance(line.get("phase"), str)), key=lambda line: line["step"]):
        spans.setdefault(line["phase"], [before, line["step"]])[1] = line["step"]
        before = line["step"]
    found: list[Phase] = []
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if found and begin < found[-1].end:
            last = found.pop()
            found.append(Phase(f"{last.name}, {name}", last.begin, max(last.end, end)))
        else:
            found.append(Phase(name, begin, end))
    return found


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read JSON lines that hold a step; the others are told, but for a last one that is being written."""
    if not path.exists():
        return []
    try:
        raw = read_regular(path).split(b"\n")
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror}")
        return []
    found, odd = [], []
    for number, line in enumerate(raw, 1):
        value = None
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(line)
        if isinstance(value, dict) and type(value.get("step")) is int:
            found.append(value)
        elif line.strip() and number < len(raw):
            odd.append(str(number))
    if odd:
        notes.append(f"{path}: no record of a step: line {', '.join(odd[:10])}{', ...' * (len(odd) > 10)}")
    return found


def _broken(name: str, curve: Curve) -> str:
    """Say where a metric is no finite number first, "" where it always is."""
    bad = [step for step, value in zip(*curve, strict=True) if not math.isfinite(value)]
    return f"{name} is not finite at {len(bad)} of {len(curve.steps)} records, at step {bad[0]} first" if bad else ""


def _pictures(folder: Path, notes: list[str]) -> dict[str, list[tuple[int, Path]]]:
    """List the pictures NAME_STEP.png of a run by their names."""
    found: dict[str, list[tuple[int, Path]]] = {}
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        notes.append(f"{folder} cannot be read: {error.strerror}")
        return {}
    for path in paths:
        if match := re.fullmatch(r"(.+)_(\d{1,15})\.png", path.name, re.DOTALL):
            found.setdefault(match[1], []).append((int(match[2]), path))
    return {name: sorted(drawn) for name, drawn in sorted(found.items(), key=lambda item: item[0] != "translations")}


def _evaluations(workdir: Path, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of evaluations in a workdir, one of all checkpoints by its final scores."""
    for path in sorted(workdir.iterdir()):
        if not re.fullmatch(r"(evaluation|series).*\.json", path.name, re.DOTALL):
            continue
        try:
            value = json.loads(read_regular(path))
            if "series" in value:
                value = {"scores": {name: each["final"] for name, each in value["series"].items()}, **value}
            value["scores"] = {str(name): float(score) for name, score in value["scores"].items()}
            yield path.name, value
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            notes.append(f"{path} is no record of an evaluation")


def settings_rows(records: Sequence[Record]) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Compare the settings of runs with the recipe of the first, or with its method's defaults where that is unknown.

    Returns:
      What they are compared with; the settings in which a run differs from that or from another; all the others. Each
      is {"key", "base", "values", "meaning", "apart": whether the runs differ}; None stands for what one has not.
    """
    first = next((record for record in records if record.config is not None), None)
    if first is None:
        return "", [], []
    told = configs.known(first.config.method.name)
    base = first.started.get("settings")
    if isinstance(base, dict) and isinstance(first.started.get("recipe"), str):
        against = first.started["recipe"]
    else:
        against, base = f"the defaults of {first.config.method.name}", {key: each.default for key, each in told.items()}
    base = {key: _plain(value) for key, value in base.items()}
    flat = [{} if each.config is None else configs.flatten(each.config) for each in records]
    flat = [{key: _plain(value) for key, value in each.items()} for each in flat]
    changed, same = [], []
    for key in dict.fromkeys([*told, *(key for each in flat for key in each)]):
        values = [each.get(key) for each in flat]
        meaning = told[key].limits.doc if key in told else ""
        apart = any(value != values[0] for value in values)
        row = {"key": key, "base": base.get(key), "values": values, "meaning": meaning, "apart": apart}
        (changed if apart or any(value != base.get(key) for value in values) else same).append(row)
    return against, changed, same


def _plain(value: Any) -> Any:
    """Return a setting as JSON would give it back."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
