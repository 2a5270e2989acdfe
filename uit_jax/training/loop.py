"""The training loop: a run's steps, and what is measured, drawn, saved and restored between them."""

import contextlib
import itertools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import checkpoint, data, evaluation
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.evaluation import Context, Evaluator
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.method import Method, Phase, batch_shapes, phase_key, phase_size, phases
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.runs import Trained
from uit_jax.training import beginning, budget, devices, feed, grids, several, symptoms
from uit_jax.training.lock import Lock
from uit_jax.training.progress import Progress
from uit_jax.training.signals import Stop, acknowledged
from uit_jax.training.start import Start, Stepping
from uit_jax.training.window import Window
from uit_jax.training.writers import Writers
from uit_jax.types import PyTree

# Steps the host may run ahead of the devices, where each is a program of its own: enough to keep them busy, and their
# batches on the way there, few enough to stop soon.
_AHEAD = 4
_EVALUATED = 2_000
_STOPPING = "stopping behind the steps under way, with a checkpoint"


def train(
    config: ConfigDict,
    workdir: PathLike,
    began: float | None = None,
    recipe: str = "",
    overrides: Iterable[str] = (),
) -> PyTree:
    """Train until `config.steps` or until the process is told to stop; return the state.

    Args:
      began: from when on the time to the first step is told, by `time.monotonic`; by default from now on.
      recipe: what the config was resolved from, "path/of/config.py[:preset]", for the record.
      overrides: texts "--config.key=value" that the config has in it: what `hours` do not set (`budget.of_run`).

    Raises:
      UserError: bad input, before anything is written; or a loss or weight that is no longer finite.
    """
    checkpoint.check_trainable(workdir)
    (start := Start(began)).done("loading libraries")
    config = budget.of_run(config, as_path(workdir), began, overrides)
    if config.hours:
        start.done("measuring a step")
    with acknowledged(_STOPPING), Stop() as stop, Run(config, as_path(workdir), start, recipe) as run:
        (state, step), saved = run.begin(), None
        while step < config.steps:
            steps = run.together(step)
            if not run.stepping.wait(run.method.phase(step), stop.at_once):
                if saved != step:
                    run.save(state, step)
                break
            state, step = run.advance(state, steps), steps.stop
            last = step == config.steps
            # Behind the last step nothing is left to agree on, and the other hosts may be on their way out.
            stopped = not last and stop.requested()
            improved = run.report(state, step, last=last)
            if last or stopped or improved or due(config.checkpoint_every, step):
                run.save(state, saved := step)
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

    def __init__(self, config: ConfigDict, workdir: Path, start: Start | None = None, recipe: str = ""):
        self.start, self.recipe = start or Start(), recipe
        self.config, self.workdir = (config := beginning.rooted(config)), workdir
        self.devices = devices.devices_for(config.devices)
        self.method = method = config_module.method_of(config)
        method.check_files()
        drawing = phases(method, config.steps)
        for phase in drawing:
            size, key = phase_size(phase, config.batch_size), phase_key(phase)
            devices.check_batch(size, self.devices, method.share_multiple, key=key)
        evaluators = evaluation.followed(config.evaluators, config.best_metric)
        self.room = several.room_of(config)
        self.lifted = devices.lift(several.step_of(method, self.room), config.parallel, self.devices)
        self.shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
        self._check_memory(drawing)
        self.sources, self.test = feed.open_sources(config, method)
        streams = feed.Streams(config, method, self.sources, drawing)
        self.feed = feed.Feed(config, streams, self.lifted, self.devices)
        if config.data.on_device == "yes":
            self._check_memory(drawing, kept=self.feed.bytes)
        self.origin = beginning.prepare(workdir, config, method, self.shapes)
        first = jax.process_index() == 0
        # All of it is closed again, the last first; at once if a later part cannot be opened.
        with contextlib.ExitStack() as opened:
            opened.callback(streams.close)
            opened.callback(self.feed.close)
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
            self.window, self.watch = Window(), symptoms.Watch(method)
            self.translates = False
            self.best: dict[str, float] = {}
            self.scores: dict[str, float] = {}
            self.stepping = Stepping(config, method, self.lifted, self.progress, self.start)
            opened.callback(self.stepping.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self._opened.close()

    def _check_memory(self, drawing: Iterable[Phase], kept: int = 0) -> None:
        for phase in drawing:
            shapes = batch_shapes(self.method, phase, self.config.batch_size)
            devices.check_memory(self.shapes, shapes, self.devices, steps=self.room, kept=kept)

    def begin(self) -> tuple[PyTree, int]:
        """Return the state to go on from, restored or drawn anew, and its step."""
        if self.lock.left_by:
            self.progress.note(f"{self.lock.left_by} was stopped in the middle of its work")
        for line in beginning.notes(self.config, self.method, self.sources, self.test, self.devices):
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
            self.watch.seen.update(record.get("signs", {}))
            # The score of another metric is nothing to beat.
            self.best = record["best"] if record["best"].get("metric") == self.config.best_metric else {}
            self.progress.note(f"continuing {self.workdir} from step {step}")
        if jax.process_index() == 0:
            config_module.save(self.config, self.workdir)
            beginning.record(self.workdir, self.recipe, self.devices)
        for line in self.writers.resume(step):
            self.progress.note(line)
        self.translates = any(phase.translates for phase in phases(self.method, step))
        self.feed.begin(step, self.shapes, self.progress)
        self.progress.begin(step)
        state = self.lifted.put_state(state)
        self.start.done("initial state" if restored is None else "restoring")
        return state, step

    def together(self, step: int) -> range:
        """Return the steps, counted from 0, that are done as one: of one phase, up to where anything is due."""
        config, phase = self.config, self.method.phase(step)
        ends = [step + self.room, config.steps, *((step // n + 1) * n for n in several.cadences(config))]
        alike = itertools.takewhile(lambda each: self.method.phase(each) == phase, range(step, min(ends)))
        return range(step, step + sum(1 for _ in alike))

    def advance(self, state: PyTree, steps: range) -> PyTree:
        """Do steps of one phase, counted from 0."""
        phase = self.method.phase(steps[0])
        batch = self.feed.batch(steps, phase)
        state, metrics = self.stepping.step(state, batch, phase=phase, done=steps.stop)
        self.translates |= phase.translates
        numbers = range(steps.start + 1, steps.stop + 1)
        self.window.add(numbers, metrics, ahead=max(1, _AHEAD // self.room))
        self.progress.advance(phase.name, phase_size(phase, self.config.batch_size), len(steps))
        return state

    def report(self, state: PyTree, step: int, *, last: bool) -> bool:
        """Write the metrics, scores and pictures that are due; return whether the best score was beaten."""
        config, record, began = self.config, {}, time.monotonic()
        self.scores = {}
        if due(config.log_every, step):
            record |= {"phase": self.method.phase(step - 1).name, **self._finite(self.window.mean)}
            self.writers.speed(step, self.progress.lap(step, record)._asdict())
            record |= self._watched(symptoms.of_losses(record, self.method), step)
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
                drawn = grids.render(
                    self.method, variables, self.test or self.sources, step, told=not config.data.labels
                )
                self.writers.pictures(step, drawn.pictures)
                # Of a run that is stopped and goes on, as of one that does not, the same steps have signs.
                record |= self._watched(symptoms.signs(drawn), step) if due(config.image_every, step) else {}
            self.progress.exclude(time.monotonic() - began)
        if record:
            self.writers.metrics(step, record)
        name = config.best_metric.removeprefix("-")
        score = checkpoint.rank(self.scores, config.best_metric)
        if score is None or (self.best and score <= checkpoint.rank({name: self.best["value"]}, config.best_metric)):
            return False
        self.best = {"step": step, "value": self.scores[name], "metric": config.best_metric}
        return True

    def _watched(self, signs: dict[str, float], step: int) -> dict[str, float]:
        """Return the signs of how a run goes, and say what is wrong by them."""
        for line in self.watch.look(signs, translates=self.translates):
            self.progress.note(f"step {step}: {line}")
        return signs

    def save(self, state: PyTree, step: int) -> None:
        """Begin a checkpoint; a state that is not finite is never saved."""
        began = time.monotonic()
        record = {
            "step": step,
            "config": self.config.to_dict(),
            "data": {"next_step": step, **data.fingerprint(self.sources)},
            "window": self._finite(self.window.record),
            "signs": dict(self.watch.seen),
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


def due(every: int, step: int) -> bool:
    """Say whether something done every so many steps (0: never) is due after `step` of them."""
    return every > 0 and step % every == 0


def named_rates(method: Method, step: int) -> dict[str, float]:
    """Return the step sizes of an iteration, counted from 0, as metrics: "learner/rate"."""
    return {f"{name}/rate": rate for name, rate in method.rates(step).items()}
