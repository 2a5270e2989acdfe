"""`uit config`: tell every setting of a recipe or of a run, or what differs between two."""

import argparse
import itertools
import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from uit_jax import checkpoint, evaluation
from uit_jax import config as config_module
from uit_jax.config import Explained
from uit_jax.paths import as_path

WIDTH, VALUE = 100, 16
"""Columns of the whole table, and the most of a value, which is broken where it is longer."""
MARKS = {"": "", "recipe": "*", "run": "*", "preset": "+", "override": "!"}
LEGEND = "\nNot the default: * in the recipe or the run, + by the preset, ! by --config.KEY=VALUE"


def main(argv: list[str]) -> int:
    rest, overrides = config_module.split(argv)
    args = _parser().parse_args(rest)
    rows = _explained(args.config, overrides)
    values = {row.told.key: row.value for row in rows}
    evaluation.followed(values["evaluators"], values["best_metric"])
    if args.diff is not None:
        records = differences(rows, _explained(args.diff))
        heads = ("key", *_names(args.config, args.diff), "meaning")
        lines = [tuple(map(_text, record.values())) for record in records]
        print(json.dumps(records, indent=2) if args.json else table(heads, lines) if lines else "Nothing differs.")
    elif args.json:
        print(json.dumps([record(row) for row in rows], indent=2))
    else:
        print(listing(rows))
    return 0


def _explained(spec: str, overrides: Iterable[str] = ()) -> list[Explained]:
    """Return every setting of a recipe, or of a run by its checkpoint's record where config.json differs."""
    run = checkpoint.begun_with(spec) if as_path(spec).is_dir() else None
    return config_module.explain(spec, overrides, run)


def listing(rows: Sequence[Explained]) -> str:
    """Lay out every setting with its value, its default, its meaning and range."""
    return table(("", "key", "value", "default", "meaning"), [_line(row) for row in rows]) + LEGEND


def record(row: Explained) -> dict[str, Any]:
    """Return what is known of a setting."""
    told = row.told
    known = {"key": told.key, "value": row.value, "default": told.default, "set_by": row.origin}
    return {**known, "range": told.range, "meaning": told.limits.doc}


def differences(rows: Sequence[Explained], others: Sequence[Explained]) -> list[dict[str, Any]]:
    """Return the settings that one of two configs has not, or has with another value; None stands for none."""
    one, other = ({row.told.key: row for row in each} for each in (rows, others))
    found = []
    for key in dict.fromkeys([*one, *other]):
        row = one.get(key) or other[key]
        values = [each[key].value if key in each else None for each in (one, other)]
        if values[0] != values[1]:
            found.append({"key": key, "value": values[0], "other": values[1], "meaning": row.told.limits.doc})
    return found


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns, the last of which gets what is left of the width; a blank line parts the groups."""
    key = heads.index("key")
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads) - 1)]
    widths = [width if i <= key else min(width, VALUE) for i, width in enumerate(widths)]
    widths.append(WIDTH - sum(widths) - 2 * len(widths))
    laid, group = [], None
    for number, line in enumerate((heads, *lines)):
        if group != (group := line[key].rpartition(".")[0].partition(".")[0]) and number > 1:
            laid.append("")
        cells = [textwrap.wrap(cell, width) if cell else [] for cell, width in zip(line, widths, strict=True)]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            laid.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(laid)


def _line(row: Explained) -> tuple[str, ...]:
    told = row.told
    meaning = told.limits.doc + (f" [{told.range}]" if told.range else "")
    return MARKS[row.origin], told.key, _text(row.value), _text(told.default) if row.origin else "", meaning


def _text(value: Any) -> str:
    return "-" if value is None else repr(value) if value == "" else str(value)


def _names(*specs: str) -> tuple[str, ...]:
    """Return the shortest names that tell two configs apart."""
    short = tuple(Path(spec).name for spec in specs)
    return short if len(set(short)) == len(short) else specs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit config",
        description=__doc__,
        epilog="--config.KEY=VALUE, as in --config.batch_size=16, changes a setting of CONFIG, not of OTHER.",
    )
    parser.add_argument("config", metavar="CONFIG", help="configs/NAME.py[:preset], or the workdir of a run")
    parser.add_argument("--diff", metavar="OTHER", help="another of these: tell only what differs")
    parser.add_argument("--json", action="store_true", help="tell programs: a list of objects")
    return parser
