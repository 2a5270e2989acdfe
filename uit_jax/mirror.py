"""Checkpoints in a bucket: written and read on this machine, and copied to and from there.

What writes checkpoints renames folders and maps files, which an object store cannot, and knows only some stores. So it
is given a folder of temporary files, and whole checkpoints are copied, in the one way that all stores share. In the
bucket a checkpoint counts once its file `LAST` is there: it is copied last, and deleted first.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from uit_jax.errors import UserError
from uit_jax.paths import Remote, is_remote

LAST = "_CHECKPOINT_METADATA"
_ARRAYS = "state"  # the folder of a checkpoint that holds nearly all of its bytes
_TRANSFERS = 8


class Mirror:
    """A remote folder of checkpoints, each a folder named by its step, and a copy of it on this machine.

    Attributes:
      local: the copy.
    """

    def __init__(self, remote: Remote, *, writes: bool):
        """List what there is, and copy all of it here but the arrays.

        Args:
          writes: whether `push` and `move` change the remote folder: of several processes one does.

        Raises:
          UserError: the bucket cannot be read, or there is no room for temporary files.
        """
        self._remote, self._writes = remote, writes
        self._pool, self._uploader = ThreadPoolExecutor(_TRANSFERS), ThreadPoolExecutor(1)
        self._upload: Future | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="uit_", ignore_cleanup_errors=True)
        self.local = Path(self._folder.name) / "checkpoints"
        self.local.mkdir()
        self._files = self._listed()
        # Of what was cut off nothing is read; `push` deletes it.
        self._whole = {step for step, files in self._files.items() if LAST in files}
        small = [f"{step}/{file}" for step in self._whole for file in self._files[step] if _is_small(file)]
        self._transfer("cannot be read", self._download, small)

    def fetch(self, step: int) -> None:
        """Copy what is not here yet of a checkpoint. Raises UserError, in which the checkpoint has no fault."""
        files = [f"{step}/{file}" for file in self._files.get(str(step), ())]
        self._transfer("cannot be read", self._download, [file for file in files if not (self.local / file).exists()])

    def push(self) -> None:
        """Begin to make the remote folder hold the checkpoints that the local one does, and return.

        Raises:
          UserError: what was begun before has failed.
        """
        if self._writes:
            self.wait()
            self._upload = self._uploader.submit(self._push)

    def move(self, step: int, target: Remote) -> None:
        """Copy a checkpoint that was fetched to another remote folder; `push` then deletes it. Raises UserError."""
        paths = [path for path in (self.local / str(step)).rglob("*") if path.is_file()]
        if self._writes:
            with self._told("could not be moved"):
                for path in paths:
                    (target / path.relative_to(self.local / str(step)).as_posix()).upload(path)
        shutil.rmtree(self.local / str(step))

    def wait(self) -> None:
        """Wait for what was begun. Raises UserError where it failed."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.result()

    def close(self) -> None:
        """Wait for what was begun, whether it fails or not, and remove the copy."""
        self._uploader.shutdown()
        self._pool.shutdown()
        self._folder.cleanup()

    def _listed(self) -> dict[str, set[str]]:
        """Return the remote files of each step, by their paths in its folder."""
        found: dict[str, set[str]] = {}
        with self._told("cannot be read"):
            for file in self._remote.files():
                step, *inside = file.relative_to(self._remote).parts
                if step.isdecimal() and inside:
                    found.setdefault(step, set()).add("/".join(inside))
        return found

    def _push(self) -> None:
        # Those of other names are being written.
        here = {folder.name for folder in self.local.iterdir() if folder.name.isdecimal()}
        for step in here - self._whole:
            self._delete(step)
            paths = [path for path in (self.local / step).rglob("*") if path.is_file()]
            files = self._files[step] = {path.relative_to(self.local / step).as_posix() for path in paths}
            self._each(self._copy, step, files - {LAST})
            self._each(self._copy, step, files & {LAST})
            self._whole.add(step)
        for step in self._files.keys() - here:
            self._delete(step)

    def _delete(self, step: str) -> None:
        files = self._files.pop(step, set())
        self._whole.discard(step)
        self._each(self._remove, step, files & {LAST})
        self._each(self._remove, step, files - {LAST})

    def _each(self, transfer: Callable[[str], Any], step: str, files: Iterable[str]) -> None:
        self._transfer("could not be written", transfer, [f"{step}/{file}" for file in files])

    def _transfer(self, failed: str, transfer: Callable[[str], Any], files: Iterable[str]) -> None:
        with self._told(failed):
            list(self._pool.map(transfer, files))

    def _download(self, file: str) -> None:
        (self._remote / file).download(self.local / file)

    def _copy(self, file: str) -> None:
        (self._remote / file).upload(self.local / file)

    def _remove(self, file: str) -> None:
        (self._remote / file).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self, failed: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._remote} {failed}: {error.strerror or error}") from error


class Itself:
    """A folder of checkpoints on this machine, which needs no copy."""

    def __init__(self, local: Path, *, writes: bool):
        self.local, self._writes = local, writes

    def fetch(self, step: int) -> None:
        pass

    def move(self, step: int, target: Path) -> None:
        if self._writes:
            target.parent.mkdir(exist_ok=True)
            (self.local / str(step)).rename(target)

    def push(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def close(self) -> None:
        pass


def mirrored(folder: Path, *, writes: bool) -> Mirror | Itself:
    """Return what stands between a folder of checkpoints and this machine. Raises UserError."""
    return Mirror(folder, writes=writes) if is_remote(folder) else Itself(folder, writes=writes)


def _is_small(file: str) -> bool:
    return file.partition("/")[0] != _ARRAYS
