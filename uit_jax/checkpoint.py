"""Checkpoints: a thin layer over Orbax that saves a whole run and reads it back bit for bit.

A state has no device axis, so a checkpoint is one host copy of it: it can be restored on any number of devices,
and it stays valid when the device buffers are donated to the next step.
"""

import contextlib
import errno
import functools
import itertools
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.files import read_regular
from uit_jax.method import Method
from uit_jax.mirror import mirrored
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.types import PyTree

_log = logging.getLogger(__name__)

_OTHER_RECORD = "record/metadata is not the record that was saved"


class Checkpoints:
    """The checkpoints of one workdir: the latest `keep` of them and the best by `best_metric`.

    Each holds the state and a record: a JSON-able mapping for everything else a run has to remember, to which its
    step, the scores of its weights and a digest of all of it are added. A damaged part costs that part alone: with a
    damaged record a checkpoint has no score, and of a damaged state the run goes on from the checkpoint before.
    """

    def __init__(self, workdir: PathLike, *, keep: int = 2, best_metric: str = "", read_only: bool = False):
        self.directory = as_path(workdir).absolute() / "checkpoints"
        self._mirror = mirrored(self.directory, writes=not read_only and jax.process_index() == 0)
        self._best_metric = best_metric
        _tell_failures_once()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_LatestAndBest(keep, self._best_of),
            # Of scores and times Orbax has to know nothing, and where they are damaged it would stop.
            lightweight_initialize=True,
            cleanup_tmp_directories=not read_only,
            create=not read_only and not is_remote(self.directory),
            read_only=read_only,
            **(_alone() if is_remote(self.directory) else {}),
        )
        self._open = functools.partial(ocp.CheckpointManager, self._mirror.local, options=options)
        self._manager = self._open()

    @property
    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: PyTree, record: Mapping[str, Any], scores: Mapping[str, float] | None = None
    ) -> None:
        """Start writing a checkpoint and return; it becomes visible whole or not at all.

        Raises:
          UserError: the state holds a value that is not finite (nothing is written then), or an earlier
            write failed.
        """
        host = jax.tree.map(_to_host, state)
        if where := not_finite(host):
            raise UserError(f"step {step}: {where} is not finite; {self.last_good()}")
        # A copy: it is written while training goes on.
        record = json.loads(json.dumps({**record, "step": step, "scores": dict(scores or {})}))
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(_sealed(record, digest(host)))
        )
        self._scores[step] = record["scores"]
        self._mirror.wait()
        self._guard(step, lambda: self._manager.save(step, args=items, force=True))
        self._mirror.push()

    def restore(
        self, shapes: Callable[[Mapping[str, Any]], PyTree], step: int | None = None, *, state_alone: bool = False
    ) -> tuple[int, PyTree, dict[str, Any]] | None:
        """Read the checkpoint of `step`, or else the latest that is whole: (step, state, record).

        Damaged ones are passed over with a warning. None where nothing was saved yet.

        Args:
          shapes: returns the shapes of the state that belongs to a record, or raises where none does.
          state_alone: take also a whole state whose record is damaged; the record is {} then.

        Raises:
          UserError: there are checkpoints, but none can be read.
        """
        chosen = self.steps[::-1] if step is None else [step]
        reason = ""
        for candidate in chosen:
            # Not in the block below: a network that fails is no damage.
            self._mirror.fetch(candidate)
            try:
                return candidate, *self._read(candidate, shapes, state_alone)
            # The record of an older checkpoint is not covered by its digest, and may say anything.
            except Exception as error:
                why = _reason(error)
                reason = reason or why
                _log.warning("checkpoint %d in %s is passed over: %s", candidate, self.directory, why)
        if chosen:
            raise UserError(
                f"{self.directory}: none of the checkpoints {chosen} can be read: {reason}; restore one from a copy, or"
                " begin anew in another --workdir"
            )
        return None

    def record(self, step: int) -> dict[str, Any]:
        """Read a checkpoint's record. Raises ValueError or OSError where it is not the one that was saved."""
        record = _read_record(self._mirror.local / str(step))
        if not _is_whole(record):
            raise ValueError(_OTHER_RECORD)
        return record

    def set_aside_after(self, step: int) -> None:
        """Move the checkpoints beyond `step`, which could not be read, to a folder of their own beside the others.

        So a run that fell back to `step` can write theirs again, and nothing is lost to whoever can mend them.
        """
        later = [s for s in self.steps if s > step]
        if not later:
            return
        for each in later:
            aside = _unused(self.directory.parent / "unreadable_checkpoints" / str(each))
            self._mirror.move(each, aside)
            _log.warning("checkpoint %d is kept as %s", each, aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("unreadable checkpoints are set aside")
        self._mirror.push()
        self._manager.close()
        self._manager = self._open()
        self.__dict__.pop("_scores", None)

    def best_step(self, metric: str = "") -> int | None:
        """Return the step with the best score, the latest of equals; None if none was scored."""
        return self._best_of(self.steps, metric)

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

    def _read(self, step: int, shapes, state_alone: bool) -> tuple[PyTree, dict[str, Any]]:
        record = _read_record(self._mirror.local / str(step))
        saved = _state_digest(record)
        if not (_is_whole(record) and record.get("step", step) == step):
            if not state_alone:
                raise ValueError(_OTHER_RECORD)
            record = {}
        abstract = shapes(record)
        shape = jax.tree.map(_host_shape, abstract)
        target = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), shape)
        try:
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))).state
        # Damage shows as almost any error: of tensorstore, of JSON, of missing files.
        except Exception as error:
            raise ValueError(f"its state cannot be read: {_reason(error)}") from error
        found = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        if found != shape:
            raise ValueError("its arrays have other shapes than this config's networks")
        if saved != digest(state):
            raise ValueError("its arrays are not those that were saved")
        return jax.tree.map(_from_host, state, abstract), record

    @functools.cached_property
    def _scores(self) -> dict[int, Mapping[str, float]]:
        """The scores of each checkpoint, {} of one that has none; what is damaged is said once."""
        scores, steps = {}, self.steps
        for step in steps:
            try:
                record = self.record(step)
                scores[step] = record["scores"] if "scores" in record else _old_scores(self._mirror.local / str(step))
            except (ValueError, OSError) as error:
                _log.warning("checkpoint %d in %s has no score: %s", step, self.directory, _reason(error))
                scores.setdefault(step, {})
                continue
            # The best one's score also stands in the records behind it, where its own is damaged.
            best = record.get("best") or {}
            if best.get("step") in steps and not scores.get(best["step"]):
                scores[best["step"]] = {best["metric"].removeprefix("-"): best["value"]}
        return scores

    def _best_of(self, steps: Sequence[int], metric: str = "") -> int | None:
        scores = [(rank(self._scores.get(s, {}), metric or self._best_metric), s) for s in steps]
        found = [(score, s) for score, s in scores if score is not None and math.isfinite(score)]
        return max(found)[1] if found else None

    def _guard(self, step: int | None, action) -> None:
        try:
            action()
        # A full disk surfaces as an error of tensorstore, of the file system or of a background thread.
        except Exception as error:
            what = "a checkpoint" if step is None else f"the checkpoint of step {step} or one before it"
            raise UserError(f"{self.directory}: {what} could not be written: {_reason(error)}") from error


