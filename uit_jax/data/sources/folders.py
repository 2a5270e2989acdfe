"""Folders of image files: which layout a path has, which splits, and what lies in them.

Layouts, told apart by content:

    ROOT/*.jpg, nested or not       a flat folder: no labels (any image directly in ROOT makes it flat)
    ROOT/CLASS/**/*.jpg             class folders: the first folder below ROOT is the class
    ROOT/train/..., ROOT/test/...   a split tree, each split flat or with class folders; "training" is "train", and
                                    "testing", "val", "valid" or "validation" is "test" where there is no "test"
    ROOT/trainA/..., ROOT/trainB/..., ROOT/testA/..., ROOT/testB/...
                                    a pair of domains; "valA" and "valB" stand for "testA" and "testB"

Splits may be spelt in capitals. Order is that of the sorted relative paths. What is passed over, `files.list_folder`
tells; `.npy` arrays are images where there are no others.
"""

import functools
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uit_jax.data.sources.base import DOMAINS, first
from uit_jax.errors import UserError
from uit_jax.listing import folder_names, list_folder

_SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("test", "testing", "val", "valid", "validation")}
_SPLIT_NAMES = frozenset(name for names in _SPLIT_FOLDERS.values() for name in names)

_log = logging.getLogger(__name__)


class Listing(NamedTuple):
    """Image files in order, labels int32 [n] (-1 unknown), class names, and counts by ending of what is no image."""

    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    passed: dict[str, int]


def folder_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split: {"train": ..., "test": ...}, or {} for a folder that is one whole.

    Of a pair of domains they are "trainA", "trainB" and, where they are there, "testA" and "testB".
    Raises UserError for a missing path and a file.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; a data source is a folder")
    names = folder_names(root)
    pair = _found(root, DOMAINS, names)
    if {"trainA", "trainB"} <= pair.keys():
        return pair
    spelt = {name.casefold() for name in names}
    found = _found(root, _SPLIT_FOLDERS, names)
    return found if {"train", "test"} <= found.keys() or spelt <= _SPLIT_NAMES else {}


def pair_folders(root: Path) -> dict[str, Path]:
    """Return those of the folders of a pair of domains that there are; {} for a path that is no folder."""
    return _found(root, DOMAINS, folder_names(root)) if root.is_dir() else {}


def list_images(folder: Path, classes: tuple[str, ...] | None = None) -> Listing:
    """List one flat folder or one set of class folders.

    `classes` fixes the class names and their order (a test split's are those of its train split).
    Raises UserError for a folder without images, a class without images and a class not in `classes`.
    """
    found = list_folder(folder)
    if not found.images:
        raise UserError(f"{folder}: no images found {found.none_found()}")
    paths = tuple(str(folder / path) for path in found.images)
    owners = [path.partition("/")[0] if "/" in path else "" for path in found.images]
    if "" in owners:
        return Listing(paths, np.full(len(paths), -1, np.int32), (), found.passed)
    if empty := sorted(set(found.folders) - set(owners)):
        raise UserError(f"{folder / empty[0]}: a class with no images; fill or remove the folder")
    classes = found.folders if classes is None else classes
    if foreign := [name for name in found.folders if name not in classes]:
        raise UserError(f"{folder / foreign[0]}: the train split has no class of this name")
    if len(found.folders) == 1:
        _warn_of_wrapping(folder, found.images)
    number = {name: index for index, name in enumerate(classes)}
    # Sorted as class by class: "a b/x" comes before "a/x" by its path, and after it by its class.
    order = sorted(range(len(paths)), key=lambda i: owners[i])
    labels = np.array([number[owners[i]] for i in order], np.int32)
    return Listing(tuple(paths[i] for i in order), labels, classes, found.passed)


def _warn_of_wrapping(folder: Path, images: Collection[str]) -> None:
    """Warn of a single class that holds only folders, as archives unpack that wrap their classes in one."""
    places = {os.path.dirname(path) for path in images}
    inner = os.path.commonpath(places)
    if inner not in places:
        _warn_once(f"{folder}: is read as one class; if the folders in {folder / inner} are the classes, name that")


_warn_once = functools.cache(_log.warning)


def list_split(root: Path, folder: Path) -> Listing:
    """List one split's folder of a tree, with the class names of the tree's train split."""
    train = folder_splits(root).get("train")
    if train is None or train == folder:
        return list_images(folder)
    return list_images(folder, classes=list_images(train).classes or None)


def _found(root: Path, wanted: dict[str, tuple[str, ...]], names: Collection[str]) -> dict[str, Path]:
    """Return the folder of each part that there is, however it is spelt. Raises UserError where one is spelt twice."""
    spelt: dict[str, str] = {}
    for name in names:
        if (other := spelt.setdefault(name.casefold(), name)) != name and _is_wanted(name, wanted):
            raise UserError(f"{root}: has {other} and {name}, which mean the same split; rename one")
    return {
        part: root / spelt[option.casefold()]
        for part, options in wanted.items()
        if (option := first(options, [each for each in options if each.casefold() in spelt]))
    }


def _is_wanted(name: str, wanted: dict[str, tuple[str, ...]]) -> bool:
    return any(name.casefold() == option.casefold() for options in wanted.values() for option in options)
