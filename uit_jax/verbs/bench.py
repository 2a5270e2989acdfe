"""`uit bench`: measure the training step of a config with random images, or with --data how fast a source is read."""

import argparse
import json
import sys

from uit_jax import config as config_module
from uit_jax.data import benchmark
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places, check_writable, write_whole
from uit_jax.images.decode import FILTERS
from uit_jax.paths import as_path, is_remote
from uit_jax.training import history, measure
from uit_jax.verbs.arguments import add_overwrite, json_path, positive


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
    if args.data is not None:
        if args.record is not None:
            raise UserError("--record keeps what the steps of a --config cost, not --data: leave it out")
        if args.profile:
            raise UserError("--profile tells of the steps of a --config, not of --data: leave it out")
        if overrides:
            raise UserError(f"{overrides[0]}: --data measures no config; give --size, --channels and so on")
        found = _measure_source(args)
    else:
        found = _measure_configs(args, overrides)
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
    configs = [(spec, config_module.resolve(spec, overrides)) for spec in args.config]
    results = []
    for spec, config in configs:
        measured = measure.measure(config, args.steps, args.windows, profiled=args.profile)
        results.append({"config": spec, "overrides": overrides, **measured})
        print(measure.table(results[-1]), file=sys.stderr, flush=True)
    return results


def _measure_source(args: argparse.Namespace) -> dict:
    """Measure how fast a source is read, and say it on stderr."""
    names = ("size", "channels", "depth", "resample", "batch_size", "images", "windows", "pipeline")
    found = benchmark.measure_source(args.data, args.target, **{name: getattr(args, name) for name in names})
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
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", action="append", help="configs/NAME.py[:preset]; may be repeated")
    what.add_argument("--data", metavar="SRC", help="a source of images, as in data.source, whose reading is measured")
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
    images.add_argument("--size", type=int, default=128, help="side of the images; 0: their own (default 128)")
    images.add_argument("--channels", type=positive, default=3, help="of the images (default 3)")
    images.add_argument("--depth", type=int, default=8, choices=(8, 16), help="bits of a channel (default 8)")
    images.add_argument("--resample", default="bilinear", choices=sorted(FILTERS), help="(default bilinear)")
    images.add_argument("--batch_size", type=positive, default=32, help="(default 32)")
    images.add_argument("--images", type=positive, default=4096, help="images in a window (default 4096)")
    images.add_argument(
        "--pipeline", default="auto", choices=("auto", "tf.data", "threads"), help="what reads them (default auto)"
    )
    return parser
