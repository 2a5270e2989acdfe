"""What lies in folders: the images, without what systems leave there, and an even choice of many."""

import collections
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

import numpy as np

from uit_jax.errors import UserError, shown
from uit_jax.paths import PathLike, as_path, is_remote

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