def rank(scores: Mapping[str, Any], metric: str) -> float | None:
    """Return the score that a metric names, behind a minus its negative, so that the larger is the better one.

    None where there is no such number.
    """
    score = scores.get(metric.removeprefix("-"))
    if not isinstance(score, int | float):
        return None
    return -score if metric.startswith("-") else score


class _LatestAndBest:
    """What Orbax is to keep: the latest checkpoints and the best."""

    def __init__(self, keep: int, best_of: Callable[[Sequence[int]], int | None]):
        self._keep, self._best_of = keep, best_of

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        steps = [each.step for each in checkpoints]
        kept = {*steps[-self._keep :], self._best_of(steps)}
        return [step in kept for step in steps]


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
    config = begun_with(workdir)
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
        shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
        restored = checkpoints.restore(lambda record: of_run(record, config, shapes), step, state_alone=True)
    finally:
        checkpoints.close()
    if restored is None:
        raise UserError(f"--workdir={workdir}: the run has saved no checkpoint yet")
    return config, method, restored[1]


def begun_with(workdir: PathLike) -> ConfigDict | None:
    """Return the settings of the run in a workdir; None if there is none.

    They are those of config.json. Where the record of the latest checkpoint that has a whole one differs, or
    config.json is damaged, the record holds, which is said.

    Raises:
      UserError: config.json is not the config of a run, and no record tells its settings.
    """
    record = _newest_record(as_path(workdir) / "checkpoints")
    try:
        config = config_module.saved(workdir)
        if record is None:
            return config
        missing = "" if config else f"{workdir} has no config.json"
    except UserError as error:
        if record is None:
            raise
        config, missing = None, str(error)
    where = f"the record of checkpoint {record['step']}"
    if config is None:
        _tell_once(f"{missing}; the settings are those in {where}")
        return config_module.read(record["config"], f"{workdir}: {where}")
    if found := config_module.differing(config, record["config"]):
        path = as_path(workdir) / "config.json"
        _tell_once(f"{path} differs from {where}, which holds: {', '.join(found.values())}")
        config = config_module.corrected(config, record["config"], f"{workdir}: {where}")
    return config


