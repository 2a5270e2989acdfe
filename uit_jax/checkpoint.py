"""Checkpoints: a thin layer over Orbax that saves a whole run and reads it back bit for bit.

A state has no device axis, so a checkpoint is one host copy of it: it can be restored on any number of devices,
and it stays valid when the device buffers are donated to the next step.
"""

import contextlib
import logging
import math
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.mirror import mirrored
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.types import PyTree

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one workdir: the latest `keep` of them and the best.

    Each holds the state and a record: a JSON-able mapping for everything else a run has to remember.
    """

    def __init__(self, workdir: PathLike, *, keep: int = 2, best_metric: str = "", read_only: bool = False):
        self.directory = as_path(workdir).absolute() / "checkpoints"
        self._mirror = mirrored(self.directory, writes=not read_only and jax.process_index() == 0)
        kept, best_fn = [policies.LatestN(max(keep, 1))], None
        if best_metric:
            # A run may be continued with another metric, of which earlier checkpoints have no score.
            best_fn = lambda scores: scores.get(best_metric, -math.inf)  # noqa: E731
            kept.append(policies.BestN(get_metric_fn=best_fn, n=1, keep_checkpoints_without_metrics=False))
        self._best_metric = best_metric
        self._manager = ocp.CheckpointManager(
            self._mirror.local,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                # Without it Orbax writes no scores, and a reopened workdir would forget its best.
                best_fn=best_fn,
                cleanup_tmp_directories=not read_only,
                create=not read_only and not is_remote(self.directory),
                read_only=read_only,
                **(_alone() if is_remote(self.directory) else {}),
            ),
        )

    @property
    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: PyTree, record: Mapping[str, Any], metrics: Mapping[str, float] | None = None
    ) -> None:
        """Start writing a checkpoint and return; it becomes visible whole or not at all.

        Raises:
          UserError: the state holds a value that is not finite (nothing is written then), or an earlier
            write failed.
        """
        host = jax.tree.map(_to_host, state)
        if where := not_finite(host):
            raise UserError(f"step {step}: {where} is not finite; {self.last_good()}")
        metrics = {self._best_metric: metrics[self._best_metric]} if self._best_metric in (metrics or {}) else None
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host), record=ocp.args.JsonSave({**record, "digest": digest(host)})
        )
        self._mirror.wait()
        self._guard(step, lambda: self._manager.save(step, args=items, metrics=metrics, force=True))
        self._mirror.push()

    def restore(self, abstract: PyTree, step: int | None = None) -> tuple[int, PyTree, dict[str, Any]] | None:
        """Read the checkpoint of `step`, or else the latest that is whole: (step, state, record).

        Damaged ones are passed over with a warning. None where nothing was saved yet.

        Raises:
          UserError: there are checkpoints, but none can be read.
        """
        chosen = self.steps[::-1] if step is None else [step]
        reason = ""
        for candidate in chosen:
            # Not in the block below: a network that fails is no damage.
            self._mirror.fetch(candidate)
            try:
                return candidate, *self._read(candidate, abstract)
            # Damage shows as almost any error: of tensorstore, of JSON, of missing files.
            except Exception as error:
                reason = reason or _reason(error)
                _log.warning("checkpoint %d in %s cannot be read and is passed over", candidate, self.directory)
        if chosen:
            raise UserError(f"{self.directory}: none of the checkpoints {chosen} can be read: {reason}")
        return None

    def drop_after(self, step: int) -> None:
        """Delete the checkpoints beyond `step`, so that a run that fell back to it can write them again."""
        for later in [s for s in self.steps if s > step]:
            self._manager.delete(later)
        self._mirror.push()

    def best_step(self) -> int | None:
        """Return the step of the best checkpoint, the latest of equals; None if none was evaluated."""
        found = ((self._manager.metrics(s) or {}).get(self._best_metric) for s in self.steps)
        scores = [(score, s) for score, s in zip(found, self.steps, strict=True) if score is not None]
        return max(scores)[1] if scores else None

    def last_good(self) -> str:
        """Say which checkpoint a stopped run falls back to."""
        self._manager.wait_until_finished()
        return f"the last good checkpoint is step {self.steps[-1]} in {self.directory}" if self.steps else (
            "no checkpoint was saved yet"
        )

    def wait(self) -> None:
        """Wait until everything saved is on disk."""
        self._guard(None, self._manager.wait_until_finished)
        self._mirror.wait()

    def close(self) -> None:
        # What a write in the background failed with comes once more.
        self._guard(None, self._manager.close)
        self._mirror.close()

    def _read(self, step: int, abstract: PyTree) -> tuple[PyTree, dict[str, Any]]:
        shape = jax.tree.map(_host_shape, abstract)
        target = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), shape)
        items = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target), record=ocp.args.JsonRestore())
        )
        found = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), items.state)
        if found != shape:
            raise ValueError("its arrays have other shapes than this config's networks")
        record = dict(items.record)
        if record.pop("digest") != digest(items.state):
            raise ValueError("its arrays are not those that were saved")
        return jax.tree.map(_from_host, items.state, abstract), record

    def _guard(self, step: int | None, action) -> None:
        try:
            action()
        # A full disk surfaces as an error of tensorstore, of the file system or of a background thread.
        except Exception as error:
            what = "a checkpoint" if step is None else f"the checkpoint of step {step} or one before it"
            raise UserError(f"{self.directory}: {what} could not be written: {_reason(error)}") from error


def steps(workdir: PathLike) -> list[int]:
    """Return the steps of a workdir's checkpoints, ascending; [] where a run has saved none, or nothing is there."""
    folder = as_path(workdir) / "checkpoints"
    return sorted(int(each.name) for each in folder.iterdir() if each.name.isdecimal()) if folder.is_dir() else []


