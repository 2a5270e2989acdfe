"""What a run writes for people: metrics as JSON lines and TensorBoard events, pictures as PNG files."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.errors import UserError
from uit_jax.files import write_whole
from uit_jax.images import pictures

_ROOM = 2**18  # bytes that must be free for a record


class Writers:
    """The metric and picture files of one workdir; on other processes than the first, nothing."""

    def __init__(self, workdir: str | os.PathLike, *, active: bool = True, tensorboard: bool = True):
        self._workdir = Path(workdir)
        self._active = active
        self._events = _event_writer(self._workdir / "tb") if active and tensorboard else None

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
        if self._active:
            with _written(path := self._workdir / "metrics.jsonl"), open(path, "a") as file:
                file.write(json.dumps({"step": step, **record}) + "\n")
            self.scalars(step, record)

    def scalars(self, step: int, record: Mapping[str, Any]) -> None:
        """Write numbers to TensorBoard alone."""
        if self._events is not None:
            with _written(self._workdir / "tb"):
                self._events.write_scalars(step, {k: v for k, v in record.items() if isinstance(v, int | float)})
                self._events.flush()

    def pictures(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """Write uint8 [H, W, C] grids to images/NAME_STEP.png."""
        if not self._active:
            return
        for name, grid in grids.items():
            pictures.save(self._workdir / "images" / f"{name}_{step:08d}.png", grid)
        if self._events is not None:
            with _written(self._workdir / "tb"):
                self._events.write_images(step, {name: grid[None] for name, grid in grids.items()})

    def close(self) -> None:
        if self._events is not None:
            with _written(self._workdir / "tb"):
                self._events.close()


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
