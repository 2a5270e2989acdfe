"""One training a workdir: a lock that the operating system frees when the process that holds it is gone."""

import datetime
import json
import os
import socket
from pathlib import Path
from typing import BinaryIO

from uit_jax.errors import UserError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


class Lock:
    """The right to train in a workdir, from entering to leaving the context; not asked for unless `active`.

    It is the operating system's lock of a file, `.training`, that names who holds it, and it ends with its process
    however that ends. Where there are no such locks, as on some network file systems, none is held.

    Attributes:
      left_by: who held it and ended without giving it back, as after kill -9; "" if none did.
    """

    def __init__(self, workdir: str | os.PathLike, *, active: bool = True):
        self._path = Path(workdir) / ".training"
        self._active = active and fcntl is not None
        self._file: BinaryIO | None = None
        self.left_by = ""

    def __enter__(self) -> "Lock":
        """Take the lock. Raises UserError, which names who holds it."""
        while self._active and self._file is None:
            self._file = self._take()
        if self._file is not None:
            self.left_by = _holder(self._file)
            self._file.truncate(0)
            self._file.write(json.dumps(_self()).encode())
            self._file.flush()
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            # Before the lock ends: the next one's file is not this one.
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _take(self) -> BinaryIO | None:
        """Return the locked file; None where it was removed meanwhile, and where there are no locks."""
        file = open(self._path, "a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                who = _holder(file) or "another process"
            raise UserError(
                f"--workdir={self._path.parent}: {who} trains there: wait for it, stop it, or name another --workdir"
            ) from None
        except OSError:
            self._active = False
        if self._active and _lies_at(file, self._path):
            return file
        file.close()
        return None


def _lies_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _self() -> dict:
    since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(file: BinaryIO) -> str:
    """Say who wrote a lock's file; "" if it is empty."""
    file.seek(0)
    try:
        who = json.loads(file.read())
        return f"process {who['process']} on {who['host']}, since {who['since']},"
    except (ValueError, TypeError, KeyError):
        return ""
