"""Set our numbers beside the paper's: `python -m experiments.report [TABLE] [--results=DIR]`."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import tables
from experiments.run import RESULTS
from experiments.tables import TABLES, TITLES, Row
from uit_jax.errors import UserError

NOT_RUN = "not run"
REMARK = (
    "Cells are paper / ours; ours is the mean over the seeds, with their standard deviation, at the last step. Images\n"
    "are those of the test split. mFID, density and coverage need the published Inception weights and are not\n"
    f"computed here: they say {NOT_RUN!r}. The {tables.REMARK}."
)
# The paper's metrics: the head of the column, where `uit evaluate` puts ours, and digits.
METRICS = {
    "mfid": ("mFID", None, 1),
    "density": ("density", None, 3),
    "coverage": ("coverage", None, 3),
    "accuracy": ("accuracy", "cluster_accuracy", 3),
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__, allow_abbrev=False)
    parser.add_argument("table", nargs="?", help="table1, table2 or table3 (default: all)")
    parser.add_argument("--results", default=str(RESULTS), help="where experiments.run wrote them")
    args = parser.parse_args(argv)
    names = [tables.table_name(args.table)] if args.table else list(TABLES)
    results = load(args.results)
    print("\n\n".join(report(name, results) for name in names))
    print(f"\n{REMARK}")
    return 0


def load(folder: str | Path) -> list[dict[str, Any]]:
    """Read every result below a folder; none where there is no such folder. Raises UserError for a broken one."""
    results = []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            result = json.loads(path.read_text())
            results.append({**result, "step": int(result["step"]), "scores": dict(result["scores"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a result of experiments.run: {error!r}") from error
    return results


def report(table: str, results: Iterable[dict[str, Any]]) -> str:
    """Lay out one table in Markdown with numbered notes: data, changes and protocol of each result."""
    results = [result for result in results if result["table"] == table]
    measured = {name for result in results for name in result["scores"]}
    metrics = [
        metric
        for metric, (_, score, _) in METRICS.items()
        if score in measured or any(metric in row.paper for row in TABLES[table])
    ]
    notes: list[str] = []
    lines = [("row", *(METRICS[metric][0] for metric in metrics), "seeds", "step", "images", "commit", "notes")]
    for row in TABLES[table]:
        groups = _alike(result for result in results if result["row"] == row.name)
        for group in groups or [[]]:
            lines.append(_line(row, group, metrics, notes))
    footer = [f"[{number}] {text}" for number, text in enumerate(notes, start=1)]
    return "\n".join([f"## {TITLES[table]}", "", *_markdown(lines), "", *footer]).rstrip()


def _alike(results: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Put the seeds of one setting together: same code, data, steps and changes."""
    groups: dict[str, list] = {}
    for result in results:
        same = ("commit", "source", "substitute", "changes", "step", "images", "protocol")
        groups.setdefault(json.dumps([result[key] for key in same], sort_keys=True), []).append(result)
    return list(groups.values())


def _line(row: Row, group: Sequence[dict[str, Any]], metrics: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Lay out one row of a table for results that differ in their seed alone; [] where there are none."""
    told = [row.absent, *row.notes]
    what = ("", "", "", "")
    if group:
        first, seeds = group[0], {result["training_seed"] for result in group}
        if first["substitute"]:
            told.append(f"other data, so no reproduction of the number: {first['source']}")
        if first["changes"]:
            told.append("changed: " + ", ".join(f"{key}={value}" for key, value in first["changes"].items()))
        if missing := [str(seed) for seed in row.seeds if seed not in seeds]:
            told.append(f"{NOT_RUN}: seed {', '.join(missing)}")
        told.append(first["protocol"]["clusters"])
        what = (",".join(map(str, sorted(seeds))), str(first["step"]), str(first["images"]), first["commit"])
    numbers = []
    for text in filter(None, told):
        if text not in notes:
            notes.append(text)
        numbers.append(f"[{notes.index(text) + 1}]")
    return (row.name, *(_cell(row, group, metric) for metric in metrics), *what, "".join(numbers))


def _cell(row: Row, group: Sequence[dict[str, Any]], metric: str) -> str:
    _, score, digits = METRICS[metric]
    paper = f"{row.paper[metric]:.{digits}f}" if metric in row.paper else "-"
    values = [result["scores"][score] for result in group if score in result["scores"]]
    if values:
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{paper} / {np.mean(values):.{digits}f}{spread}"
    if metric not in row.paper:
        return "-"
    return f"{paper} / " + ("not ours" if row.absent else NOT_RUN)


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"experiments: {error}", file=sys.stderr)
        sys.exit(2)