@functools.cache
def _tell_once(text: str) -> None:
    """Warn of what a verb reads more than once."""
    _log.warning("%s", text)


def of_run(record: Mapping[str, Any], config: ConfigDict, shapes: PyTree) -> PyTree:
    """Return the shapes of a run's state, if a checkpoint's record says that it is of this run. Raises UserError."""
    found = config_module.differing(config, record["config"]) if _covers(record) and "config" in record else {}
    if found:
        raise UserError(f"it is of another run: {', '.join(found.values())}")
    return shapes


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


def _json_digest(value: Any) -> int:
    """Return a checksum of what a JSON value says, in whatever order its keys stand."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _sealed(record: Mapping[str, Any], state: int) -> dict[str, Any]:
    """Add the digests of a state and of the record itself."""
    return {**record, "digest": {"state": state, "record": _json_digest([record, state])}}


def _covers(record: Mapping[str, Any]) -> bool:
    """Say whether a record's digest covers the record itself; that of older checkpoints is of the state alone."""
    return isinstance(record.get("digest"), dict)


def _state_digest(record: Mapping[str, Any]) -> int:
    return record["digest"].get("state") if _covers(record) else record["digest"]


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Say whether a record is the one that was saved, as far as its digest can tell."""
    own = {key: value for key, value in record.items() if key != "digest"}
    return not _covers(record) or record["digest"] == _sealed(own, _state_digest(record))["digest"]


def _read_record(folder: Path) -> dict[str, Any]:
    """Read the record of the checkpoint in `folder`, whole or not. Raises ValueError or OSError."""
    record = _json(path := folder / "record" / "metadata")
    if not isinstance(record, dict) or "digest" not in record:
        raise ValueError(f"{path} is not the record that was saved")
    return record


def _json(path: Path) -> Any:
    """Read a file of JSON. Raises ValueError, which names it, or OSError."""
    try:
        return json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _old_scores(folder: Path) -> dict[str, float]:
    """Read the scores of a checkpoint of version 0.2, which lay in a file of Orbax's. Raises ValueError or OSError."""
    path = folder / "metrics" / "metrics"
    if not path.exists():
        return {}
    scores = _json(path)
    if not isinstance(scores, dict):
        raise ValueError(f"{path} holds no scores")
    return scores


def _newest_record(folder: Path) -> dict[str, Any] | None:
    """Return the whole record of the latest checkpoint that has one and whose digest covers it; None if none has."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    for step in sorted((int(name) for name in names if name.isdecimal()), reverse=True):
        with contextlib.suppress(Exception):
            record = _read_record(folder / str(step))
            if _covers(record) and _is_whole(record) and record["step"] == step and "config" in record:
                return record
    return None


def _unused(path: Path) -> Path:
    """Return a path, or the first with a number behind it, where nothing lies yet."""
    numbered = (path.with_name(f"{path.name}_{n}") for n in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not each.exists())


def _tell_failures_once() -> None:
    """Keep Python from printing a traceback for every array that tensorstore gives up behind the first that failed.

    The failure itself is raised. The others come later, each as an exception that nobody can catch.
    """
    before = sys.unraisablehook
    if isinstance(before, functools.partial):
        return

    def tell(before, unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = functools.partial(tell, before)


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


# What a disk, a quota, a limit or a right of the user's stops a write with.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong; tensorstore names the cause far into a long line."""
    text = " ".join(str(error).split())
    known = map(os.strerror, _OF_THE_DISK)
    return next((reason.lower() for reason in known if reason in text), text[:200])


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
