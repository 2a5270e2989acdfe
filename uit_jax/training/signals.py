"""Signals that end a run between two steps, and are answered at once."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

# SIGHUP: the terminal was closed; SIGUSR1: Slurm's time is nearly up. Windows has neither.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


@contextlib.contextmanager
def acknowledged(told: str, to: int = 2) -> Iterator[None]:
    """Write a line to a file descriptor at the first signal that somebody handles, whatever the program is doing.

    A handler of Python's own runs only when the main thread is back from what it is in, which for a compilation may
    take minutes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    listening, speaking = socket.socketpair()
    speaking.setblocking(False)

    def listen() -> None:
        # Nothing comes where it was closed; a terminal may be gone.
        if listening.recv(1):
            with contextlib.suppress(OSError):
                os.write(to, f"{told}\n".encode())

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    before = signal.set_wakeup_fd(speaking.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        speaking.close()
        thread.join()
        listening.close()


class Stop:
    """Whether the process was asked to stop: by one of `SIGNALS`. On several hosts all agree on the step."""

    def __enter__(self) -> "Stop":
        self._asked, self._turns = False, 0
        # Only the main thread may listen; in another one, who trains stops it.
        listens = threading.current_thread() is threading.main_thread()
        # What the shell lets be ignored, as `nohup` does with a closed terminal, stays so.
        caught = [each for each in SIGNALS if listens and signal.getsignal(each) != signal.SIG_IGN]
        if jax.process_count() > 1:
            # There JAX itself listens for SIGTERM and tells the other hosts; Ctrl-C ends them all.
            caught = [each for each in caught if each not in (signal.SIGINT, signal.SIGTERM)]
        self._before = {number: signal.signal(number, self._ask) for number in caught}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Say whether to stop now; on several hosts all of them ask equally often."""
        # They agree on a turn to come, which no one may leave out.
        self._turns += 1
        return self._asked if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(self._turns)

    def at_once(self) -> bool:
        """Say whether to stop now, where there are no other hosts to agree with."""
        return self._asked and jax.process_count() == 1

    def _ask(self, number, frame) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._asked:
            _leave_closed_terminal()
            if jax.process_count() > 1:
                signal.raise_signal(signal.SIGTERM)
        self._asked = True


def _leave_closed_terminal() -> None:
    """Send to nowhere what would be written to a terminal that is there no more: writing to it would fail."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
