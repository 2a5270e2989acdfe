"""The checkpoints of a workdir, a thin layer over Orbax: written in the background, read back bit for bit."""

import contextlib
import errno
import functools
import itertools
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from uit_jax.checkpoint import records
from uit_jax.checkpoint.host import digest, from_host, host_shape, not_finite, to_host
from uit_jax.errors import UserError
from uit_jax.mirror import mirrored
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.types import PyTree

_log = logging.getLogger(__name__)


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
        host = jax.tree.map(to_host, state)
        if where := not_finite(host):
            raise UserError(f"step {step}: {where} is not finite; {self.last_good()}")
        # A copy: it is written while training goes on.
        record = json.loads(json.dumps({**record, "step": step, "scores": dict(scores or {})}))
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(records.sealed(record, digest(host)))
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
        record = records.read(self._mirror.local / str(step))
        if not records.is_whole(record):
            raise ValueError(records.OTHER)
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
        record = records.read(self._mirror.local / str(step))
        saved = records.state_digest(record)
        if not (records.is_whole(record) and record.get("step", step) == step):
            if not state_alone:
                raise ValueError(records.OTHER)
            record = {}
        abstract = shapes(record)
        shape = jax.tree.map(host_shape, abstract)
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
        return jax.tree.map(from_host, state, abstract), record

    @functools.cached_property
    def _scores(self) -> dict[int, Mapping[str, float]]:
        """The scores of each checkpoint, {} of one that has none; what is damaged is said once."""
        scores, steps = {}, self.steps
        for step in steps:
            try:
                record = self.record(step)
                known = "scores" in record
                scores[step] = record["scores"] if known else records.old_scores(self._mirror.local / str(step))
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


def _alone() -> dict[str, Any]:
    """Return the options of a manager whose folder is this process's own, and whose saves are done when they return."""
    process = jax.process_index()
    return {
        "enable_async_checkpointing": False,
        "multiprocessing_options": ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
        ),
    }


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
def quiet() -> Iterator[None]:
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
