"""The training loop: a run's steps, and what is measured, drawn, saved and restored between them."""

import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from uit_jax import checkpoint, data, evaluation
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.evaluation import Context, Evaluator
from uit_jax.files import pick_evenly
from uit_jax.inference import batched
from uit_jax.method import Phase, phase_size, training_step
from uit_jax.runs import Trained
from uit_jax.settings import nearest
from uit_jax.training import devices, feed, grids
from uit_jax.training.progress import Progress
from uit_jax.training.window import Window
from uit_jax.training.writers import Writers
from uit_jax.types import PyTree

# Steps the host may run ahead of the devices: enough to keep them busy, few enough to stop soon.
_AHEAD = 4
_EVALUATED = 2_000


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


def join_hosts(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the processes of a run on several hosts; to be called before any computation. Raises UserError."""
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of the run could not be joined: {' '.join(str(error).split())}") from error


class Run:
    """A run's parts, and what is done with them between two steps."""

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config, self.workdir = config, workdir
        used = devices.devices_for(config.devices)
        self.method = config_module.method_of(config)
        for phase in {self.method.phase(step) for step in (0, config.steps - 1)}:
            devices.check_batch(phase_size(phase, config.batch_size), used, self.method.batch_multiple)
        evaluators = _chosen(config)
        self.sources, self.test = feed.open_sources(config, self.method)
        self.lifted = devices.lift(training_step(self.method), config.parallel, used)
        self.shapes = jax.eval_shape(lambda: config_module.initial_state(config, self.method))
        _prepare(workdir, config, self.shapes)
        first = jax.process_index() == 0
        self.streams = feed.Streams(config, self.method, self.sources)
        self.evaluators = self._able(evaluators)
        self.window = Window()
        self.best: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.compiled: set[Phase] = set()
        self.progress = Progress(config.steps, active=first)
        self.writers = Writers(workdir, active=first, tensorboard=config.tensorboard)
        self.checkpoints = checkpoint.Checkpoints(
            workdir, keep=config.keep_checkpoints, best_metric=config.best_metric
        )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self.progress.close()
        self.streams.close()
        self.writers.close()
        self.checkpoints.close()

    def begin(self) -> tuple[PyTree, int]:
        """Return the state to go on from, restored or drawn anew, and its step."""
        self.progress.note(data.describe(self.sources))
        if not any(self.method.phase(step).translates for step in reversed(range(self.config.steps))):
            self.progress.note(f"steps={self.config.steps} end before the translator begins to learn: raise them")
        if self.config.tensorboard and not self.writers.tensorboard:
            self.progress.note("no TensorBoard events, only metrics.jsonl: TensorFlow or clu is not installed")
        restored = self.checkpoints.restore(self.shapes)
        if restored is None:
            step, state = 0, config_module.initial_state(self.config, self.method)
        else:
            step, state, record = restored
            data.check_same(record["data"], self.sources)
            self.checkpoints.drop_after(step)
            self.window.restore(record["window"])
            # The score of another metric is nothing to beat.
            self.best = record["best"] if record["best"].get("metric") == self.config.best_metric else {}
            self.progress.note(f"continuing {self.workdir} from step {step}")
        if jax.process_index() == 0:
            config_module.save(self.config, self.workdir)
        self.writers.resume(step)
        self.streams.begin(step)
        self.progress.begin(step)
        return self.lifted.put_state(state), step

    def advance(self, state: PyTree, step: int) -> PyTree:
        """Do step number `step`, counted from 1."""
        phase = self.method.phase(step - 1)
        batch = self.streams.batch(step - 1, phase)
        began = time.monotonic()
        state, metrics = self.lifted.step(state, self.lifted.put_batch(batch), phase=phase)
        if phase not in self.compiled:
            self.compiled.add(phase)
            self.progress.exclude(time.monotonic() - began)
        self.window.add(step, metrics, ahead=_AHEAD)
        self.progress.advance(phase.name, phase_size(phase, self.config.batch_size))
        return state

    def report(self, state: PyTree, step: int, *, last: bool) -> bool:
        """Write the metrics, scores and pictures that are due; return whether the best score was beaten."""
        config, record, began = self.config, {}, time.monotonic()
        self.scores = {}
        if due(config.log_every, step):
            record |= {"phase": self.method.phase(step - 1).name, **self._finite(self.window.mean)}
            self.writers.scalars(step, {"images_per_second": self.progress.lap(step, record)})
            began = time.monotonic()
        evaluates = self.evaluators and due(config.evaluate_every, step)
        draws = config.image_every > 0 and (last or step % config.image_every == 0)
        if evaluates or draws:
            variables = batched.local(self.method.variables(state))
            if evaluates:
                self.scores = self._evaluate(variables, step)
                record |= self.scores
            if draws and jax.process_index() == 0:
                self.writers.pictures(step, grids.render(self.method, variables, self.test or self.sources))
            self.progress.exclude(time.monotonic() - began)
        if record:
            self.writers.metrics(step, record)
        score = self.scores.get(config.best_metric)
        if score is None or (self.best and score <= self.best["value"]):
            return False
        self.best = {"step": step, "value": score, "metric": config.best_metric}
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
        self.checkpoints.save(step, state, record, self.scores)
        self.progress.exclude(time.monotonic() - began)

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
    """Whether the process was asked to stop (SIGTERM, or one Ctrl-C); on several hosts all agree on the step."""

    def __enter__(self) -> "_Stop":
        self._asked = False
        # On several hosts JAX itself listens for SIGTERM and tells the others.
        # Only the main thread may listen; in another one, who trains stops it.
        listens = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if listens else ()
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
            # Not by print: the signal may have come in the middle of one.
            os.write(2, b"stopping behind the steps under way, with a checkpoint\n")
        self._asked = True


def due(every: int, step: int) -> bool:
    """Say whether something done every so many steps (0: never) is due after `step` of them."""
    return every > 0 and step % every == 0


def _chosen(config: ConfigDict) -> tuple[Evaluator, ...]:
    """Return the evaluators that a config names. Raises UserError, also for a best metric that is none of theirs."""
    evaluators = evaluation.choose(config.evaluators)
    scores = [name for each in evaluators for name in each.scores]
    if config.best_metric and config.best_metric not in scores:
        raise UserError(
            f"best_metric={config.best_metric!r} is no score of evaluators={tuple(config.evaluators)}"
            f"{nearest(config.best_metric, scores)}; leave it empty to keep no best checkpoint"
        )
    return evaluators


def _prepare(workdir: Path, config: ConfigDict, shapes: PyTree) -> None:
    """Make sure that the run can be written to `workdir`, and that it is the run begun there if there is one."""
    before = config_module.saved(workdir)
    if before is not None:
        config_module.check_resumable(config, before, workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe_{jax.process_index()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written to: {error.strerror}") from error
    checkpoint.check_room(workdir, shapes, keep=config.keep_checkpoints, best=bool(config.best_metric))
