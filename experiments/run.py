"""Run one row of a table: train and evaluate it for each seed, and write each result down.

    python -m experiments.run --list
    python -m experiments.run table1 animalfaces10-g --data=PATH
    python -m experiments.run table1 animalfaces10-g --substitute=PATH --config.steps=1000
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from experiments import tables
from experiments.tables import DATA_SETS, TABLES, TITLES, Row
from uit_jax import config as config_module
from uit_jax import data, evaluate, styles, train
from uit_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def main(argv: list[str]) -> int:
    argv, overrides = config_module.split(argv)
    args = _parser().parse_args(argv)
    if args.list:
        print(listing(args.table))
        return 0
    if not (args.table and args.row):
        raise UserError("name a table and a row; --list shows them all")
    table = tables.table_name(args.table)
    row = tables.find_row(table, args.row)
    if row.absent:
        raise UserError(f"{row.name} cannot be run: {row.absent}")
    source = args.data or args.substitute
    if not source:
        known = DATA_SETS[row.data]
        raise UserError(
            f"--data=PATH is missing: a folder with train/CLASS and test/CLASS of {known.title} ({known.note});"
            " or --substitute=PATH for other images, whose numbers are then marked as such"
        )
    changes = changed(overrides)
    seeds = row.seeds if args.seeds is None else tuple(args.seeds)
    for seed in seeds:
        config = build_config(row, source=source, seed=seed, overrides=overrides)
        if args.data:
            check_data(row, config)
        variant = variant_name(row, args.substitute, changes)
        workdir = Path(args.workdir) / table / variant / f"seed{seed}"
        result = run(row, config, workdir, table=table, changes=changes, substitute=bool(args.substitute))
        path = Path(args.results) / table / variant / f"seed{seed}.json"
        evaluate.write_json(path, result)
        print(f"{row.name}, seed {seed}: {result['scores']}, written to {path}")
    return 0


def build_config(row: Row, *, source: str, seed: int, overrides=()):
    """Return the config of one run of a row."""
    config = row.config()
    config_module.update(config, {"data.source": source, "seed": seed})
    return config_module.override(config, overrides)


def changed(overrides: list[str]) -> dict[str, str]:
    """Return `--config.key=value` overrides as a mapping, refusing those that would make it another row's run."""
    changes = {}
    for override in overrides:
        key, _, value = override.removeprefix("--config.").partition("=")
        if key in ("data.source", "seed"):
            instead = "--seeds" if key == "seed" else "--data or --substitute"
            raise UserError(f"--config.{key}: say it with {instead}")
        changes[key] = value
    return changes


def variant_name(row: Row, substitute: str | None, changes: dict[str, str]) -> str:
    """Return a row's name, or one for this substitute and these changes, so that no run is taken for another's."""
    if not (substitute or changes):
        return row.name
    digest = hashlib.sha256(json.dumps([substitute, changes], sort_keys=True).encode()).hexdigest()
    return f"{row.name}-{digest[:8]}"


def check_data(row: Row, config) -> None:
    """Refuse images under the name of a data set that they are not. Raises UserError."""
    known = DATA_SETS[row.data]
    source = data.open_source(
        config.data.source, split="train", size=config.data.image_size, channels=config.data.channels
    )
    if len(source.classes) != known.classes or (known.names and set(source.classes) != set(known.names)):
        raise UserError(
            f"{config.data.source} has {len(source.classes)} classes ({', '.join(source.classes[:5])} ...) and is not"
            f" {known.title}: give --substitute instead of --data to run the row on other images"
        )


def run(row: Row, config, workdir: Path, *, table: str, changes: dict[str, str], substitute: bool) -> dict[str, Any]:
    """Train (or continue) one run, evaluate it, and return its record."""
    code, began, continued = commit(), time.monotonic(), (workdir / "config.json").exists()
    train.train(config, workdir)
    seconds = None if continued else round(time.monotonic() - began, 1)
    trained = styles.open_run(workdir)
    if trained.step < config.steps:
        raise UserError(f"{workdir}: training stopped at step {trained.step}; the same command continues it")
    result = evaluate.evaluate(trained, kmeans=table == "table1", seed=config.seed)
    if config.method.labelled_share == 1:
        # Where labels are given nothing trains the clusters.
        result["scores"] = {name: score for name, score in result["scores"].items() if not name.startswith("cluster")}
    return {
        "table": table,
        "row": row.name,
        "data_set": DATA_SETS[row.data].title,
        "substitute": substitute,
        "changes": changes,
        "commit": code,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "training_seconds": seconds,
        "workdir": str(workdir),
        **result,
    }


def commit() -> str:
    """Return the commit of this code, "+" behind it if files differ from it; "unknown" outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def listing(table: str | None = None) -> str:
    """Name all rows, with what each needs."""
    lines = []
    names = TABLES if table is None else [tables.table_name(table)]
    for name in names:
        lines.append(f"{name}  {TITLES[name]}")
        for row in TABLES[name]:
            numbers = ", ".join(f"{metric} {value:g}" for metric, value in row.paper.items())
            lines.append(f"  {row.name:<28} {numbers}" + (f"  (not here: {row.absent})" if row.absent else ""))
    return "\n".join(lines)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Any setting of the row can be changed by --config.key=value; the report tells which were.",
        allow_abbrev=False,
    )
    parser.add_argument("table", nargs="?", help="table1, table2 or table3")
    parser.add_argument("row", nargs="?", help="a row's name")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--data", help="the row's own data set: a folder with train/CLASS and test/CLASS")
    images.add_argument("--substitute", help="any other source of images; the result is marked as such")
    parser.add_argument("--seeds", type=_seeds, metavar="A,B", help="instead of the row's own seeds")
    parser.add_argument("--workdir", default="runs/experiments", help="where the runs go (default: runs/experiments)")
    parser.add_argument("--results", default=str(RESULTS), help="where the results go (default: experiments/results)")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"experiments: {error}", file=sys.stderr)
        sys.exit(2)
