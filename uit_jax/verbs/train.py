"""`uit train`: train a method on a source of images; the same command continues a run that was stopped."""

import argparse
import sys

import jax
from ml_collections import ConfigDict

from uit_jax import checkpoint, programs, report
from uit_jax import config as config_module
from uit_jax.errors import UserError, shown
from uit_jax.paths import as_path
from uit_jax.training import loop
from uit_jax.verbs import config as config_verb

_IMAGES = 200  # that the page of a finished run is made of: not for it does anybody wait long


def main(argv: list[str]) -> int:
    rest, overrides = config_module.split(argv)
    parser = _parser()
    if {"-h", "--help"} & set(rest) and (spec := _config_of(rest)):
        parser.print_help()
        print(f"\n{config_verb.listing(config_module.explain(spec, overrides))}")
        return 0
    args = parser.parse_args(rest)
    if args.distributed or args.coordinator:
        loop.join_hosts(args.coordinator, args.num_processes, args.process_id)
    if args.init_from is not None:
        as_path(args.init_from)
        overrides.append(f"--config.init_from={args.init_from}")
    config = _resolved(args.config, args.workdir, overrides)
    before = checkpoint.steps(args.workdir)
    loop.train(config, args.workdir, programs.began, args.config or "", overrides)
    if config.report and jax.process_index() == 0:
        # Of a run of so many hours only its record tells how many steps these are.
        reached = set(checkpoint.steps(args.workdir)) - set(before)
        if reached and checkpoint.begun_with(args.workdir).steps in reached:
            _report(args.workdir)
    return 0


def _report(workdir: str) -> None:
    """Write the page of a run that has come to its end; what goes wrong there is told, and nothing else."""
    if absent := report.missing():
        _tell(f"no page of the run: {', '.join(absent)} is not installed (pip install 'uit-jax[report]')")
        return
    _tell("writing the page of the run ...")
    try:
        # Of several processes the others are gone by now, and a checkpoint is read by all together.
        path = report.write(workdir, images=_IMAGES if jax.process_count() == 1 else 0)
        _tell(f"{shown(path)}: a page of the run, for a browser")
    # The training is done and saved, whatever this lacks: memory, room, images.
    except Exception as error:
        _tell(f"no page of the run: {shown(' '.join(str(error).split()) or type(error).__name__)}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _resolved(spec: str | None, workdir: str, overrides: list[str]) -> ConfigDict:
    """Return the config of a command, or without --config that of the run to continue. Raises UserError."""
    if spec:
        return config_module.resolve(spec, overrides)
    if (config := checkpoint.begun_with(workdir)) is None:
        raise UserError(f"--workdir={workdir} has no run to continue: give --config=configs/NAME.py to begin one")
    return config_module.override(config, overrides)


def _config_of(argv: list[str]) -> str | None:
    """Return the value of --config, if it is there, whatever the rest is."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    return parser.parse_known_args(argv)[0].config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit train",
        description=__doc__,
        epilog="Any setting: --config.key=value, as in --config.batch_size=16. `uit config configs/NAME.py`, or --help"
        " behind --config=configs/NAME.py, lists them all with values, ranges and meanings.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", help="configs/NAME.py[:preset]; may be left out to continue a run as it was")
    parser.add_argument("--workdir", required=True, help="the run's folder: config, metrics, pictures, checkpoints")
    parser.add_argument(
        "--init_from",
        metavar="FROM",
        help="begin a new run with the weights of another, WORKDIR or WORKDIR:STEP, or of a published file (.pth,"
        " .ckpt, .npz, .safetensors); other settings may be given, and the optimisers start anew",
    )
    parser.add_argument("--distributed", action="store_true", help="several hosts, found by JAX (TPU pods, Slurm)")
    parser.add_argument("--coordinator", help="several hosts: HOST:PORT of process 0")
    parser.add_argument("--num_processes", type=int, help="several hosts: how many processes")
    parser.add_argument("--process_id", type=int, help="several hosts: which of them this is")
    return parser