def restore_run(workdir: PathLike, which: str | int = "latest") -> tuple[Any, Method, PyTree]:
    """Read back a trained run: (config, method, state), the state on the host.

    Args:
      workdir: the folder `uit train` wrote.
      which: "latest", "best", or a step.

    Raises:
      UserError: there is no such run or checkpoint.
    """
    config = config_module.saved(workdir)
    if config is None:
        raise UserError(f"--workdir={workdir}: no run was trained there (it has no config.json)")
    method = config_module.method_of(config)
    if not (as_path(workdir) / "checkpoints").is_dir():
        raise UserError(f"--workdir={workdir}: the run has saved no checkpoint yet")
    with _quiet():
        checkpoints = Checkpoints(workdir, best_metric=config.best_metric, read_only=True)
    try:
        step = checkpoints.best_step() if which == "best" else int(which) if str(which).isdecimal() else None
        if which == "best" and step is None:
            raise UserError(f"--workdir={workdir}: no checkpoint was scored, so none is the best (evaluate_every)")
        if which != "latest" and step not in checkpoints.steps:
            raise UserError(f"--workdir={workdir}: no checkpoint is {which!r}; there are: {checkpoints.steps}")
        restored = checkpoints.restore(jax.eval_shape(lambda: config_module.initial_state(config, method)), step)
    finally:
        checkpoints.close()
    if restored is None:
        raise UserError(f"--workdir={workdir}: the run has saved no checkpoint yet")
    return config, method, restored[1]


def _alone() -> dict[str, Any]:
    """Return the options of a manager whose folder is this process's own, and whose saves are done when they return."""
    process = jax.process_index()
    return {
        "enable_async_checkpointing": False,
        "multiprocessing_options": ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
        ),
    }


def check_room(workdir: PathLike, abstract: PyTree, *, keep: int, best: bool) -> None:
    """Raise before training if the disk cannot hold the checkpoints a run will keep."""
    leaves = jax.tree.leaves(jax.tree.map(_host_shape, abstract))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    disk, held = workdir, 0
    if is_remote(as_path(workdir)):
        disk = tempfile.gettempdir()  # where they are before they are copied
    else:
        held = sum(f.stat().st_size for f in (as_path(workdir) / "checkpoints").rglob("*") if f.is_file())
    # One more than is kept: the newest is written before the oldest is deleted.
    needed = each * (max(keep, 1) + best + 1) - held
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise UserError(
            f"{disk}: {needed / 1e9:.2f} GB are needed for checkpoints ({each / 1e9:.2f} GB each), but"
            f" {free / 1e9:.2f} GB are free: make room, or lower keep_checkpoints"
        )


def not_finite(tree: PyTree) -> str:
    """Return the path of the first host array that holds NaN or infinity; "" if there is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return ""


def digest(tree: PyTree) -> int:
    """Return a checksum of all bytes of a tree of host arrays."""
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(leaf.tobytes(), crc)
    return crc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from warning of what is wanted here: that nothing is to be written."""
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong; tensorstore names the cause at the end of a long line."""
    text = " ".join(str(error).split())
    return "no space left on device" if "No space left" in text else text[:200]


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(leaf) -> np.ndarray:
    # A copy: on the CPU numpy would see the device's buffer, which the next step is given to overwrite.
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _host_shape(leaf) -> jax.ShapeDtypeStruct:
    leaf = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _from_host(leaf: np.ndarray, like) -> Any:
    if not _is_key(like):
        return leaf
    kinds = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), like)
    return jax.random.wrap_key_data(leaf, impl=kinds[0])
