"""The page itself: what is known of some runs, laid out by a template in one HTML file."""

import importlib.util
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uit_jax import checkpoint as checkpoints
from uit_jax import runs
from uit_jax.errors import UserError
from uit_jax.evaluation import manifest
from uit_jax.evaluation.report import CAPTIONS
from uit_jax.files import write_whole
from uit_jax.paths import PathLike, as_path
from uit_jax.report import looking, pictures, plots, records
from uit_jax.report.looking import Seen
from uit_jax.report.records import Curve, Record

LIBRARIES = {"bokeh": "bokeh", "jinja2": "jinja2", "sklearn": "scikit-learn"}
"""What a page is made with, by the name it is imported by: that of its package."""

LARGEST = 9_500_000
"""Bytes of a page: pictures of training are left out, others evenly spread, until it is no larger."""

PICTURES = 4_000_000
"""Bytes of all pictures of training on a page, at most."""

_POINTS = 4_000  # of a metric's curves, of all runs together, 1,000 of one at most
_HERE = Path(__file__).parent


def missing() -> list[str]:
    """Return the packages that a page is made with and that are not installed."""
    return [package for name, package in LIBRARIES.items() if importlib.util.find_spec(name) is None]


def write(
    workdir: PathLike,
    out: PathLike | None = None,
    *,
    compare: Iterable[PathLike] = (),
    checkpoint: str | int = "latest",
    source: str | None = None,
    images: int = 600,
) -> Path:
    """Write the page of a run, other runs beside it; return where.

    Args:
      workdir, compare: the runs' folders; of one that is named twice the second is left out.
      out: the HTML file; by default report.html in `workdir`. What is there is replaced.
      checkpoint: whose model is asked about images, of every run: "latest", "best" or a step.
      source: the images that it is asked about; by default each run's own.
      images: at most so many of them; 0 leaves out what needs the model.

    Raises:
      UserError: there is no run, the file cannot be written, or a library is missing.
    """
    if absent := missing():
        raise UserError(f"a report needs {', '.join(absent)}: pip install 'uit-jax[report]'")
    folders = list(dict.fromkeys([as_path(workdir), *map(as_path, compare)]))
    found = [records.read(*each) for each in zip(folders, records.names(folders), strict=True)]
    seen = [look(record, checkpoint, source, images) for record in found]
    path = as_path(out) if out is not None else folders[0] / "report.html"
    write_whole(path, rendered(found, seen).encode())
    return path


def look(record: Record, checkpoint: str | int, source: str | None, images: int) -> Seen | None:
    """Ask a run's model, if it can be read, about some images; what is in the way is noted in its record."""
    if not images:
        return None
    try:
        return looking.look(runs.load(record.workdir, checkpoint), source, images)
    # A training under way may delete the checkpoint that is being read.
    except (UserError, OSError) as error:
        record.notes.append(f"styles and pseudo domains are left out: {error}")
        return None


def rendered(found: Sequence[Record], seen: Sequence[Seen | None]) -> str:
    """Return the page of some runs and of what their models make of images."""
    import jinja2
    from markupsafe import Markup

    names = [record.name for record in found]
    colours = {name: plots.colour(index) for index, name in enumerate(names)}
    drawn = {"curves": list(_curves(found, colours)), "speed": list(_speed(found, colours))}
    sheets = list(dict.fromkeys(each.sheet.data for each in seen if each))
    models = [_model(record, each, sheets) for record, each in zip(found, seen, strict=True) if each]
    scripts = plots.scripts()
    heavy = [*scripts, *sheets, *(strip.data for each in seen if each for strip in each.strips)]
    used = sum(map(len, heavy)) + len(json.dumps([drawn, [each["plots"] for each in models]]))
    samples = _samples(found, min(PICTURES, LARGEST - used - 300_000))
    against, changed, same = records.settings_rows(found)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    # Bokeh refers to what came before, so that keys stay in their order.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"number": _number, "setting": _setting}
    return environment.get_template("page.html").render(
        title=", ".join(names),
        runs=[_about(record, colours[record.name]) for record in found],
        drawn=drawn,
        samples=samples,
        models=models,
        sheets=sheets,
        scores=_scores(found),
        last=_last(found),
        settings={"against": against, "changed": changed, "same": same},
        versions=_versions(found),
        css=Markup((_HERE / "page.css").read_text("utf-8")),
        scripts=[Markup(each) for each in (*scripts, (_HERE / "page.js").read_text("utf-8"))],
    )


def _about(record: Record, colour: str) -> dict[str, Any]:
    """Return what a run is called and how far it is."""
    config = record.config
    kept = checkpoints.steps(record.workdir)
    return {
        "name": record.name,
        "workdir": str(record.workdir),
        "colour": colour,
        "method": config.method.name if config else "unknown",
        "recipe": record.started.get("recipe", ""),
        "source": " to ".join(filter(None, (config.data.source, config.data.target))) if config else "",
        "step": record.step,
        "steps": config.steps if config else None,
        "checkpoints": ", ".join(map(str, kept)) or "none",
        "devices": record.started.get("devices", ""),
        "notes": record.notes,
        "evaluations": [
            {"file": name, "record": each, "json": json.dumps(each, indent=2)}
            for name, each in record.evaluations.items()
        ],
    }


