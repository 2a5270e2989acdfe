"""`uit train`: train a method on a source of images; the same command continues a run that was stopped."""

import argparse

from uit_jax import checkpoint
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.training import loop


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="uit train", description=__doc__, epilog="Any setting: --config.key=value, as in --config.batch_size=16."
    )
    parser.add_argument("--config", help="configs/NAME.py[:preset]; may be left out to continue a run as it was")
    parser.add_argument("--workdir", required=True, help="the run's folder: config, metrics, pictures, checkpoints")
    parser.add_argument("--distributed", action="store_true", help="several hosts, found by JAX (TPU pods, Slurm)")
    parser.add_argument("--coordinator", help="several hosts: HOST:PORT of process 0")
    parser.add_argument("--num_processes", type=int, help="several hosts: how many processes")
    parser.add_argument("--process_id", type=int, help="several hosts: which of them this is")
    rest, overrides = config_module.split(argv)
    args = parser.parse_args(rest)
    if args.distributed or args.coordinator:
        loop.join_hosts(args.coordinator, args.num_processes, args.process_id)
    if args.config:
        config = config_module.resolve(args.config, overrides)
    elif (config := checkpoint.begun_with(args.workdir)) is None:
        raise UserError(f"--workdir={args.workdir} has no run to continue: give --config=configs/NAME.py to begin one")
    else:
        config_module.override(config, overrides)
    loop.train(config, args.workdir)
    return 0
