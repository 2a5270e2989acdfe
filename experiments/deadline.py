"""Minutes that are not overrun, and a record that holds what was found whatever ends the process."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uit_jax import files
from uit_jax.errors import UserError

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
STOP = getattr(signal, "SIGUSR1", signal.SIGTERM)
"""What makes a training run stop with a checkpoint, and ends nothing else."""


class Minutes:
    """The time that is left, by a clock of seconds."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self._clock, self._end = clock, clock() + 60 * minutes

    def left(self) -> float:
        """Return how many seconds are left."""
        return self._end - self._clock()


class Record:
    """What was found, as JSON in a file that is written whole whenever something is added.

    Attributes:
      found: all of it; what an earlier command found is there already.
    """

    def __init__(self, path: Path):
        self.path, self._lock = path, threading.Lock()
        self.found: dict[str, Any] = {"running": "", "measured": {}, "trained": {}, "failed": {}, "skipped": {}}
        if path.exists():
            try:
                self.found |= _known(json.loads(files.read_regular(path)))
            except (OSError, ValueError, RecursionError) as error:
                raise UserError(f"{path} is no report of this command ({error}): remove it, or name another") from error

    def write(self, **more: Any) -> None:
        """Add what is known now, and write it all."""
        with self._lock:
            self.found |= more
            files.write_json(self.path, self.found)

    def close(self, ended: str) -> None:
        """Write why all this ends, from any thread; nothing is written behind it."""
        if self._lock.acquire(timeout=5):
            self.found |= {"ended": ended}
            files.write_json(self.path, self.found)

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Do something that may fail: then one line says why, and failures.log how."""
        self.write(running=name)
        try:
            yield
            self.found["failed"].pop(name, None)
        except Exception as error:
            with open(self.path.with_name("failures.log"), "a") as log:
                log.write(f"{name}\n{traceback.format_exc()}\n")
            self.found["failed"][name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        finally:
            self.write(running="")


def _known(found: Any) -> dict[str, Any]:
    """Return what was read of a report. Raises ValueError where it has not what the command reads of it."""
    if not isinstance(found, dict):
        raise ValueError("it holds no entries")
    for name, kind in _ENTRIES.items():
        entries = found.get(name, {})
        if not isinstance(entries, dict) or not all(kind(each) for each in entries.values()):
            raise ValueError(f"its {name!r} holds something else")
    return found


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda each: isinstance(each, dict) and each.keys() >= set(names)


def _said(each: Any) -> bool:
    return isinstance(each, str)


_ENTRIES = {
    "measured": _has("phases", "seconds", "expected"),
    "trained": _has("step", "steps"),
    "failed": _said,
    "skipped": _said,
}


@contextlib.contextmanager
def guarded(seconds: float, end: Callable[[str, int], None]) -> Iterator[None]:
    """Call `end` with a reason and an exit status, from a thread, when the time is over or a signal asks for the end.

    A compilation, which may take minutes, lets no other Python function run in the main thread. `end` is to leave the
    process: whoever goes on behind it is not watched any more.
    """
    listening, speaking = socket.socketpair()
    speaking.setblocking(False)
    until = time.monotonic() + seconds

    def watch() -> None:
        while True:
            listening.settimeout(max(until - time.monotonic(), 0.001))
            try:
                heard = listening.recv(1)
            except TimeoutError:
                return end("the time was over", 0)
            if not heard:
                return None
            if heard[0] in _ENDING:
                return end(f"told to end by {signal.Signals(heard[0]).name}", 128 + heard[0])

    # Handlers of Python's own make that a signal is written to the socket; they have nothing else to do.
    handlers = {number: signal.signal(number, lambda *_: None) for number in {*_ENDING, STOP}}
    before = signal.set_wakeup_fd(speaking.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        speaking.close()
        watcher.join()
        listening.close()


@contextlib.contextmanager
def stopped_after(seconds: float) -> Iterator[threading.Event]:
    """Stop a training run of the block after so many seconds; the event tells whether that was done."""
    done = threading.Event()

    def stop() -> None:
        done.set()
        os.kill(os.getpid(), STOP)

    timer = threading.Timer(max(seconds, 0.0), stop)
    timer.start()
    try:
        yield done
    finally:
        timer.cancel()
