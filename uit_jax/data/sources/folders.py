"""Folders of image files: which layout a path has, which splits, and what lies in them.

Layouts, told apart by content:

    ROOT/*.jpg, nested or not       a flat folder: no labels (any image directly in ROOT makes it flat)
    ROOT/CLASS/**/*.jpg             class folders: the first folder below ROOT is the class
    ROOT/train/..., ROOT/test/...   a split tree, each split flat or with class folders; "val", "valid" and
                                    "validation" stand for "test" where there is no "test"
    ROOT/trainA/..., ROOT/trainB/..., ROOT/testA/..., ROOT/testB/...
                                    a pair of domains; "valA" and "valB" stand for "testA" and "testB"

Order is that of the sorted relative paths. Hidden files and folders, `__MACOSX` and files without an image
suffix are passed over; `.npy` arrays are images where there are no others.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uit_jax.data.sources.base import DOMAINS, first
from uit_jax.errors import UserError
from uit_jax.files import ARRAYS, PICTURES
from uit_jax.paths import is_remote

_SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
_LOOKED_FOR = ", ".join(sorted(PICTURES | ARRAYS))
_SPLIT_NAMES = frozenset(name for names in _SPLIT_FOLDERS.values() for name in names)


class Listing(NamedTuple):
    """Image files in order, with labels int32 [n] (-1 unknown) and the class names."""

    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]


def folder_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split: {"train": ..., "test": ...}, or {} for a folder that is one whole.

    Of a pair of domains they are "trainA", "trainB" and, where they are there, "testA" and "testB".
    Raises UserError for a missing path and a file.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; a data source is a folder")
    pair = pair_folders(root)
    if {"trainA", "trainB"} <= pair.keys():
        return pair
    names = set(_folders(root))
    if not ({"train", "test"} <= names or (names and names <= _SPLIT_NAMES)):
        return {}
    return _found(root, _SPLIT_FOLDERS, names)


def pair_folders(root: Path) -> dict[str, Path]:
    """Return those of the folders of a pair of domains that there are; {} for a path that is no folder."""
    return _found(root, DOMAINS, set(_folders(root))) if root.is_dir() else {}


def list_images(folder: Path, classes: tuple[str, ...] | None = None) -> Listing:
    """List one flat folder or one set of class folders.

    `classes` fixes the class names and their order (a test split's are those of its train split).
    Raises UserError for a folder without images, a class without images and a class not in `classes`.
    """
    suffixes = PICTURES if _images(folder, PICTURES, recursive=True) else ARRAYS
    direct = _images(folder, suffixes, recursive=False)
    names = _folders(folder)
    if direct or not names:
        paths = _images(folder, suffixes, recursive=True)
        if not paths:
            raise UserError(f"{folder}: no images found (looked for {_LOOKED_FOR})")
        return Listing(paths, np.full(len(paths), -1, np.int32), ())
    members = {name: _images(folder / name, suffixes, recursive=True) for name in names}
    if not any(members.values()):
        raise UserError(f"{folder}: no images found (looked for {_LOOKED_FOR})")
    empty = [name for name, paths in members.items() if not paths]
    if empty:
        raise UserError(f"{folder / empty[0]}: a class with no images; fill or remove the folder")
    classes = tuple(names) if classes is None else classes
    if foreign := [name for name in names if name not in classes]:
        raise UserError(f"{folder / foreign[0]}: the train split has no class of this name")
    labels = [classes.index(name) for name, paths in members.items() for _ in paths]
    return Listing(tuple(path for paths in members.values() for path in paths), np.array(labels, np.int32), classes)


def list_split(root: Path, folder: Path) -> Listing:
    """List one split's folder of a tree, with the class names of the tree's train split."""
    train = folder_splits(root).get("train")
    if train is None or train == folder:
        return list_images(folder)
    return list_images(folder, classes=list_images(train).classes or None)


def _found(root: Path, wanted: dict[str, tuple[str, ...]], names: set[str]) -> dict[str, Path]:
    return {part: root / name for part, options in wanted.items() if (name := first(options, names))}


def _shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _folders(root: Path) -> list[str]:
    folders = root.folders() if is_remote(root) else [entry.name for entry in os.scandir(root) if entry.is_dir()]
    return sorted(filter(_shown, folders))


def _images(root: Path, suffixes: frozenset[str], *, recursive: bool) -> tuple[str, ...]:
    """Return the paths of the image files, sorted by their path below `root` with "/" between its parts."""
    if is_remote(root):
        return _remote_images(root, suffixes, recursive=recursive)
    found = []
    for base, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if _shown(name)] if recursive else []
        inside = Path(base).relative_to(root)
        images = (name for name in files if _shown(name) and Path(name).suffix.lower() in suffixes)
        found += [(inside / name).as_posix() for name in images]
    return tuple(str(root / name) for name in sorted(found))


def _remote_images(root: Path, suffixes: frozenset[str], *, recursive: bool) -> tuple[str, ...]:
    inside = [path.relative_to(root) for path in root.files()]
    images = (name for name in inside if all(map(_shown, name.parts)) and name.suffix.lower() in suffixes)
    return tuple(str(root / name) for name in images if recursive or len(name.parts) == 1)
