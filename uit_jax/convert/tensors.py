"""Files of named tensors, read and written: .pth, .pt, .npz, .safetensors.

Tensors travel as flat dicts of numpy arrays; nested names are joined by dots.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uit_jax import files
from uit_jax.errors import UserError
from uit_jax.paths import PathLike, as_path, on_disk

SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a .pth, .pt (needs torch), .npz or .safetensors file; what is not a tensor is left out.

    Raises:
      UserError: the file is missing, damaged or of another kind, or torch is.
    """
    path = as_path(path)
    reader = _choose(READERS, path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with on_disk(path) as file:
            return reader(file)
    except UserError:
        raise
    except Exception as error:
        # Each format fails with its own exceptions (zip, pickle, json, struct); to a user they mean one thing.
        raise UserError(f"{path}: cannot be read as a {path.suffix} file ({error}): copy or export it again") from error


def write(path: PathLike, tensors: Mapping) -> None:
    """Write tensors, a flat or nested dict of arrays, to a .pth, .pt (needs torch), .npz or .safetensors file.

    The file appears whole or not at all. Only torch's files keep the nesting.

    Raises:
      UserError: another kind of file, torch is missing, or the place cannot be written.
    """
    path = as_path(path)
    files.write_whole(path, functools.partial(_choose(WRITERS, path), tensors))


def flatten(tensors: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    """Join the names of nested dicts by dots and keep what numpy holds as numbers."""
    flat = {}
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif hasattr(value, "shape"):
            flat[f"{prefix}{name}"] = np.asarray(value)
    return flat


def _choose(table: Mapping, path: Path):
    if path.suffix not in table:
        raise UserError(f"{path}: the name must end in {', '.join(table)}")
    return table[path.suffix]


def _torch(path: Path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path}: {path.suffix} files need torch; pip install torch, or convert to .npz") from error
    return torch


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    # weights_only: a checkpoint is data, and loading it must not run code.
    return flatten(_torch(path).load(path, map_location="cpu", weights_only=True))


def _write_torch(tensors: Mapping, path: Path) -> None:
    torch = _torch(path)

    def convert(value):
        if isinstance(value, Mapping):
            return {name: convert(entry) for name, entry in value.items()}
        return torch.from_numpy(np.array(value))

    torch.save(convert(tensors), path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _write_npz(tensors: Mapping, path: Path) -> None:
    np.savez(path, **flatten(tensors))


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise UserError(f"{path}: {name} is of type {entry['dtype']}; known: {', '.join(SAFETENSORS_TYPES)}")
        first, last = entry["data_offsets"]
        values = np.frombuffer(data[start + first : start + last], SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def _write_safetensors(tensors: Mapping, path: Path) -> None:
    names = {np.dtype(kind): name for name, kind in SAFETENSORS_TYPES.items()}
    header, chunks, offset = {}, [], 0
    for name, value in flatten(tensors).items():
        chunk = value.tobytes()
        span = [offset, offset + len(chunk)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": span}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *chunks]))


READERS = {".pth": _read_torch, ".pt": _read_torch, ".npz": _read_npz, ".safetensors": _read_safetensors}
WRITERS = {".pth": _write_torch, ".pt": _write_torch, ".npz": _write_npz, ".safetensors": _write_safetensors}
