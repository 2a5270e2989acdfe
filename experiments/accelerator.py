"""What can be learnt of a device in a quarter of an hour: steps timed, their time told apart, TUNIT and CUT trained.

    python -m experiments.accelerator --minutes=12 --out=DIR
    python -m experiments.accelerator --minutes=12 --out=DIR --data=IMAGES --pair=A,B

The same command with the same DIR goes on with what is not done. It never takes longer: the process ends itself.
DIR/report.json holds all that was found. On a processor without accelerator everything is done at the size of a toy.
"""

import argparse
import functools
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.deadline import Minutes, Record, guarded, stopped_after
from experiments.run import commit
from experiments.steps import RECIPES, TOY, TRAININGS, Job, configure, expected, scaled, wanted
from uit_jax import __version__, checkpoint, evaluation, files, programs, runs
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.evaluation.likeness import Likeness
from uit_jax.images import charts, pictures
from uit_jax.settings import nearest
from uit_jax.training import chips, feed, loop, measure

PARTS = ("bench", "profile", "train")
_MARGIN = 15.0  # seconds: imports came before, and the end takes some
_MOST = 24 * 60  # minutes
_TRAINING = 0.5  # of the time, kept for it
_STEPS, _WINDOWS = 5, 4
_LEAST = 20  # steps that are worth training
_EVALUATED, _EVALUATION = 500, 45.0  # images, and seconds kept for scoring them
_TOLD = (
    ("step", "{job}, {phase}"),
    ("ms", "{ms:.4g}"),
    ("of the floor", "{floor}"),
    ("MiB", "{mib:.0f}"),
    ("compile s", "{compile_seconds:.1f}"),
    ("first step s", "{first}"),
)


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    parts, methods = _names("--only", args.only, PARTS), _names("--methods", args.methods, RECIPES)
    if not _MARGIN / 60 < args.minutes <= _MOST:
        raise UserError(f"--minutes={args.minutes:g}: give more than {_MARGIN / 60:g}, and {_MOST} at most")
    minutes = Minutes(args.minutes - _MARGIN / 60)
    files.check_writable(Path(args.out), "--out")
    record = Record(Path(args.out) / "report.json")
    programs.keep_later()
    toy = jax.default_backend() == "cpu" if args.toy is None else args.toy
    if toy:
        methods = [name for name in methods if name in TOY]
        _quick()
        _say(f"toys of {' and '.join(methods)}" + ": there is no accelerator here" * (args.toy is None))

    with guarded(minutes.left(), functools.partial(end, record)):
        jobs = [job for job in wanted(parts, toy) if job.method in methods]
        names = [name for name in TRAININGS if "train" in parts and name in methods and not finished(record, name)]
        for name in names:
            look_at(name, _source(name, args), toy)
        record.write(ended="", **about(toy))
        try:
            bench(jobs, record, minutes, toy, kept=_TRAINING * minutes.left() * bool(names))
            for others, name in zip(reversed(range(len(names))), names, strict=True):
                # How many steps there is time for is not known without.
                bench([job for job in jobs if job.name == TRAININGS[name].job], record, minutes, toy)
                with record.attempt(f"train {name}"):
                    train(name, _source(name, args), record, minutes.left() / (1 + others), toy)
            bench(jobs, record, minutes, toy)
            lost = [each for each in ("skipped", "failed") if record.found[each]]
            status, ended = 0, f"done, but for what {' or '.join(lost)}" if lost else "all was done"
        # While a run is trained, it answers to signals itself.
        except KeyboardInterrupt as told:
            status, ended = 130, str(told) or "interrupted"
        record.close(ended)
    _say(table(record.found))
    return status


def end(record: Record, why: str, status: int) -> None:
    """End the process at once, with what there is of the report."""
    # Whatever fails here: the disk may be full, the terminal gone.
    try:
        record.close(f"{why}, in {record.found['running'] or 'no part'}")
        _say(table(record.found))
    finally:
        os._exit(status)


