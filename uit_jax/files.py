"""Files of the user's: writing one whole or not at all, finding images, and picking some of many."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from uit_jax.errors import UserError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
ARRAYS = frozenset({".npy"})

Item = TypeVar("Item")


def shown(name: str | os.PathLike) -> str:
    """Return a name as it may be printed on one line of any terminal.

    What does not print becomes a backslash escape: newlines, escape sequences, marks of direction, and the bytes of a
    name that is not UTF-8, which Python keeps as surrogates.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(name))


def write_whole(path: str | os.PathLike, content: bytes | Callable[[Path], None]) -> None:
    """Write a file or a folder under a temporary name beside its own, then rename it: whole or not at all.

    The folders it lies in are made.

    Args:
      content: its bytes, or what writes it to the path it is given, whose suffix is that of `path`.

    Raises:
      UserError: it cannot be written; nothing is left of it.
    """
    path = Path(path)
    partial = path.with_name(f".partial_{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            content(partial)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file whole or not at all. Raises UserError."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def check_writable(folder: Path, options: str) -> None:
    """Make sure, without making anything, that a folder can be made and written to; `options` name it otherwise.

    Raises:
      UserError: it cannot.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be made: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written to {existing}: name another {options}")


def find_images(path: str | os.PathLike) -> list[Path]:
    """Return a file itself, or a folder's images, those of its subfolders included, sorted.

    Raises:
      UserError: there is no such path, or no image in it.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    files = [p for p in path.rglob("*") if p.is_file()]
    shown = [p for p in files if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    # As a data source does: arrays lie beside images as masks or depth, and are read where they stand alone.
    for suffixes in (PICTURES, ARRAYS):
        if images := sorted(p for p in shown if p.suffix.lower() in suffixes):
            return images
    raise UserError(f"{path}: no images in this folder (looked for {' '.join(sorted(PICTURES | ARRAYS))})")


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
