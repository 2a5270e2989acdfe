"""Signals that are answered at once."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator


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