def _quick() -> None:
    """Compile quickly what runs for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)


def about(toy: bool) -> dict[str, Any]:
    """Return what a report says of the machine and the code."""
    device = jax.devices()[0]
    chip = chips.find(device.device_kind)
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "chip": chip and chip._asdict(),
        "jax": jax.__version__,
        "version": __version__,
        "commit": commit(),
        "toy": toy,
    }


def bench(jobs: Sequence[Job], record: Record, minutes: Minutes, toy: bool, kept: float = 0.0) -> None:
    """Measure steps as long as there is time, but for `kept` seconds; what failed before comes last."""
    record.found["skipped"] = {}
    failed = record.found["failed"]
    for job in sorted((job for job in jobs if not measured(record, job)), key=lambda job: job.name in failed):
        left, usual = minutes.left() - kept, expected(job.method, toy)
        needed = usual * pace(record)
        if needed > left:
            record.found["skipped"][job.name] = f"takes about {needed:.0f} s, and {max(left, 0):.0f} s were left"
            continue
        with record.attempt(job.name):
            began = time.monotonic()
            config = configure(RECIPES[job.method], job.method, job.changes, toy)
            found = measure.measure(config, _STEPS, _WINDOWS, profiled=job.profiled)
            spent = {"seconds": time.monotonic() - began, "expected": usual}
            what = {"config": RECIPES[job.method], "overrides": [f"{key}={job.changes[key]}" for key in job.changes]}
            record.found["measured"][job.name] = {**what, **spent, **found}
            _say(measure.table({**what, **found}))
            draw(job, found, record.path.parent)
            if lost := [each["profile"]["failed"] for each in found["phases"] if "failed" in each.get("profile", {})]:
                raise UserError(f"measured, but not profiled: {lost[0]}")
    record.write()


def measured(record: Record, job: Job) -> bool:
    """Say whether a job was done, with a profile if it is to have one."""
    phases = record.found["measured"].get(job.name, {}).get("phases", [])
    return bool(phases) and (not job.profiled or all("profile" in phase for phase in phases))


def pace(record: Record) -> float:
    """Return how many times as long as expected the measurements took."""
    done = record.found["measured"].values()
    return statistics.mean(each["seconds"] / each["expected"] for each in done) if done else 1.0


def draw(job: Job, found: Mapping[str, Any], folder: Path) -> None:
    """Write a picture of where the time of each phase's step goes."""
    for phase in found["phases"]:
        profile = phase.get("profile", {})
        if "kinds" in profile:
            # Tracing takes time itself: the bars are those of a traced step.
            took, busy = 1e3 / phase["steps_per_second"], 1e3 * profile["busy_seconds"]
            title = f"{job.name}, {phase['phase']}: {took:.4g} ms a step, {busy:.4g} ms busy while traced"
            sides = [_bars(profile["kinds"], title), _bars(profile["networks"], "by network")]
            pictures.save(folder / f"profile_{job.name}_{phase['phase']}.png", np.concatenate(sides))


def finished(record: Record, name: str) -> bool:
    """Say whether a run was trained to its end and scored."""
    found = record.found["trained"].get(name, {})
    return "scores" in found and found["step"] >= found["steps"]


def train(name: str, source: Mapping[str, str], record: Record, seconds: float, toy: bool) -> None:
    """Train a run in so many seconds, or continue it, score it and copy its pictures."""
    began, training = time.monotonic(), TRAININGS[name]
    workdir = record.path.parent / "runs" / name
    scoring = min(_EVALUATION, seconds / 4)
    config = checkpoint.begun_with(workdir)
    if config is None:
        config = configure(training.recipe, name, {**training.changes, **source}, toy)
        steps = affordable(training.job, record, seconds - scoring)
        config = scaled(config, min(steps, config.steps))
    with stopped_after(seconds - scoring) as stopped:
        loop.train(config, workdir)
    trained = runs.load(workdir)
    found = {"step": trained.step, "steps": config.steps, "seconds": time.monotonic() - began, "source": dict(source)}
    record.found["trained"][name] = found
    for path in newest(workdir / "images"):
        shutil.copyfile(path, record.path.with_name(f"{name}_{path.name}"))
    if trained.step < config.steps and not stopped.is_set():
        raise KeyboardInterrupt(f"told to stop at step {trained.step} of {name}")
    record.write()
    # Learning to judge the procedural world takes a processor a minute.
    usual = tuple(each for each in evaluation.USUAL if not (toy and isinstance(each, evaluation.Oracle)))
    scored = evaluation.evaluate(trained, usual=(*usual, Likeness(random=0)), limit=_EVALUATED)
    found |= {"scores": scored["scores"], "evaluation": scored}
    _say(evaluation.table(scored))


