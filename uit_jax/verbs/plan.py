"""`uit plan`: what a training step needs of devices, here or of a TPU that is not, from its compiled program alone."""

import argparse
import json
import re
import sys

from uit_jax import config as config_module
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places, write_json
from uit_jax.training import budget, plan
from uit_jax.verbs.arguments import add_overwrite, json_path

_UNITS = {"": 1, "B": 1, "GB": 1e9, "GiB": 2**30, "MB": 1e6, "MiB": 2**20}


def main(argv: list[str]) -> int:
    rest, overrides = config_module.split(argv)
    args = _parser().parse_args(rest)
    out = args.out and json_path("--out", args.out)
    if out:
        check_places({"--out": out}, overwrite=args.overwrite)
    config = config_module.resolve(args.config, overrides)
    room = None if args.memory is None else _bytes(args.memory)
    note = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    length = {}
    if config.hours:
        if args.target != plan.HERE:
            raise UserError(f"hours={config.hours:g}: a step is measured here, not on --target={args.target}")
        config = budget.fitted(config, overrides=overrides, note=note)
        length = {"hours": config.hours, "length": budget.length(config)}
    how = dict(target=args.target, memory=room, largest=args.largest)
    record = plan.plan(config, note=lambda line: note(f"{line} ..."), **how)
    record = {"config": args.config, "overrides": overrides, **length, **record}
    print(json.dumps(record, indent=2) if args.json else plan.table(record))
    if out:
        write_json(out, record)
        print(f"\nwritten to {shown(out)}", file=sys.stderr)
    return 0


def _bytes(text: str) -> float:
    """Read an amount of memory. Raises UserError."""
    found = re.fullmatch(r"([\d.]+) *([A-Za-z]*)", text)
    if not found or found[2] not in _UNITS or found[1].count(".") > 1 or not float(found[1]) > 0:
        raise UserError(f"--memory={text}: give an amount such as 80GiB; units: {', '.join(filter(None, _UNITS))}")
    return float(found[1]) * _UNITS[found[2]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit plan",
        description=__doc__,
        epilog="Any setting: --config.key=value. Compiling takes minutes at a paper's size; nothing is run.",
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG", help="configs/NAME.py[:preset]")
    parser.add_argument("--target", default=plan.HERE, help="here (default), or a TPU's topology, such as v5e:2x4")
    parser.add_argument("--memory", help="of a device, such as 80GiB (default: what is known of it)")
    parser.add_argument("--largest", action="store_true", help="also look for the largest global batch that fits")
    parser.add_argument("--json", action="store_true", help="tell programs: an object")
    parser.add_argument("--out", help="also write the JSON to this file")
    add_overwrite(parser)
    return parser
