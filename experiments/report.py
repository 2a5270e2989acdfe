"""Set our numbers beside the paper's, or each other: `python -m experiments.report [PAPER[/TABLE]] [--results=DIR]`."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import tables
from experiments.rows import Metric, Row
from experiments.run import RESULTS
from experiments.tables import TABLES
from uit_jax.errors import UserError

NOT_RUN, NOT_HERE = "not run", "not here"
CELLS = f"Cells are paper / ours. What is not computed here says {NOT_RUN!r}."
REMARK = (
    "Ours is the mean over the seeds at the last step, with the least and the greatest in brackets. Images are those\n"
    "of the test split that were scored."
)


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    names = tables.table_names(args.table)
    results = load(args.results)
    papers = {paper.title: paper for paper in map(tables.paper_of, names)}
    for title, paper in papers.items():
        print(f"# {title}\n")
        print("\n\n".join(report(name, results) for name in names if tables.paper_of(name) is paper))
        print(f"\n{paper.remark}\n")
    if any(paper.published for paper in papers.values()):
        print(CELLS)
    print(REMARK)
    return 0


def load(folder: str | Path) -> list[dict[str, Any]]:
    """Read every result below a folder; none where there is no such folder. Raises UserError for a broken one.

    The series of a run's checkpoints (`uit evaluate --series`) is no row's, and passed over.
    """
    results = []
    for path in sorted(Path(folder).expanduser().rglob("*.json")):
        try:
            result = json.loads(path.read_text())
            if "series" in result:
                continue
            results.append({**result, "step": int(result["step"]), "scores": dict(result["scores"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a result of experiments.run: {error!r}") from error
    return results


def report(table: str, results: Sequence[dict[str, Any]]) -> str:
    """Lay out one table in Markdown with numbered notes: data, changes and protocol of each result."""
    paper, rows = tables.paper_of(table), TABLES[table].rows
    found = {row.name: _results_of(row, table, results) for row in rows}
    measured = {score for own in found.values() for result in own for score in result["scores"]}
    published = {name for row in rows for name in row.paper}
    # A score that stands beside the paper's has no column of its own.
    measured -= {paper.metrics[name].score for name in published}
    metrics = {name: metric for name, metric in paper.metrics.items() if metric.score in measured or name in published}
    notes: list[str] = []
    heads = (metric.head for metric in metrics.values())
    lines = [("row", *heads, "seeds", "step", "images", "commit", "notes")]
    for row in rows:
        for group in _alike(found[row.name], long="hours" in row.overrides) or [[]]:
            cells = [_cell(row, group, *item, published=paper.published) for item in metrics.items()]
            lines.append((row.name, *cells, *_account(row, group, metrics, notes)))
    footer = [f"[{number}] {text}" for number, text in enumerate(notes, start=1)]
    return "\n".join([f"## {TABLES[table].title}", "", *_markdown(lines), "", *footer]).rstrip()


def _results_of(row: Row, table: str, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of a row; of runs that are another row's too, those of its own seeds."""
    home, origin = tables.home(table, row)
    own = [result for result in results if (result["table"], result["row"]) == (home, origin.name)]
    return [result for result in own if not row.same_as or result["training_seed"] in row.seeds]


def _alike(results: Sequence[dict[str, Any]], *, long: bool = False) -> list[list[dict[str, Any]]]:
    """Put the seeds of one setting together: same data, changes and steps, or hours where these set the steps (`long`).

    Of the procedural world each seed has images of its own, and may have more or fewer of a species. Draws of an
    evaluation go by the seed too.
    """
    groups: dict[str, list] = {}
    for result in results:
        same = [result[key] for key in ("substitute", "changes", *(() if long else ("step",)))]
        spec, _, _ = result["source"].partition(": ")  # behind it stands how many images there are
        same += [spec] if spec.startswith("procedural") else [result["source"], result["images"]]
        # One seed alone has its cost measured.
        protocol = {name: text for name, text in result["protocol"].items() if name != "cost"}
        same.append({name: re.sub(r"\(seed \d+", "(seed", text) for name, text in protocol.items()})
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(result)
    return list(groups.values())


def _account(
    row: Row, group: Sequence[dict[str, Any]], metrics: Mapping[str, Metric], notes: list[str]
) -> tuple[str, ...]:
    """Say of what results that differ in their seed alone are, [] where there are none; add to the notes."""
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
        told += [
            f"{metric.head}: {metric.absent}" for name, metric in metrics.items() if metric.absent and name in row.paper
        ]
        told += [first["protocol"][metric.protocol] for metric in metrics.values() if metric.score in first["scores"]]
        commits = ", ".join(dict.fromkeys(result["commit"] for result in group))
        steps, images = (_between([result[key] for result in group]) for key in ("step", "images"))
        what = (",".join(map(str, sorted(seeds))), steps, images if images != "0" else "-", commits)
    numbers = []
    for text in filter(None, dict.fromkeys(told)):
        if text not in notes:
            notes.append(text)
        numbers.append(f"[{notes.index(text) + 1}]")
    return (*what, "".join(numbers))


def _cell(row: Row, group: Sequence[dict[str, Any]], name: str, metric: Metric, *, published: bool) -> str:
    values = [result["scores"][metric.score] for result in group if metric.score in result["scores"]]
    ours = _mean(values, metric.digits) if values else "-"
    if not published or (name not in row.paper and not values):
        return ours
    if not values:
        ours = NOT_HERE if row.absent else NOT_RUN
    return (f"{row.paper[name]:.{metric.digits}f}" if name in row.paper else "-") + f" / {ours}"


def _mean(values: Sequence[float], digits: int) -> str:
    """Write the mean of values and, of several, the least and the greatest."""
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _between(counts: Sequence[int]) -> str:
    """Write the least and the greatest of counts, or the one they all are."""
    return " to ".join(map(str, dict.fromkeys([min(counts), max(counts)])))


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "table", nargs="?", help="a paper, or one of its tables, as in cut or cut/table1 (default: all)"
    )
    parser.add_argument("--results", default=str(RESULTS), help="where experiments.run wrote them")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"experiments: {error}", file=sys.stderr)
        sys.exit(2)
