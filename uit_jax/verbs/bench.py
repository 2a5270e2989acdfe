"""`uit bench`: measure a config's training step with random images, with --data how fast a source is read, or both."""

import argparse
import json
import sys

from uit_jax import config as config_module
from uit_jax.data import benchmark
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places, check_writable, write_whole
from uit_jax.images.decode import FILTERS
from uit_jax.paths import as_path, is_remote
from uit_jax.training import history, measure, supply
from uit_jax.verbs.arguments import add_overwrite, json_path, positive

_READ_AS = {"size": 128, "channels": 3, "depth": 8, "resample": "bilinear", "batch_size": 32, "pipeline": "auto"}
"""How a source is read where no config says it."""


def main(argv: list[str]) -> int:
    rest, overrides = config_module.split(argv)
    args = _parser().parse_args(rest)
    if args.steps < 1 or args.windows < 1:
        raise UserError("--steps and --windows must be 1 at least")
    out = None if args.out is None else json_path("--out", args.out)
    if out is not None and not (is_remote(out) or out.parent.is_dir()):
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    if out is not None:
        check_places({"--out": out}, overwrite=args.overwrite)
    if args.record is not None:
        check_writable(as_path(args.record), "--record")
    if args.data is not None and args.record is not None:
        raise UserError("--record keeps what the steps of a --config cost, not --data: leave it out")
    if args.profile and not args.config:
        raise UserError("--profile tells of the steps of a --config, not of --data: leave it out")
    if args.config:
        found = _measure_configs(args, overrides)
    elif args.data is None:
        raise UserError("give a --config whose step is measured, --data whose reading is, or both")
    elif overrides:
        raise UserError(f"{overrides[0]}: --data alone measures no config; give --size, --channels and so on")
    else:
        found = _measure_source(args)
    text = json.dumps(found, indent=2)
    print(text)
    if out is not None:
        write_whole(out, f"{text}\n".encode())
    if args.record is not None:
        path, changes = history.append(as_path(args.record), found)
        print("\n".join([*changes, f"recorded in {shown(path)}"]), file=sys.stderr)
    return 0


def _measure_configs(args: argparse.Namespace, overrides: list[str]) -> list[dict]:
    """Measure the steps of configs, and lay each out on stderr as soon as it is known."""
    if given := [name for name in _READ_AS if getattr(args, name) is not None]:
        raise UserError(f"--{given[0]}: of a --config it is what its settings say: leave it out")
    if args.target and args.data is None:
        raise UserError(f"--target={args.target} is the second domain of --data: give it too, or leave both out")
    if args.data is not None:
        overrides = [*overrides, f"--config.data.source={args.data}", f"--config.data.target={args.target}"]
    configs = [(spec, config_module.resolve(spec, overrides)) for spec in args.config]
    results = []
    for spec, config in configs:
        streams = supply.opened(config) if args.data is not None else None
        measured = measure.measure(config, args.steps, args.windows, profiled=args.profile)
        results.append({"config": spec, "overrides": overrides, **measured})
        print(measure.table(results[-1]), file=sys.stderr, flush=True)
        if streams is not None:
            how = dict(images=args.images, windows=args.windows)
            results[-1] |= supply.supply(config, streams, measured["phases"], **how)
            print(supply.told(config, results[-1]), file=sys.stderr, flush=True)
    return results


def _measure_source(args: argparse.Namespace) -> dict:
    """Measure how fast a source is read, and say it on stderr."""
    how = {name: default if getattr(args, name) is None else getattr(args, name) for name, default in _READ_AS.items()}
    found = benchmark.measure_source(args.data, args.target, images=args.images, windows=args.windows, **how)
    told = (
        "{source}\n{images_per_second:8.0f} images/s on {cores} core(s)   {images_per_cpu_second:8.0f} images per CPU"
        " second   (median of {windows})"
    )
    print(told.format(**found | {"source": shown(found["source"])}), file=sys.stderr, flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit bench",
        description=__doc__,
        epilog="A table on stderr, JSON on stdout. Any setting of a config: --config.key=value.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", help="configs/NAME.py[:preset]; may be repeated")
    parser.add_argument(
        "--data",
        metavar="SRC",
        help="a source of images, as in data.source, whose reading is measured; with --config also whether it keeps up",
    )
    parser.add_argument("--steps", type=int, default=10, help="steps in a window (default 10)")
    parser.add_argument("--windows", type=int, default=5, help="windows, of which the median counts (default 5)")
    parser.add_argument(
        "--profile", action="store_true", help="also trace some steps: their time by kind of work and by network"
    )
    parser.add_argument("--out", help="also write the JSON to this file")
    parser.add_argument("--record", metavar="FOLDER", help="also add them to the history of this kind of machine there")
    add_overwrite(parser)
    images = parser.add_argument_group("with --data; for the figure of one core run it under `taskset -c 0`")
    images.add_argument("--target", default="", help="domain B of a pair, where SRC does not hold both")
    images.add_argument("--images", type=positive, default=4096, help="images in a window (default 4096)")
    alone = parser.add_argument_group("with --data and no --config")
    alone.add_argument("--size", type=int, help="side of the images; 0: their own (default 128)")
    alone.add_argument("--channels", type=positive, help="of the images (default 3)")
    alone.add_argument("--depth", type=int, choices=(8, 16), help="bits of a channel (default 8)")
    alone.add_argument("--resample", choices=sorted(FILTERS), help="(default bilinear)")
    alone.add_argument("--batch_size", type=positive, help="(default 32)")
    alone.add_argument("--pipeline", choices=("auto", "tf.data", "threads"), help="what reads them (default auto)")
    return parser
