"""The training loop: a run's steps, and what is measured, drawn, saved and restored between them."""

import bisect
import contextlib
import copy
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from uit_jax import checkpoint, data, evaluation
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.evaluation import Context, Evaluator
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.method import Method, batch_shapes, phase_key, phase_size, phases, training_step
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.runs import Trained
from uit_jax.training import devices, feed, grids
from uit_jax.training import origin as origins
from uit_jax.training.lock import Lock
from uit_jax.training.origin import Origin
from uit_jax.training.progress import Progress
from uit_jax.training.signals import acknowledged
from uit_jax.training.start import Start, Stepping
from uit_jax.training.window import Window
from uit_jax.training.writers import Writers
from uit_jax.types import PyTree

# Steps the host may run ahead of the devices: enough to keep them busy, few enough to stop soon.
_AHEAD = 4
_EVALUATED = 2_000
_STOPPING = "stopping behind the steps under way, with a checkpoint"


def train(config: ConfigDict, workdir: PathLike, began: float | None = None) -> PyTree:
    """Train until `config.steps` or until the process is told to stop; return the state.

    Args:
      began: from when on the time to the first step is told, by `time.monotonic`; by default from now on.

    Raises:
      UserError: bad input, before anything is written; or a loss or weight that is no longer finite.
    """
    with acknowledged(_STOPPING), _Stop() as stop, Run(config, as_path(workdir), Start(began)) as run:
        state, step = run.begin()
        while step < config.steps:
            step += 1
            state = run.advance(state, step)
            last = step == config.steps
            # Behind the last step nothing is left to agree on, and the other hosts may be on their way out.
            stopped = not last and stop.requested(step)
            improved = run.report(state, step, last=last)
            if last or stopped or improved or due(config.checkpoint_every, step):
                run.save(state, step)
            if stopped:
                break
        run.checkpoints.wait()
        if step > config.steps:
            run.progress.note(f"{workdir} holds {step} steps, and steps={config.steps} ask for no more")
        else:
            again = "; the same command continues" * (step < config.steps)
            run.progress.note(f"{workdir} holds {step} of {config.steps} steps{again}")
    return state


