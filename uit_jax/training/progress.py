"""Progress for the person who waits: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from tqdm import tqdm

from uit_jax.errors import shown

_PACED = (10, 10)
"""Behind how many steps, and during how many, the pace is taken: the first is compiled, and the devices are busy."""

_WAITS = 0.05
"""The share of time in which images are waited for that is said."""


class Pace(NamedTuple):
    """How fast the steps of a lap were.

    Attributes:
      images_per_second: of the global batches.
      input_wait: the share of the time in which the next batch was not read yet, 0 to 1.
    """

    images_per_second: float
    input_wait: float


class Progress:
    """Count steps and tell the phase, images per second and the time left."""

    def __init__(self, steps: int, *, active: bool = True, stream=None):
        self._stream = stream or sys.stderr
        self._active = active
        self._steps, self._images, self._done = steps, 0, 0
        self._phase, self._bar, self._idle = "", None, 0.0
        self._paced, self._halted, self._waited = 0.0, 0.0, 0.0
        self._first: int | None = None
        self._estimated, self._warned = False, False

    def begin(self, step: int) -> None:
        """Start the clock at `step`."""
        self._begun, self._lap = step, (step, time.monotonic())
        if self._active and self._stream.isatty():
            self._bar = tqdm(total=self._steps, initial=step, file=self._stream, unit="step", dynamic_ncols=True)

    def note(self, message: str) -> None:
        """Say one line, whatever names it holds, above the bar if there is one."""
        message = shown(message)
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        elif self._active:
            print(message, file=self._stream, flush=True)

    def advance(self, phase: str, images: int, steps: int = 1) -> None:
        """Count steps on global batches of so many images each."""
        self._images += images * steps
        self._done += steps
        self._estimate()
        if phase != self._phase:
            self._phase = phase
            if self._bar is not None:
                self._bar.set_description(phase)
        if self._bar is not None:
            self._bar.update(steps)

    def exclude(self, seconds: float) -> None:
        """Leave time that was not training (compiling, evaluating) out of the next rate."""
        self._idle += seconds
        self._halted += seconds

    def wait(self, seconds: float) -> None:
        """Count time in which there was no batch to begin the next step with."""
        self._waited += seconds

    def _estimate(self) -> None:
        """Say once how long the rest will take, by the pace of some steps after the first."""
        first, enough = _PACED
        if self._first is None and self._done >= first:
            self._first, self._paced, self._halted = self._done, time.monotonic(), 0.0
        elif self._first is not None and not self._estimated and self._done >= self._first + enough:
            self._estimated = True
            if (left := self._steps - self._begun - self._done) > 0:
                pace = (time.monotonic() - self._paced - self._halted) / (self._done - self._first)
                self.note(f"{left} steps to go: about {clock(left * pace)} at this pace")

    def lap(self, step: int, metrics: Mapping[str, float]) -> Pace:
        """Report the steps since the last lap; return how fast they were."""
        before, began = self._lap
        now = time.monotonic()
        seconds = max(now - began - self._idle, 1e-9)
        pace = Pace(self._images / seconds, min(self._waited / seconds, 1.0))
        left = (self._steps - step) * seconds / max(step - before, 1)
        self._lap, self._idle, self._images, self._waited = (step, now), 0.0, 0, 0.0
        rate = f"{pace.images_per_second:.0f} images/s"
        # Before the first lap nothing was read ahead.
        if pace.input_wait > _WAITS and before > self._begun:
            rate += f", {pace.input_wait:.0%} of the time waiting for images"
            self._warn()
        terms = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float))
        if self._bar is not None:
            self._bar.set_postfix_str(f"{rate}  {terms}")
        else:
            self.note(f"step {step}/{self._steps}  {self._phase}  {rate}  ETA {clock(left)}  {terms}")
        return pace

    def _warn(self) -> None:
        """Say once what to do where images are read more slowly than they are learnt from."""
        if not self._warned:
            self.note(
                "training waits for images: `uit data pack` helps, and data.on_device=yes where there is room for all;"
                " `uit bench --data=PATH --config=...` tells by how much"
            )
        self._warned = True

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def clock(seconds: float) -> str:
    """Write a time span as 1:02:03 or 02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
