"""Files that are written whole or not at all, and the places where they may be."""

import contextlib
import errno
import functools
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from uit_jax.errors import UserError
from uit_jax.paths import PathLike, Remote, as_path, is_remote

_log = logging.getLogger(__name__)


def write_whole(path: PathLike, content: bytes | Callable[[Path], None]) -> None:
    """Write a file or a folder, whole or not at all; the folders it lies in are made.

    Args:
      content: its bytes, or what writes it to the path it is given, whose suffix is that of `path`.

    Raises:
      UserError: it cannot be written; nothing is left of it.
    """
    with being_written(as_path(path)) as partial:
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            content(partial)


@contextlib.contextmanager
def being_written(path: Path) -> Iterator[Path]:
    """Give a place on this machine to write a file or a folder to, and put it at `path` once it is whole.

    The place lies beside `path`, of which it takes the name in the end, or for a remote one, to which it is copied
    then, among the system's temporary files.

    Raises:
      UserError: for any OSError on the way; nothing is left of it.
    """
    try:
        if is_remote(path):
            with tempfile.TemporaryDirectory(prefix="uit_") as folder:
                yield Path(folder) / path.name
                _upload(Path(folder) / path.name, path)
            return
        partial = partial_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(partial)
            yield partial
            os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                _remove(partial)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def partial_of(path: Path) -> Path:
    """Return where a file or folder lies while it is written: beside it, always there, however long its name is."""
    suffix = path.suffix if len(path.suffix) < 16 else ""
    return path.with_name(f".partial_{zlib.crc32(os.fsencode(path.name)):08x}{suffix}")


def _upload(source: Path, target: Path) -> None:
    """Copy a file, or the files of a folder in their order, to a remote path; all of them or none."""
    pairs = [(source, target)]
    if source.is_dir():
        pairs = [(file, target / file.relative_to(source)) for file in sorted(source.rglob("*")) if file.is_file()]
    done = []
    try:
        for file, place in pairs:
            done.append(place)
            place.upload(file)
    except BaseException:
        for place in done:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: PathLike, value: Any) -> None:
    """Write a JSON file whole or not at all. Raises UserError."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def read_regular(path: Path) -> bytes:
    """Return the bytes of a file. Raises OSError, also where a pipe would be waited for without an end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return path.read_bytes()


def check_writable(folder: Path, options: str) -> None:
    """Make sure, without leaving anything, that a folder can be made and written to; `options` name it otherwise.

    Raises:
      UserError: it cannot.
    """
    if is_remote(folder):
        try:
            probe = folder / f".probe_{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(f"nothing can be written to {folder} ({error.strerror}): name another {options}") from error
        return
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be made: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written to {existing}: name another {options}")


def kept_here(path: Path) -> Path:
    """Return a file of this machine with what one holds: itself, or of a remote one a copy.

    The copy stays in the user's cache until it is asked for again and the remote file has changed.

    Raises:
      UserError: there is no room for it.
      OSError: the remote file cannot be read.
    """
    if not is_remote(path):
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "uit_jax"
    name = f"{zlib.crc32(str(path).encode()):08x}"
    copy = cache / f"{name}_{path.version()[:16]}_{path.name}"
    if not copy.exists():
        _log.warning("%s is copied to %s", path, cache)
        for old in cache.glob(f"{name}_*"):
            old.unlink(missing_ok=True)
        write_whole(copy, path.download)
    return copy


def check_places(targets: Mapping[str, Path], sources: Iterable[Path] = (), *, overwrite: bool = False) -> None:
    """Make sure, before any work, that nothing is lost when files are written.

    Args:
      targets: where each goes, by what it is called.
      sources: files that are read.
      overwrite: whether files that are there already may be replaced; sources never are.

    Raises:
      UserError: two go to one place, one goes where a source lies, a file is there already, or something that is none.
    """
    place = functools.cache(_place)
    listed = functools.cache(_listed)
    read = set()
    for source in sources:
        read.add(_put(place, source))
        if os.path.islink(source):
            read.add(_put(place, source.resolve()))
    taken: dict[str, str] = {}
    there = []
    for called, target in targets.items():
        where = _put(place, target)
        if (other := taken.setdefault(where, called)) != called:
            raise UserError(f"{other} and {called} would both be written to {target}: rename one of them")
        if where in read:
            raise UserError(f"{target} is one of the files that are read: name another place")
        with contextlib.suppress(OSError):  # a name that is too long is nobody's
            if target in listed(target.parent) if is_remote(target) else target.exists():
                there.append(target)
    if odd := [path for path in there if not path.is_file()]:
        raise UserError(f"{odd[0]} is there already and no file: name another place")
    if there and not overwrite:
        more = f", and {len(there) - 1} more" * (len(there) > 1)
        raise UserError(f"{there[0]} is there already{more}: name another place, or replace by --overwrite")


def _listed(folder: Remote) -> set[Remote]:
    """Return what lies in a remote folder, by one call and not one for each file."""
    try:
        return set(folder.iterdir())
    except FileNotFoundError:
        return set()


def _put(place: Callable[[Path], tuple[str, bool]], path: Path) -> str:
    """Return what is equal for all names of one place, by what `_place` says of folders."""
    folder, folds = place(path.parent)
    return os.path.join(folder, path.name).casefold() if folds else os.path.join(folder, path.name)


def _place(folder: Path) -> tuple[str, bool]:
    """Return a folder's one name, and whether capitals and small letters are the same in it, as on Macs and Windows."""
    if is_remote(folder):
        return str(folder), False
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists()).resolve()
    other = existing.with_name(existing.name.swapcase()) if existing.name else existing
    return str(folder.resolve()), other != existing and other.exists() and other.samefile(existing)