def look_at(name: str, source: Mapping[str, str], toy: bool) -> None:
    """Open what a run learns from, before minutes are spent on anything else. Raises UserError."""
    training = TRAININGS[name]
    config = configure(training.recipe, name, {**training.changes, **source}, toy)
    feed.open_sources(config, config_module.method_of(config))


def affordable(job: str, record: Record, seconds: float) -> int:
    """Return how many steps, an even number, there is time for beside compiling. Raises UserError."""
    if job not in record.found["measured"]:
        raise UserError(f"how long a step takes is not known, for {job} was not measured: give more minutes")
    found = record.found["measured"][job]
    step = sum(phase["share"] / phase["steps_per_second"] for phase in found["phases"])
    # What is compiled is another program, as it has another schedule.
    steps = int((seconds - found["seconds"]) * 0.9 / step) // 2 * 2
    if steps < _LEAST:
        raise UserError(f"in {seconds:.0f} s, of which {found['seconds']:.0f} go into compiling, nothing can be learnt")
    return steps


def newest(folder: Path) -> Iterable[Path]:
    """Return the last picture of each kind: they are called NAME_STEP.png."""
    return {path.stem.rpartition("_")[0]: path for path in sorted(folder.glob("*.png"))}.values()


def table(found: Mapping[str, Any]) -> str:
    """Lay a report out for a terminal."""
    rows = [[head for head, _ in _TOLD]]
    for job, each in found["measured"].items():
        for index, phase in enumerate(each["phases"]):
            seconds, floor = 1 / phase["steps_per_second"], phase.get("floor_seconds")
            # A run's first step is one of its first phase.
            first = None if index else each.get("first_step_seconds")
            values = {
                "ms": 1e3 * seconds,
                "floor": f"{seconds / floor:.2f}" if floor else "not known",
                "first": "-" if first is None else f"{first:.1f}",
            }
            rows.append([form.format(job=job, **phase, **values) for _, form in _TOLD])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{found['device']} ({found['platform']}), JAX {found['jax']}" + ", toys" * found["toy"]]
    lines += ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, each in found["trained"].items():
        scores = "  ".join(f"{score} {value:.4g}" for score, value in each.get("scores", {}).items())
        lines.append(f"{name}: {each['step']} of {each['steps']} steps  {scores}".rstrip())
    lines += [f"failed: {name}: {why}" for name, why in found["failed"].items()]
    lines += [f"skipped: {name} {why}" for name, why in found["skipped"].items()]
    return "\n".join([*lines, found.get("ended", "")])


def _bars(seconds: Mapping[str, float], title: str) -> np.ndarray:
    falling = sorted(seconds.items(), key=lambda item: -item[1])
    return charts.bars({name: 1e3 * value for name, value in falling}, title, "ms")


def _source(name: str, args: argparse.Namespace) -> dict[str, str]:
    """Return what a run learns from: what was named, or the procedural world."""
    one, two = len(config_module.method_of(config_module.resolve(RECIPES[name])).sides) == 1, args.pair or ""
    source, _, target = (args.data or "", "", "") if one else two.partition(",")
    return {"data.source": source or config_module.Data.source, "data.target": target}


def _names(option: str, text: str, known: Iterable[str]) -> list[str]:
    """Read names that are joined by commas. Raises UserError, which names the nearest."""
    known = list(known)
    for name in (names := [name for name in text.split(",") if name]):
        if name not in known:
            raise UserError(f"{option}={text}: there is no {name!r}{nearest(name, known)}")
    return names


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m experiments.accelerator", description=__doc__, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=12, help="that all may take (default 12)")
    parser.add_argument("--out", required=True, help="the folder of the report; of an earlier one, to go on with it")
    parser.add_argument("--data", help="images for TUNIT: a folder, a packed set, ... (default: the procedural world)")
    parser.add_argument("--pair", metavar="A,B", help="for CUT: two such, or one with both domains (default: the same)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts of it (default: {','.join(PARTS)})")
    parser.add_argument("--methods", default=",".join(RECIPES), help="methods (default: all)")
    parser.add_argument(
        "--toy",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="TUNIT and CUT at the size of a toy (default: where there is no accelerator)",
    )
    return parser


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except UserError as error:
        _say(f"experiments: {error}")
        status = 2
    programs.leave(status)
    sys.exit(status)
