"""Set our numbers beside the paper's: `python -m experiments.report [PAPER[/TABLE]] [--results=DIR]`."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import tables
from experiments.rows import Metric, Row
from experiments.run import RESULTS
from experiments.tables import TABLES
from uit_jax.errors import UserError

NOT_RUN, NOT_HERE = "not run", "not here"
REMARK = (
    "Cells are paper / ours; ours is the mean over the seeds, with their standard deviation, at the last step. Images\n"
    f"are those of the test split that were scored. What is not computed here says {NOT_RUN!r}."
)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "table", nargs="?", help="a paper, or one of its tables, as in cut or cut/table1 (default: all)"
    )
    parser.add_argument("--results", default=str(RESULTS), help="where experiments.run wrote them")
    args = parser.parse_args(argv)
    names = tables.table_names(args.table)
    results = load(args.results)
    papers = {paper.title: paper for paper in map(tables.paper_of, names)}
    for title, paper in papers.items():
        print(f"# {title}\n")
        print("\n\n".join(report(name, results) for name in names if tables.paper_of(name) is paper))
        print(f"\n{paper.remark}\n")
    print(REMARK)
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
    rows = TABLES[table].rows
    metrics = {
        name: metric
        for name, metric in tables.paper_of(table).metrics.items()
        if metric.score in measured or any(name in row.paper for row in rows)
    }
    notes: list[str] = []
    heads = (metric.head for metric in metrics.values())
    lines = [("row", *heads, "seeds", "step", "images", "commit", "notes")]
    for row in rows:
        groups = _alike(result for result in results if result["row"] == row.name)
        for group in groups or [[]]:
            lines.append(_line(row, group, metrics, notes))
    footer = [f"[{number}] {text}" for number, text in enumerate(notes, start=1)]
    return "\n".join([f"## {TABLES[table].title}", "", *_markdown(lines), "", *footer]).rstrip()


def _alike(results: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Put the seeds of one setting together: same code, data, steps and changes."""
    groups: dict[str, list] = {}
    for result in results:
        same = ("commit", "source", "substitute", "changes", "step", "images", "protocol")
        groups.setdefault(json.dumps([result[key] for key in same], sort_keys=True), []).append(result)
    return list(groups.values())


def _line(
    row: Row, group: Sequence[dict[str, Any]], metrics: Mapping[str, Metric], notes: list[str]
) -> tuple[str, ...]:
    """Lay out one row of a table for results that differ in their seed alone; [] where there are none."""
    told = [row.absent, *row.notes]
    what = (NOT_HERE if row.absent else NOT_RUN, "", "", "")
    if group:
        first, seeds = group[0], {result["training_seed"] for result in group}
        if first["substitute"]:
            told.append(f"other data, so no reproduction of the number: {first['source']}")
        if first["changes"]:
            told.append("changed: " + ", ".join(f"{key}={value}" for key, value in first["changes"].items()))
        if missing := [str(seed) for seed in row.seeds if seed not in seeds]:
            told.append(f"{NOT_RUN}: seed {', '.join(missing)}")
        told += [first["protocol"][metric.protocol] for metric in metrics.values() if metric.score in first["scores"]]
        images = str(first["images"] or "-")
        what = (",".join(map(str, sorted(seeds))), str(first["step"]), images, first["commit"])
    numbers = []
    for text in filter(None, dict.fromkeys(told)):
        if text not in notes:
            notes.append(text)
        numbers.append(f"[{notes.index(text) + 1}]")
    return (row.name, *(_cell(row, group, *item) for item in metrics.items()), *what, "".join(numbers))


def _cell(row: Row, group: Sequence[dict[str, Any]], name: str, metric: Metric) -> str:
    paper = f"{row.paper[name]:.{metric.digits}f}" if name in row.paper else "-"
    values = [result["scores"][metric.score] for result in group if metric.score in result["scores"]]
    if values:
        spread = f" ± {np.std(values, ddof=1):.{metric.digits}f}" if len(values) > 1 else ""
        return f"{paper} / {np.mean(values):.{metric.digits}f}{spread}"
    if name not in row.paper:
        return "-"
    return f"{paper} / " + (NOT_HERE if row.absent else NOT_RUN)


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
