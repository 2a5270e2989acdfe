"""Where a verb's results go: checked before any work, written whole or not at all."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from uit_jax.errors import UserError
from uit_jax.images import encode as encoding


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


def picture_path(option: str, name: str | os.PathLike) -> Path:
    """Return the path of a picture to write. Raises UserError where its name is that of none."""
    path = Path(name)
    if not encoding.holds(path.suffix, 3, 8) or path.suffix.lower() == ".npy" or path.is_dir():
        raise UserError(f"{option}={path}: give the name of a picture, such as {path}.png")
    return path


def json_path(option: str, name: str | os.PathLike) -> Path:
    """Return the path of a JSON file to write. Raises UserError where it is a folder's."""
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{option}={path} is a folder; give the name of a .json file")
    return path


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file whole or not at all. Raises UserError."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value, indent=2) + "\n")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
