"""Files of the user's: writing one whole or not at all, finding images, and picking some of many."""

import collections
import contextlib
import errno
import functools
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

import numpy as np

from uit_jax.errors import UserError, shown
from uit_jax.paths import PathLike, Remote, as_path, is_remote

# The endings of the formats that `images.opening` opens, and of no others.
PICTURES = frozenset(
    ".jpg .jpeg .jfif .jpe .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .jp2 .avif".split()
)
ARRAYS = frozenset({".npy"})
ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})

# What operating systems, archives and network disks leave in folders; hidden names begin with a dot.
_SYSTEM = frozenset("__macosx @eadir @recycle #recycle #snapshot ~snapshot lost+found $recycle.bin recycler".split())
_SYSTEM |= {"system volume information", "thumbs.db", "desktop.ini"}


Item = TypeVar("Item")

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


class Folder(NamedTuple):
    """What lies in a folder and in those below it.

    Attributes:
      images: paths of its pictures below it, or of its arrays where there are no pictures; sorted, "/" between parts.
      folders: names of the folders directly in it, sorted, but for those that only link to what lies in others.
      passed: how many of the other files there are, by ending.
    """

    images: tuple[str, ...]
    folders: tuple[str, ...]
    passed: dict[str, int]

    def none_found(self) -> str:
        """Say what was looked for, and what was found instead."""
        passed = f"; passed over: {told_endings(self.passed)}" if self.passed else ""
        return f"(looked for {' '.join(sorted(PICTURES | ARRAYS))}{passed})"


def told_endings(passed: dict[str, int]) -> str:
    """Lay out counts of files by ending: ".txt: 3, no ending: 1"."""
    return ", ".join(f"{shown(ending)}: {count}" for ending, count in passed.items())


def list_folder(root: PathLike) -> Folder:
    """List a folder, each real folder once, under its own path if that lies below `root`, and else under a link's.

    Hidden and system files are passed over, and uncounted; so are pipes, sockets and devices, which are counted. A
    link to a file is a file of its own. Links to `root` or to a folder around it are not followed.

    Raises:
      UserError: a folder may not be read.
    """
    root = as_path(root)
    files, folders = _remote_tree(root) if is_remote(root) else _tree(root)
    # Arrays lie beside images as masks or depth, and are read where they stand alone.
    wanted = PICTURES if PICTURES & files.keys() else ARRAYS
    images = sorted(path for ending in wanted & files.keys() for path in files[ending])
    passed = {ending: len(files[ending]) for ending in files.keys() - wanted}
    return Folder(tuple(images), tuple(sorted(folders)), dict(sorted(passed.items(), key=lambda e: (-e[1], e[0]))))


def _tree(root: Path) -> tuple[dict[str, list[str]], set[str]]:
    """Return the files of a folder by ending, and the names of the folders directly in it."""
    seen = {_identity(folder) for folder in root.resolve().parents}
    waiting, links, folders, linking = [""], collections.deque(), set(), set()
    files: dict[str, list[str]] = collections.defaultdict(list)
    while waiting or links:
        inside = waiting.pop() if waiting else links.popleft()
        top = inside.partition("/")[0]
        if (identity := _identity(root / inside)) in seen:
            linking.add(top)
            continue
        seen.add(identity)
        folders.add(top)
        for entry in _entries(root / inside):
            kind, path = _kind(entry), inside + entry.name
            if kind == _FOLDER:
                (links if entry.is_symlink() else waiting).append(f"{path}/")
            else:
                files[_ending(path) if kind == _FILE else "pipe, socket or device"].append(path)
    held = {path.partition("/")[0] for paths in files.values() for path in paths}
    return files, folders - {""} - (linking - held)


def _remote_tree(root: Path) -> tuple[dict[str, list[str]], set[str]]:
    """Return what `_tree` does, of a folder in a bucket: there are no links, and a folder is what files lie in."""
    files: dict[str, list[str]] = collections.defaultdict(list)
    for path in (path.relative_to(root) for path in root.files()):
        if not any(map(_is_left, path.parts)):
            files[_ending(path.name)].append(path.as_posix())
    return files, {path.partition("/")[0] for paths in files.values() for path in paths if "/" in path}


def _ending(name: str) -> str:
    return PurePath(name).suffix.lower() or "no ending"


def _is_left(name: str) -> bool:
    """Tell whether a file or folder is hidden, or left there by a system."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def folder_names(root: PathLike) -> list[str]:
    """Return the names of the folders directly in one, sorted; hidden and system ones are passed over.

    Raises:
      UserError: the folder may not be read.
    """
    root = as_path(root)
    if is_remote(root):
        return [name for name in root.folders() if not _is_left(name)]
    return [entry.name for entry in _entries(root) if _kind(entry) == _FOLDER]


_FOLDER, _FILE, _SPECIAL = range(3)


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not _is_left(entry.name)]
    except OSError as error:
        raise UserError(
            f"{folder}: this folder may not be read ({error.strerror}): allow it, or move it away"
        ) from None
    return sorted(kept, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry) -> int:
    try:
        if entry.is_dir():
            return _FOLDER
        # A link that leads nowhere is a file that cannot be read: it was meant to be there.
        return _FILE if entry.is_file() or not os.path.exists(entry.path) else _SPECIAL
    except OSError:
        return _FILE


def _identity(folder: Path) -> tuple[int, int] | str:
    """Return what tells a folder apart under all its names."""
    with contextlib.suppress(OSError):
        found = folder.stat()
        if found.st_ino:
            return found.st_dev, found.st_ino
    return os.path.realpath(folder)


def check_readable(path: PathLike) -> None:
    """Make sure, without opening it, that a path is that of a folder or a regular file, and of no archive.

    Raises:
      UserError: it is none of these; a pipe would be waited for without an end.
    """
    path = as_path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{path}: is a pipe, a socket or a device; give a file or a folder")
    if path.is_file() and path.suffix.lower() in ARCHIVES:
        raise UserError(f"{path}: is an archive; unpack it first, and give the folder")


def find_images(path: PathLike) -> list[Path]:
    """Return a file itself, or the images of a folder as `list_folder` has them.

    Raises:
      UserError: there is no such path, no image in it, or it may not be read.
    """
    path = as_path(path)
    check_readable(path)
    if path.is_file():
        return [path]
    found = list_folder(path)
    if not found.images:
        raise UserError(f"{path}: no images in this folder {found.none_found()}")
    return [path / name for name in found.images]


def pick_evenly(count: int, wanted: int | None = None) -> np.ndarray:
    """Return at most `wanted` of the indices 0 to count - 1, spread evenly, by default all: int64 [n].

    Neighbours in a folder are often alike.
    """
    if wanted is not None and wanted < 1:
        raise UserError(f"{wanted} images are asked for: ask for 1 at least")
    return np.linspace(0, count - 1, count if wanted is None else min(count, wanted)).astype(int)


def picked(items: Sequence[Item], wanted: int) -> list[Item]:
    """Return at most `wanted` of some items, spread evenly."""
    return [items[i] for i in pick_evenly(len(items), wanted)]