def join_hosts(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the processes of a run on several hosts; to be called before any computation. Raises UserError."""
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of the run could not be joined: {' '.join(str(error).split())}") from error


class Run:
    """A run's parts, and what is done with them between two steps."""

    def __init__(self, config: ConfigDict, workdir: Path, start: Start | None = None):
        self.start = start or Start()
        self.start.done("loading libraries")
        self.config, self.workdir = (config := _rooted(config)), workdir
        self.devices = devices.devices_for(config.devices)
        self.method = method = config_module.method_of(config)
        method.check_files()
        drawing = phases(method, config.steps)
        for phase in drawing:
            size, key = phase_size(phase, config.batch_size), phase_key(phase)
            devices.check_batch(size, self.devices, method.batch_multiple, key=key)
        evaluators = evaluation.followed(config.evaluators, config.best_metric)
        self.lifted = devices.lift(training_step(method), config.parallel, self.devices)
        self.shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
        for phase in drawing:
            devices.check_memory(self.shapes, batch_shapes(method, phase, config.batch_size), self.devices)
        self.sources, self.test = feed.open_sources(config, method)
        self.streams = feed.Streams(config, method, self.sources, drawing)
        self.origin = _prepare(workdir, config, method, self.shapes)
        first = jax.process_index() == 0
        # All of it is closed again, the last first; at once if a later part cannot be opened.
        with contextlib.ExitStack() as opened:
            opened.callback(self.streams.close)
            self.lock = opened.enter_context(Lock(workdir, active=first and not is_remote(workdir)))
            kept = dict(keep=config.keep_checkpoints)
            checkpoint.check_room(workdir, self.shapes, **kept, best=bool(config.best_metric))
            self.checkpoints = checkpoint.Checkpoints(workdir, **kept, best_metric=config.best_metric)
            opened.callback(self.checkpoints.close)
            self.writers = Writers(workdir, active=first, tensorboard=config.tensorboard)
            opened.callback(self.writers.close)
            self.progress = Progress(config.steps, active=first)
            opened.callback(self.progress.close)
            self.evaluators = self._able(evaluators)
            self.window = Window()
            self.best: dict[str, float] = {}
            self.scores: dict[str, float] = {}
            self.stepping = Stepping(config, method, self.lifted, self.progress, self.start)
            opened.callback(self.stepping.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self._opened.close()

    def begin(self) -> tuple[PyTree, int]:
        """Return the state to go on from, restored or drawn anew, and its step."""
        for line in self._notes():
            self.progress.note(line)
        self.start.done("opening data")
        restored = self.checkpoints.restore(self._shapes_for)
        if restored is None:
            self.progress.note("drawing the initial state ...")
            step, state = 0, config_module.initial_state(self.config, self.method)
            if self.origin is not None:
                state = self.origin.begin(state)
                self.progress.note(self.origin.describe(state))
        else:
            step, state, record = restored
            data.check_same(record["data"], self.sources)
            self.checkpoints.set_aside_after(step)
            self.window.restore(record["window"])
            # The score of another metric is nothing to beat.
            self.best = record["best"] if record["best"].get("metric") == self.config.best_metric else {}
            self.progress.note(f"continuing {self.workdir} from step {step}")
        if jax.process_index() == 0:
            config_module.save(self.config, self.workdir)
        for line in self.writers.resume(step):
            self.progress.note(line)
        self.streams.begin(step)
        self.progress.begin(step)
        state = self.lifted.put_state(state)
        self.start.done("initial state" if restored is None else "restoring")
        return state, step

    def _notes(self) -> Iterator[str]:
        """Yield what a person who begins this run should know."""
        config, last = self.config, self.config.steps - 1
        if self.lock.left_by:
            yield f"{self.lock.left_by} was stopped in the middle of its work"
        yield f"{data.describe(self.sources)}; training on {devices.told(self.devices)}"
        if config.data.source == config_module.Data.source:
            yield (
                f"no images are named: training on the {config.data.source} world, {config.steps} steps of it;"
                " name yours by --config.data.source=PATH"
            )
        if repeated := data.repeated(self.sources, config.batch_size):
            yield repeated
        if not any(phase.translates for phase in phases(self.method, config.steps)):
            yield (
                f"steps={config.steps} end in phase {self.method.phase(last).name}, before the translator begins to"
                " learn: raise them, or shorten what comes before it (`uit config` tells every setting)"
            )
        if stands_still(self.method, last):
            end = bisect.bisect_left(range(last), True, key=lambda step: stands_still(self.method, step))
            yield (
                f"steps={config.steps} go beyond the schedule: from step {end} on every step size is 0: lower them, or"
                " lengthen method.schedule"
            )

    def advance(self, state: PyTree, step: int) -> PyTree:
        """Do step number `step`, counted from 1."""
        phase = self.method.phase(step - 1)
        asked = time.monotonic()
        batch = self.streams.batch(step - 1, phase)
        self.progress.wait(time.monotonic() - asked)
        state, metrics = self.stepping.step(state, self.lifted.put_batch(batch), phase=phase, done=step)
        self.window.add(step, metrics, ahead=_AHEAD)
        self.progress.advance(phase.name, phase_size(phase, self.config.batch_size))
        return state

    def report(self, state: PyTree, step: int, *, last: bool) -> bool:
        """Write the metrics, scores and pictures that are due; return whether the best score was beaten."""
        config, record, began = self.config, {}, time.monotonic()
        self.scores = {}
        if due(config.log_every, step):
            record |= {"phase": self.method.phase(step - 1).name, **self._finite(self.window.mean)}
            self.writers.scalars(step, self.progress.lap(step, record)._asdict())
            record |= named_rates(self.method, step - 1)
            began = time.monotonic()
        evaluates = self.evaluators and due(config.evaluate_every, step)
        draws = config.image_every > 0 and (last or step % config.image_every == 0)
        if evaluates or draws:
            variables = batched.local(self.method.variables(state))
            if evaluates:
                self.scores = self._evaluate(variables, step)
                record |= self.scores
            if draws and jax.process_index() == 0:
                self.writers.pictures(step, grids.render(self.method, variables, self.test or self.sources, step))
            self.progress.exclude(time.monotonic() - began)
        if record:
            self.writers.metrics(step, record)
        name = config.best_metric.removeprefix("-")
        score = checkpoint.rank(self.scores, config.best_metric)
        if score is None or (self.best and score <= checkpoint.rank({name: self.best["value"]}, config.best_metric)):
            return False
        self.best = {"step": step, "value": self.scores[name], "metric": config.best_metric}
        return True

    def save(self, state: PyTree, step: int) -> None:
        """Begin a checkpoint; a state that is not finite is never saved."""
        began = time.monotonic()
        record = {
            "step": step,
            "config": self.config.to_dict(),
            "data": {"next_step": step, **data.fingerprint(self.sources)},
            "window": self._finite(self.window.record),
            "best": self.best,
        }
        self.writers.flush()
        self.checkpoints.save(step, state, record, self.scores)
        self.progress.exclude(time.monotonic() - began)

    def _shapes_for(self, record: Mapping[str, Any]) -> PyTree:
        """Return the shapes of the state, if a checkpoint's record is one to go on from. Raises where it is not."""
        Window().restore(record["window"])
        record["best"].get("metric"), record["data"].get("images")
        return checkpoint.of_run(record, self.config, self.shapes)

    def _finite(self, fetch):
        try:
            return fetch()
        except UserError as error:
            raise UserError(f"{error}: training stopped; {self.checkpoints.last_good()}") from error

    def _able(self, evaluators: Iterable[Evaluator]) -> tuple[Evaluator, ...]:
        """Return the evaluators that there are test images, and where they compare with labels also labels, for."""
        if not self.test:
            return ()
        context = self._context(evaluators)
        labelled = (context.labels >= 0).any()
        able = (each for each in evaluators if labelled or not each.compares_labels)
        return tuple(each for each in able if not each.needs(context))

    def _evaluate(self, variables: PyTree, step: int) -> dict[str, float]:
        """Score the weights kept for inference on the test images."""
        context, scores = self._context(self.evaluators, variables, step), {}
        for each in self.evaluators:
            scores |= each.run(context).scores
        self.progress.note(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        return scores

    def _context(self, evaluators: Iterable[Evaluator], variables: PyTree = None, step: int = 0) -> Context:
        """Return what evaluators see: the test images, the labelled ones if any are, some where they are very many."""
        trained = Trained(self.workdir, self.config, self.method, variables, step)
        labels = next(iter(self.test.values())).labels
        labelled = np.flatnonzero(labels >= 0)
        chosen = labelled if len(labelled) else np.arange(len(labels))
        chosen = chosen[pick_evenly(len(chosen), _EVALUATED)]
        reads = [name for each in evaluators for name in each.reads]
        return Context(trained, self.test, chosen, seed=self.config.seed, reads=reads, shown=False)


class _Stop:
    """Whether the process was asked to stop: by one of `_SIGNALS`. On several hosts all agree on the step."""

    def __enter__(self) -> "_Stop":
        self._asked = False
        # Only the main thread may listen; in another one, who trains stops it.
        listens = threading.current_thread() is threading.main_thread()
        # What the shell lets be ignored, as `nohup` does with a closed terminal, stays so.
        caught = [each for each in _SIGNALS if listens and signal.getsignal(each) != signal.SIG_IGN]
        if jax.process_count() > 1:
            # There JAX itself listens for SIGTERM and tells the other hosts; Ctrl-C ends them all.
            caught = [each for each in caught if each not in (signal.SIGINT, signal.SIGTERM)]
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
        if not self._asked:
            _leave_closed_terminal()
            if jax.process_count() > 1:
                signal.raise_signal(signal.SIGTERM)
        self._asked = True


# SIGHUP: the terminal was closed; SIGUSR1: Slurm's time is nearly up. Windows has neither.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def _leave_closed_terminal() -> None:
    """Send to nowhere what would be written to a terminal that is there no more: writing to it would fail."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def due(every: int, step: int) -> bool:
    """Say whether something done every so many steps (0: never) is due after `step` of them."""
    return every > 0 and step % every == 0


def named_rates(method: Method, step: int) -> dict[str, float]:
    """Return the step sizes of an iteration, counted from 0, as metrics: "learner/rate"."""
    return {f"{name}/rate": rate for name, rate in method.rates(step).items()}


def stands_still(method: Method, step: int) -> bool:
    """Say whether nothing is learnt in an iteration, counted from 0, for every step size is 0."""
    rates = method.rates(step)
    return bool(rates) and not any(rates.values())


def _rooted(config: ConfigDict) -> ConfigDict:
    """Return a config whose sources mean the same from any folder, so that the run can be used from there."""
    config = copy.deepcopy(config)
    config.init_from = config.init_from and str(as_path(config.init_from).absolute())
    for key in ("source", "target", "test_source", "test_target"):
        config.data[key] = data.rooted(config.data[key])
    return config


def _prepare(workdir: Path, config: ConfigDict, method: Method, shapes: PyTree) -> Origin | None:
    """Make sure that the run can be written to `workdir`, and that it is the run begun there if there is one.

    A run is begun once it has a checkpoint; return what one that is not shall begin with.
    """
    saved, origin, longest = checkpoint.steps(workdir), None, 0
    if saved and (before := checkpoint.begun_with(workdir)) is not None:
        config_module.check_resumable(config, before, workdir)
        longest = before.steps
    elif not saved and config.init_from:
        origin = origins.read(config.init_from, method, shapes)
    begun = saved[-1] if saved else 0
    # A run that stands still at its end, as it was meant to, is continued.
    if config.steps > max(begun, longest) and stands_still(method, begun):
        raise UserError(
            f"steps={config.steps}: from step {begun} on every step size is 0, so that nothing would be learnt: begin"
            f" with its weights anew, by --init_from={workdir} and another --workdir, or lengthen the schedule"
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe_{jax.process_index()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written to: {error.strerror}") from error
    return origin