def _curves(found: Sequence[Record], colours: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    """Yield the metrics by group, scores first and step sizes last: {"name", "plots"}."""
    phases = list(dict.fromkeys(phase for record in found for phase in record.phases))
    phases = sorted({(phase.name, phase.begin): phase for phase in phases}.values(), key=lambda phase: phase.begin)
    names = dict.fromkeys(name for record in found for name in record.curves)
    ordered = sorted(names, key=_group)
    for (_, group), members in itertools.groupby(ordered, key=_group):
        items = []
        for name in members:
            curves = _thinned({record.name: record.curves[name] for record in found if name in record.curves})
            items.append({"title": name, "item": plots.curve(name, curves, colours, phases)})
        yield {"name": group, "plots": items}


def _speed(found: Sequence[Record], colours: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    """Yield how fast the runs were."""
    for name, title in (("images_per_second", "images per second"), ("input_wait", "share of time without a batch")):
        if curves := _thinned({record.name: record.speed[name] for record in found if name in record.speed}):
            told = {run: _median(curve.values) for run, curve in curves.items()}
            yield {"title": title, "median": told, "item": plots.curve(title, curves, colours, ())}


def _group(name: str) -> tuple[int, str]:
    """Return where the plot of a metric stands: scores, then terms by learner, then step sizes."""
    if name.endswith("/rate"):
        return 2, "step sizes"
    return (1, name.partition("/")[0]) if "/" in name else (0, "scores")


def _thinned(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    most = min(1_000, max(50, _POINTS // max(1, len(curves))))
    return {name: curve.thinned(most) for name, curve in curves.items()}


def _median(values: Sequence[float]) -> float:
    finite = sorted(value for value in values if math.isfinite(value))
    return finite[len(finite) // 2] if finite else math.nan


def _samples(found: Sequence[Record], room: int) -> list[dict[str, Any]]:
    """Return the pictures of training by their names: {"name", "runs": of each its name and pictures}."""
    names = dict.fromkeys(name for record in found for name in record.pictures)
    holders = [(name, record) for name in names for record in found if name in record.pictures]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for name, record in holders:
        frames = pictures.series(record.pictures[name], max(0, room) // len(holders), record.notes)
        if frames:
            grouped.setdefault(name, []).append({"run": record.name, "frames": frames})
    return [
        {"name": name, "runs": each, "steps": sorted({frame["step"] for run in each for frame in run["frames"]})}
        for name, each in grouped.items()
    ]


def _model(record: Record, seen: Seen, sheets: Sequence[str]) -> dict[str, Any]:
    """Return what a model makes of images, with its plots; those that it has nothing for are left out."""
    sheet = f"--sheet-{sheets.index(seen.sheet.data)}"
    found: dict[str, Any] = {}
    if seen.points is not None:
        found["space"] = plots.space(seen, sheet)
    if seen.pseudo_domains:
        found["sizes"] = plots.sizes(seen)
    if (confusion := seen.confusion) is not None:
        found["confusion"] = plots.confusion(*confusion)
    kinds = {"domain": seen.assigned is not None, "class": bool((seen.labels >= 0).any())}
    return {"run": record.name, "seen": seen, "sheet": sheet, "plots": found, "kinds": kinds, "keys": _keys(seen)}


def _keys(seen: Seen) -> dict[str, list[tuple[str, str]]]:
    """Return the colours of pseudo domains and classes that the style space has, with what each is."""
    labels = sorted(set(seen.labels.tolist()))
    told = {"class": [(plots.colour(each), seen.classes[each] if each >= 0 else "no label") for each in labels]}
    numbers = sorted(domain.number for domain in seen.pseudo_domains)
    return told | {"domain": [(plots.colour(each), str(each)) for each in numbers]}


def _scores(found: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the scores of the evaluations, a row each, with the values of all runs; None where a run has none."""
    names = {
        (file, name): None for record in found for file, each in record.evaluations.items() for name in each["scores"]
    }
    return [
        {
            "file": file,
            "name": CAPTIONS.get(name, name).strip(),
            "values": [record.evaluations.get(file, {"scores": {}})["scores"].get(name) for record in found],
        }
        for file, name in names
    ]


def _last(found: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the last value of every metric and its step, and its range, of each run; None where a run has none."""
    rows = []
    for name in dict.fromkeys(name for record in found for name in record.curves):
        cells = []
        for record in found:
            steps, values = record.curves.get(name, ((), ()))
            finite = [value for value in values if math.isfinite(value)] or [math.nan]
            cell = {"value": values[-1], "step": steps[-1], "low": min(finite), "high": max(finite)} if steps else None
            cells.append(cell)
        rows.append({"name": name, "cells": cells})
    return rows


def _versions(found: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Return versions: of what wrote the page, and what each run was started with the last time, "" unknown."""
    rows = {"this page": manifest.versions()}
    for record in found:
        known = record.started.get("versions")
        rows[record.name] = known if isinstance(known, dict) else {}
    libraries = dict.fromkeys(library for known in rows.values() for library in known)
    return [(library, [str(known.get(library, "")) for known in rows.values()]) for library in libraries]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _setting(value: Any) -> str:
    """Show a setting as `uit config` does."""
    return "-" if value is None else repr(value) if value == "" else str(value)
