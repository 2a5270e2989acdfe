"""What a run writes for people: metrics as JSON lines and TensorBoard events, pictures as PNG files."""

import contextlib
import errno
import functools
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.errors import UserError
from uit_jax.files import read_regular, write_whole
from uit_jax.images import pictures
from uit_jax.paths import PathLike, as_path, is_remote, on_disk

_PATIENCE = 60  # seconds that a line of metrics may wait before it is written to a bucket

_ROOM = 2**18  # bytes that must be free for a record


class Writers:
    """The metric and picture files of one workdir; on other processes than the first, nothing."""

    def __init__(self, workdir: PathLike, *, active: bool = True, tensorboard: bool = True):
        self._workdir = as_path(workdir)
        self._active = active
        # A bucket's files cannot be appended to: what is new is kept here meanwhile, by the file's name.
        self._lines, self._flushed, self._copied = {}, time.monotonic(), contextlib.ExitStack()
        self._tb = self._workdir / "tb"
        if is_remote(self._tb):
            self._tb = Path(self._copied.enter_context(tempfile.TemporaryDirectory(prefix="uit_")))
        self._tensorboard = active and tensorboard
        self._events = None

    def resume(self, step: int) -> list[str]:
        """Drop the records beyond `step`, which will be written again, and begin to write; return what is to be told.

        Of metrics.jsonl what stands behind the last record up to `step` is cut. What stands before stays as it is,
        also where a line cannot be read. TensorBoard's events beyond `step` are dropped.
        """
        told = self._cut(step) if self._active else []
        if self._tensorboard:
            self._events = _event_writer(self._tb)
            if self._events is not None:
                _drop_events(self._workdir / "tb", step)
            else:
                told.append("no TensorBoard events, only metrics.jsonl: TensorFlow or clu is not installed")
        return told

    def _cut(self, step: int) -> list[str]:
        path = self._workdir / "metrics.jsonl"
        if not path.exists():
            return []
        try:
            before = read_regular(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        kept, odd = _up_to(step, io.BytesIO(before).readlines())
        if (after := b"".join(kept)) != before:
            write_whole(path, after)
        numbers = ", ".join(map(str, odd[:10])) + ", ..." * (len(odd) > 10)
        return [f"{path}: kept as found, but no record of a step up to {step}: line {numbers}"] if odd else []

    def metrics(self, step: int, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; it holds nothing that differs between two equal runs."""
        if not self._active:
            return
        self._append("metrics.jsonl", {"step": step, **record})
        self.scalars(step, record)

    def speed(self, step: int, record: Mapping[str, float]) -> None:
        """Append one line to speed.jsonl, where a step that was done again stands again."""
        if self._active:
            self._append("speed.jsonl", {"step": step, **record})
            self.scalars(step, record)

    def scalars(self, step: int, record: Mapping[str, Any]) -> None:
        """Write numbers to TensorBoard alone."""
        if self._events is not None:
            with _written(self._tb):
                self._events.write_scalars(step, {k: v for k, v in record.items() if isinstance(v, int | float)})
                self._events.flush()

    def pictures(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """Write uint8 [H, W, C] grids to images/NAME_STEP.png."""
        if not self._active:
            return
        for name, grid in grids.items():
            pictures.save(self._workdir / "images" / f"{name}_{step:08d}.png", grid)
        if self._events is not None:
            with _written(self._tb):
                self._events.write_images(step, {name: grid[None] for name, grid in grids.items()})

    def flush(self) -> None:
        """Write to a bucket what is kept here; to be called before a checkpoint. Raises UserError."""
        if self._active and is_remote(self._workdir):
            self._flush_lines()
            if self._events is not None:
                self._events.flush()
            for file in self._tb.iterdir():
                write_whole(self._workdir / "tb" / file.name, file.read_bytes())

    def close(self) -> None:
        with self._copied:
            if self._events is not None:
                with _written(self._tb):
                    self._events.close()
            self.flush()

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        """Append one JSON line to a file of the workdir; of a bucket's, sooner or later."""
        line = json.dumps(record) + "\n"
        if not is_remote(self._workdir):
            with _written(path := self._workdir / name), open(path, "a") as file:
                file.write(line)
            return
        self._lines[name] = self._lines.get(name, "") + line
        if time.monotonic() - self._flushed > _PATIENCE:
            self._flush_lines()

    def _flush_lines(self) -> None:
        for name, lines in self._lines.items():
            path = self._workdir / name
            before = path.read_bytes() if path.exists() else b""
            write_whole(path, before + lines.encode())
        self._lines, self._flushed = {}, time.monotonic()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raise what a full disk or a forbidden place surfaces as, TensorFlow's errors too, as a UserError with the path.

    Raises:
      UserError: it could not be written.
    """
    try:
        # TensorFlow would say much before its error comes back.
        if path.parent.exists() and shutil.disk_usage(path.parent).free < _ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    # clu raises what went wrong in its thread as errors of its own, with TensorFlow's many lines.
    except Exception as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        why = os.strerror(errno.ENOSPC) if os.strerror(errno.ENOSPC) in why else why[:200]
        raise UserError(f"{path} cannot be written: {why}") from error


def _up_to(step: int, lines: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """Return the lines of metrics.jsonl up to the last record of at most `step`, and which of them are none, from 1.

    Whole lines behind it that cannot be read are kept too, if no record beyond `step` stands before them.
    """
    steps = [_step_of(line) for line in lines]
    end = 1 + max((i for i, found in enumerate(steps) if found is not None and found <= step), default=-1)
    while end < len(lines) and steps[end] is None and lines[end].endswith(b"\n"):
        end += 1
    # Only of the last line can the end be missing.
    kept = [line if line.endswith(b"\n") else line + b"\n" for line in lines[:end]]
    return kept, [i for i, found in enumerate(steps[:end], 1) if found is None or found > step]


def _step_of(line: bytes) -> int | None:
    """Return the step of a line of metrics.jsonl; None where it holds no record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = record.get("step") if isinstance(record, dict) else None
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _event_writer(folder: Path):
    """Return clu's TensorBoard writer; None where it or TensorFlow, which it needs, is not installed."""
    try:
        import tensorflow as tf
        from clu import metric_writers
    except ImportError:
        return None
    # The device belongs to JAX.
    tf.config.set_visible_devices([], "GPU")
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))


def _drop_events(folder: Path, step: int) -> None:
    """Drop the TensorBoard events beyond `step`, which a run that was killed left: the curves would fold back."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    def write(path: Path, events: Sequence[bytes]) -> None:
        with tf.io.TFRecordWriter(str(path)) as file:
            for event in events:
                file.write(event)

    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith("events.out.tfevents."):
            continue
        with on_disk(path) as file:
            # Up to where a record is cut short.
            events = list(RawEventFileLoader(str(file)).Load())
        kept = [event for event in events if Event.FromString(event).step <= step]
        if len(kept) < len(events):
            write_whole(path, functools.partial(write, events=kept))
