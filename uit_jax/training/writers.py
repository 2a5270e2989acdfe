"""What a run writes for people: metrics as JSON lines and TensorBoard events, pictures as PNG files."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.errors import UserError
from uit_jax.files import write_whole
from uit_jax.images import pictures
from uit_jax.paths import PathLike, as_path, is_remote

_PATIENCE = 60  # seconds that a line of metrics may wait before it is written to a bucket

_ROOM = 2**18  # bytes that must be free for a record


class Writers:
    """The metric and picture files of one workdir; on other processes than the first, nothing."""

    def __init__(self, workdir: PathLike, *, active: bool = True, tensorboard: bool = True):
        self._workdir = as_path(workdir)
        self._active = active
        # A bucket's files cannot be appended to: what is new is kept here meanwhile.
        self._lines, self._flushed, self._copied = "", time.monotonic(), contextlib.ExitStack()
        self._tb = self._workdir / "tb"
        if is_remote(self._tb):
            self._tb = Path(self._copied.enter_context(tempfile.TemporaryDirectory(prefix="uit_")))
        self._events = _event_writer(self._tb) if active and tensorboard else None

    @property
    def tensorboard(self) -> bool:
        """Whether TensorBoard events are written."""
        return self._events is not None

    def resume(self, step: int) -> None:
        """Drop the metric records beyond `step`, and a last line that was cut short: they will be written again."""
        path = self._workdir / "metrics.jsonl"
        if not self._active or not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] > step:
                    break
            except ValueError:
                break
            kept.append(line + "\n")
        write_whole(path, "".join(kept).encode())

    def metrics(self, step: int, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; it holds nothing that differs between two equal runs."""
        if not self._active:
            return
        line = json.dumps({"step": step, **record}) + "\n"
        if not is_remote(self._workdir):
            with _written(path := self._workdir / "metrics.jsonl"), open(path, "a") as file:
                file.write(line)
        else:
            self._lines += line
            if time.monotonic() - self._flushed > _PATIENCE:
                self._flush_lines()
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

    def _flush_lines(self) -> None:
        path = self._workdir / "metrics.jsonl"
        if self._lines:
            before = path.read_bytes() if path.exists() else b""
            write_whole(path, before + self._lines.encode())
        self._lines, self._flushed = "", time.monotonic()


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
