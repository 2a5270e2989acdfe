"""A training run between its steps: what is measured, drawn, saved and restored."""

import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import checkpoint, data, methods
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.images import pictures
from uit_jax.inference import batched as inference
from uit_jax.metrics import clusters
from uit_jax.training import devices as parallel
from uit_jax.training import feed
from uit_jax.training.progress import Progress
from uit_jax.training.window import Window
from uit_jax.training.writers import Writers
from uit_jax.types import PyTree

# Steps the host may run ahead of the devices: enough to keep them busy, few enough to stop soon.
_AHEAD = 4
_EVALUATED = 2_000
_PICTURED = 8
_MEMBERS = 64


class Run:
    """A run's parts, and what is done with them between two steps."""

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config, self.workdir = config, workdir
        devices = parallel.devices_for(config.devices)
        self.method = config_module.build_method(config)
        for phase in {self.method.phase(step) for step in (0, config.steps - 1)}:
            size = self.method.batch_size(phase, config.batch_size)
            parallel.check_batch(size, devices, self.method.batch_multiple)
        self.source, self.test = feed.open_sources(config, self.method)
        self.lifted = parallel.lift(methods.training_step(self.method), config.parallel, devices)
        self.shapes = jax.eval_shape(lambda: config_module.initial_state(config, self.method))
        _prepare(workdir, config, self.shapes)
        first = jax.process_index() == 0
        self.streams = feed.Streams(config, self.method, self.source)
        self.window = Window()
        self.best: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.compiled: set[str] = set()
        self.evaluates = "cluster" in self.method.readouts and self.test is not None and (self.test.labels >= 0).any()
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
        self.progress.note(self.source.describe())
        if self.config.tensorboard and not self.writers.tensorboard:
            self.progress.note("no TensorBoard events, only metrics.jsonl: TensorFlow or clu is not installed")
        restored = self.checkpoints.restore(self.shapes)
        if restored is None:
            step, state = 0, config_module.initial_state(self.config, self.method)
        else:
            step, state, record = restored
            feed.check_source(record["data"], self.source)
            self.checkpoints.drop_after(step)
            self.window.restore(record["window"])
            self.best = record["best"]
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
        self.progress.advance(phase, self.method.batch_size(phase, self.config.batch_size))
        return state

    def report(self, state: PyTree, step: int, *, last: bool) -> bool:
        """Write the metrics, scores and pictures that are due; return whether the best score was beaten."""
        config, record, began = self.config, {}, time.monotonic()
        self.scores = {}
        if due(config.log_every, step):
            record |= {"phase": self.method.phase(step - 1), **self._finite(self.window.mean)}
            self.writers.scalars(step, {"images_per_second": self.progress.lap(step, record)})
            began = time.monotonic()
        evaluates = self.evaluates and due(config.evaluate_every, step)
        draws = config.image_every > 0 and (last or step % config.image_every == 0)
        if evaluates or draws:
            variables = inference.local(self.method.variables(state))
            if evaluates:
                self.scores = {"cluster_accuracy": self._accuracy(variables)}
                record |= self.scores
                self.progress.note(f"step {step}  cluster_accuracy {self.scores['cluster_accuracy']:.4f}")
            if draws:
                self._draw(variables, step)
            self.progress.exclude(time.monotonic() - began)
        if record:
            self.writers.metrics(step, record)
        score = self.scores.get(config.best_metric)
        if score is None or (self.best and score <= self.best["value"]):
            return False
        self.best = {"step": step, "value": score}
        return True

    def save(self, state: PyTree, step: int) -> None:
        """Begin a checkpoint; a state that is not finite is never saved."""
        began = time.monotonic()
        record = {
            "step": step,
            "config": self.config.to_dict(),
            "data": {"next_step": step, **feed.fingerprint(self.source)},
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

    def _accuracy(self, variables: PyTree) -> float:
        """Return the clustering accuracy on test images, on some of them where there are very many."""
        labelled = np.flatnonzero(self.test.labels >= 0)
        chosen = labelled[_spread(len(labelled), _EVALUATED)]
        domains = inference.domains(self.method, variables, data.examples(self.test, chosen))
        return float(clusters.accuracy(domains, self.test.labels[chosen]))

    def _draw(self, variables: PyTree, step: int) -> None:
        if jax.process_index() == 0:
            draw = self._draw_pairs if self.method.layout == "pair" else self._draw_styles
            self.writers.pictures(step, draw(variables))

    def _draw_styles(self, variables: PyTree) -> dict[str, np.ndarray]:
        source = self.test or self.source
        members = data.examples(source, _spread(len(source), _MEMBERS))
        # Of a source sorted by class, neighbours in `members` are alike; these lie far apart.
        rows, columns = (members[_spread(len(members), _PICTURED + more)] for more in (0, 1))
        return pictures.training_grids(self.method, variables, rows, columns, members)

    def _draw_pairs(self, variables: PyTree) -> dict[str, np.ndarray]:
        pair = self.test or self.source
        sides = (side and data.examples(side, _spread(len(side), _PICTURED)) for side in (pair.a, pair.b))
        return pictures.pair_grids(self.method, variables, *sides)


def _spread(count: int, wanted: int) -> np.ndarray:
    """Return at most `wanted` indices spread evenly over `count` things."""
    return np.linspace(0, count - 1, min(count, wanted)).astype(int)


def due(every: int, step: int) -> bool:
    """Say whether something done every so many steps (0: never) is due after `step` of them."""
    return every > 0 and step % every == 0


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
