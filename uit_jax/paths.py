"""Names of files and folders as users give them, turned into paths: on this machine, or in a bucket.

A name without "://" is a `pathlib.Path`, with `~` expanded. One such as gs://BUCKET/NAME is a `Remote`, which reads
and writes through fsspec by the methods that a `pathlib.Path` has, so that code below the first line of a verb or of
an interface need not know which of the two it holds. It keeps to methods of paths, then, and leaves `os` alone.
"""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from uit_jax.errors import UserError

SCHEMES = {"gs": "gcs", "s3": "s3", "az": "azure", "hf": "hf"}
"""What stands before "://", and which extra of this package installs the library that it needs."""

PathLike = str | os.PathLike


class Remote(PurePosixPath):
    """A file or a folder of an object store: SCHEME://BUCKET/NAME.

    A file is there whole or not at all, and is never renamed or appended to. A folder is the beginning of names: it
    needs no making, and is gone with its last file. Whatever a library raises becomes an OSError that names the path.
    """

    def __str__(self) -> str:
        # A pure path takes two slashes for one.
        return re.sub(r"^(\w+):/", r"\1://", super().__str__())

    def __fspath__(self) -> str:
        return str(self)

    def exists(self) -> bool:
        with self._told() as fs:
            return fs.exists(str(self))

    def is_file(self) -> bool:
        with self._told() as fs:
            return fs.isfile(str(self))

    def is_dir(self) -> bool:
        with self._told() as fs:
            return fs.isdir(str(self))

    def iterdir(self) -> Iterator["Remote"]:
        with self._told() as fs:
            names = fs.ls(str(self), detail=False)
        found = {name.rstrip("/").rpartition("/")[2] for name in names}
        # Some stores list an empty object that stands for the folder itself.
        return iter([self / name for name in sorted(found - {"", self.name})])

    def folders(self) -> list[str]:
        """Return the names of the folders directly in this one, by one listing."""
        with self._told() as fs:
            entries = fs.ls(str(self), detail=True)
        found = {entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"}
        return sorted(found - {"", self.name})

    def files(self) -> list["Remote"]:
        """Return every file below a folder, by one listing; [] where there is none."""
        with self._told() as fs:
            names = fs.find(str(self))
        depth = len(self.parts) - 1  # without the scheme, which the names have not
        inside = ([part for part in name.split("/") if part][depth:] for name in names if not name.endswith("/"))
        return sorted(self.joinpath(*parts) for parts in inside if parts)

    def open(self, mode: str = "r", **_: Any) -> Any:
        with self._told() as fs:
            return fs.open(str(self), mode)

    def read_bytes(self) -> bytes:
        with self._told() as fs:
            return fs.cat_file(str(self))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, data: bytes) -> None:
        with self._told() as fs:
            fs.pipe_file(str(self), data)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self.write_bytes(text.encode(encoding))

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Do nothing: see the class."""

    def unlink(self, missing_ok: bool = False) -> None:
        with contextlib.suppress(*[FileNotFoundError] * missing_ok), self._told() as fs:
            fs.rm_file(str(self))

    def download(self, target: Path) -> None:
        """Copy the file to one on this machine; the folders that lies in are made."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._told() as fs:
            fs.get_file(str(self), str(target))

    def upload(self, source: Path) -> None:
        """Copy a file from this machine here."""
        with self._told() as fs:
            fs.put_file(str(source), str(self))

    def version(self) -> str:
        """Return what changes with the file."""
        with self._told() as fs:
            return fs.ukey(str(self))

    def absolute(self) -> "Remote":
        return self

    def resolve(self, strict: bool = False) -> "Remote":
        return self

    def expanduser(self) -> "Remote":
        return self

    @contextlib.contextmanager
    def _told(self) -> Iterator[Any]:
        """Give the file system, whose library is free to raise anything: for a wrong key, bucket, network, quota."""
        import fsspec

        try:
            # What others write is to be seen: no listing is kept.
            yield fsspec.filesystem(self.parts[0].rstrip(":"), use_listings_cache=False)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such file or folder", str(self)) from None
        except Exception as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
            raise OSError(getattr(error, "errno", None) or errno.EIO, reason, str(self)) from error


def as_path(name: PathLike) -> Path:
    """Return the path that a name stands for: a `Path`, or a `Remote` for one in a bucket; paths stay what they are.

    Raises:
      UserError: it is empty, or of a kind that is not supported, or a library is missing for it.
    """
    if isinstance(name, Remote):
        return name
    text = os.fspath(name)
    # A `pathlib.Path` of such a name has lost a slash.
    scheme, mark, rest = re.fullmatch(r"(?:(\w[\w.+-]+)(:/))?(.*)", text, re.DOTALL).groups()
    if scheme in SCHEMES:
        return _remote(scheme, rest.lstrip("/"))
    if mark and rest.startswith("/"):
        if scheme == "file":
            return Path("/" + rest.lstrip("/"))
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UserError(f"{text}: {scheme}:// is not supported; a path is one on this machine, or begins with {known}")
    if not text:
        raise UserError("a path is empty, as of a variable that is not set: give the name of a file or folder")
    if "\0" in text:
        raise UserError(f"{text!r} is the name of no file or folder")
    return Path(os.path.expanduser(text)) if isinstance(name, str) else Path(text)


def exact(name: str) -> Path:
    """Return the path that a text names to the letter, one that was a path before: a `~` in it is not expanded."""
    return as_path(name) if "://" in name else Path(name)


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Give a file of this machine to what reads no other: `path` itself, or a copy of a remote one meanwhile."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="uit_") as folder:
        copy = Path(folder) / path.name
        path.download(copy)
        yield copy


def is_remote(path: PurePath) -> bool:
    return isinstance(path, Remote)


def _remote(scheme: str, rest: str) -> Remote:
    import fsspec

    text = f"{scheme}://{rest}"
    if not rest:
        raise UserError(f"{text}: name a bucket, as in {text}BUCKET/NAME")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = f"python -m pip install 'uit-jax[{SCHEMES[scheme]}]'"
        raise UserError(f"{text}: a library is not installed ({' '.join(str(error).split())}): {extra}") from error
    return Remote(text)
