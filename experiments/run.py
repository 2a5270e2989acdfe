"""Run one row of a table: train and evaluate it for each seed, and write each result down.

    python -m experiments.run --list
    python -m experiments.run tunit/table1 animalfaces10-g --data=PATH
    python -m experiments.run cut/table1 horse2zebra-cut --substitute=PATH --config.steps=1000
    python -m experiments.run world/methods cluit

The same command continues a run that was stopped.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from experiments import relabel, scoring, tables
from experiments.rows import Paper, Row
from experiments.tables import TABLES
from uit_jax import checkpoint, data, files, programs, runs
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.evaluation import networks
from uit_jax.method import load_size
from uit_jax.paths import as_path
from uit_jax.training import loop

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
    source = find_source(row, data=args.data, substitute=args.substitute)
    changes = changed(overrides)
    seeds = row.seeds if args.seeds is None else tuple(args.seeds)
    table, row = tables.home(table, row)
    named = scoring.find_named(inception=args.inception, judge=args.judge)
    programs.keep_later()
    for line in scoring.left_out(table, row, named):
        print(line)
    for seed in seeds:
        config = build_config(row, source=source, seed=seed, overrides=overrides)
        if args.data:
            check_data(row, config)
        variant = variant_name(row, args.substitute, changes)
        workdir = as_path(args.workdir) / table / variant / f"seed{seed}"
        how = dict(table=table, changes=changes, features=args.features, named=named)
        how["substitute"] = bool(args.substitute)
        result = run(row, config, workdir, **how, timed=seed == seeds[0])
        path = as_path(args.results) / table / variant / f"seed{seed}.json"
        files.write_json(path, result)
        print(f"{row.name}, seed {seed}: {result['scores']}, written to {path}")
    return 0


def find_source(row: Row, *, data: str | None, substitute: str | None) -> str:
    """Return what `data.source` is to be: what was named, or images that everyone has. Raises UserError."""
    known = row.data
    if data and known.source:
        raise UserError(f"--data={data}: leave it out, for {known.title} is {known.source!r} ({known.note})")
    source = data or substitute or known.source
    if not source:
        raise UserError(
            f"--data=PATH is missing: a folder with {known.layout} of {known.title} ({known.note});"
            " or --substitute=PATH for other images, whose numbers are then marked as such"
        )
    return source


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
    known, method = row.data, config_module.method_of(config)
    size = load_size(method, method.phase(0))
    sources = data.open_sides(method.sides, config.data, size=size, seed=config.seed)
    first, *others = sources.values()
    if known.paired:
        counts = tuple(len(source) for source in (first, *others))
        right = counts == known.pair
        found = f"{counts[0]} and {counts[1]} training images, not {known.pair[0]} and {known.pair[1]},"
    elif known.classes:
        classes = first.classes
        right = len(classes) == known.classes and (not known.names or set(classes) == set(known.names))
        found = f"{len(classes)} classes ({', '.join(classes[:5])} ...)"
    else:
        right = len(first) == known.images
        found = f"{len(first)} training images, not {known.images},"
    if not right:
        raise UserError(
            f"{config.data.source} has {found} and is not {known.title}: give --substitute instead of --data to run"
            " the row on other images"
        )


def run(
    row: Row,
    config,
    workdir: Path,
    *,
    table: str,
    changes: dict[str, str],
    features: str | None,
    named: Mapping[str, str],
    substitute: bool,
    timed: bool,
) -> dict[str, Any]:
    """Train (or continue) one run, measure it, and return its record.

    What a step costs does not depend on the seed: of several it is `timed` for one. `features` are `relabel.relabel`'s,
    `named` is `scoring.find_named`'s.
    """
    code, continued, labels = commit(), bool(checkpoint.steps(workdir)), {}
    if row.relabel:
        labels = relabel.relabel(row, config, workdir, features)
        config.data.labels = str(relabel.place(workdir))
    began = time.monotonic()
    loop.train(config, workdir, overrides=[f"--config.{key}={value}" for key, value in changes.items()])
    seconds = None if continued else round(time.monotonic() - began, 1)
    trained = runs.load(workdir)
    # Where `hours` set the length of a run, its own config has it.
    if trained.step < trained.config.steps:
        raise UserError(f"{workdir}: training stopped at step {trained.step}; the same command continues it")
    also = scoring.scorers(table, named)
    metrics = tables.paper_of(table).metrics.values()
    wanted = {metric.protocol for metric in metrics if metric.score and metric.needs in ("", *named)}
    if not (timed and TABLES[table].timed):
        wanted -= {"cost"}
    if not row.data.classes:
        # Pairs are scored by the table's own evaluators alone, other images by nothing.
        own = {metric.protocol for each in also for metric in scoring.filled(table, each)} if row.data.paired else set()
        wanted &= {"cost", *own}
    result = scoring.score(trained, wanted, also=also)
    for part, found in labels.items():
        result[part] |= found
    return {
        "table": table,
        "row": row.name,
        "data_set": row.data.title,
        "substitute": substitute,
        "changes": changes,
        "commit": code,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "training_seconds": seconds,
        **result,
    }


def commit() -> str:
    """Return the last commit that changed what a result depends on, "+" behind it if files of that differ from it.

    "unknown" outside a repository.
    """
    code = ("--", "uit_jax", "configs", ":(glob)experiments/*.py")
    try:
        head = _git("log", "-1", "--format=%h", "--abbrev=12", *code)
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def listing(table: str | None = None) -> str:
    """Name all rows, with what each needs."""
    lines, told = [], None
    for name in tables.table_names(table):
        if (paper := tables.paper_of(name)) is not told:
            lines.append(paper.title)
            told = paper
        lines.append(f"  {name}  {TABLES[name].title}")
        lines += [f"    {row.name:<28} {_told(row, paper)}" for row in TABLES[name].rows]
    return "\n".join(lines)


def _told(row: Row, paper: Paper) -> str:
    """Say of a row what the paper has, or what it is made by where there is none, and what is to be known of it."""
    if not paper.published:
        told = " ".join([row.recipe, *(f"{key}={value}" for key, value in row.overrides.items())])
    else:
        metrics = {paper.metrics[name]: value for name, value in row.paper.items()}
        numbers = (f"{metric.head} {value:.{metric.digits}f}" for metric, value in metrics.items())
        told = ", ".join(numbers) or "no number in the paper"
    if row.relabel:
        told += f", labels by {row.relabel.by}"
    same = f"  (the runs of {row.same_as})" if row.same_as else ""
    return told + same + (f"  (not here: {row.absent})" if row.absent else "")


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
    parser.add_argument("table", nargs="?", help="PAPER/TABLE, as in cut/table1; --list also takes a paper")
    parser.add_argument("row", nargs="?", help="a row's name")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--data", help="the row's own data set: classes in train and test, or trainA, trainB, testA, testB"
    )
    images.add_argument("--substitute", help="any other source of images; the result is marked as such")
    parser.add_argument(
        "--features",
        metavar="FILE|style:WORKDIR",
        help=f"of a row that learns from labels found by features: which ones (default: ${networks.VARIABLE})",
    )
    parser.add_argument(
        "--inception", metavar="FILE", help=f"Inception's weights, for FID and the like (default: ${networks.VARIABLE})"
    )
    parser.add_argument("--judge", metavar="FILE.npz", help="where a judge of translations is kept, or will be")
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
