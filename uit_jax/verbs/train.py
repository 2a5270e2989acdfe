"""`uit train`: train a method on a source of images; the same command continues a run that was stopped."""

import argparse
import os
import signal
from pathlib import Path

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.training.loop import Run, due
from uit_jax.types import PyTree


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
        join_hosts(args.coordinator, args.num_processes, args.process_id)
    if args.config:
        config = config_module.resolve(args.config, overrides)
    elif (config := config_module.saved(args.workdir)) is None:
        raise UserError(f"--workdir={args.workdir} has no run to continue: give --config=configs/NAME.py to begin one")
    else:
        config_module.override(config, overrides)
    train(config, args.workdir)
    return 0


def join_hosts(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the processes of a run on several hosts; to be called before any computation."""
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of the run could not be joined: {' '.join(str(error).split())}") from error


def train(config: ConfigDict, workdir: str | os.PathLike) -> PyTree:
    """Train until `config.steps` or until the process is told to stop; return the state.

    Raises:
      UserError: bad input, before anything is written; or a loss or weight that is no longer finite.
    """
    with _Stop() as stop, Run(config, Path(workdir)) as run:
        state, step = run.begin()
        while step < config.steps:
            step += 1
            state = run.advance(state, step)
            last = step == config.steps
            stopped = stop.requested(step)
            improved = run.report(state, step, last=last)
            if last or stopped or improved or due(config.checkpoint_every, step):
                run.save(state, step)
            if stopped:
                break
        run.checkpoints.wait()
        again = "" if step >= config.steps else "; the same command continues"
        run.progress.note(f"{workdir} holds {step} of {config.steps} steps{again}")
    return state


class _Stop:
    """Whether the process was asked to stop (SIGTERM, or one Ctrl-C); on several hosts all agree on the step."""

    def __enter__(self) -> "_Stop":
        self._asked = False
        # On several hosts JAX itself listens for SIGTERM and tells the others.
        caught = (signal.SIGINT, signal.SIGTERM) if jax.process_count() == 1 else ()
        self._before = {number: signal.signal(number, self._ask) for number in caught}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self, step: int) -> bool:
        return self._asked if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(step)

    def _ask(self, number, frame) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
