"""Files of the user's: writing one whole or not at all, finding images, and picking some of many."""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from uit_jax.errors import UserError
from uit_jax.paths import PathLike, as_path, is_remote

# The endings of the formats that `images.opening` opens, and of no others.
PICTURES = frozenset(
    ".jpg .jpeg .jfif .jpe .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .jp2 .avif".split()
)
ARRAYS = frozenset({".npy"})

Item = TypeVar("Item")

_log = logging.getLogger(__name__)


def shown(name: str | os.PathLike) -> str:
    """Return a name as it may be printed: what is not text on a line (newlines, escapes, surrogates) by backslashes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


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
        partial = path.with_name(f".partial_{path.name}")
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


def find_images(path: PathLike) -> list[Path]:
    """Return a file itself, or a folder's images, those of its subfolders included, sorted.

    Raises:
      UserError: there is no such path, or no image in it.
    """
    path = as_path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    files = path.files() if is_remote(path) else [p for p in path.rglob("*") if p.is_file()]
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
