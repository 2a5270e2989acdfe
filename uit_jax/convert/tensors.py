"""Files of named tensors, read and written: .pth, .pt, .npz, .safetensors.

Tensors travel as flat dicts of numpy arrays; nested names are joined by dots.
"""

import functools
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uit_jax import files
from uit_jax.errors import UserError
from uit_jax.paths import PathLike, as_path, on_disk

_LARGEST = 2**35  # bytes

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

    Nothing in a file is ever run.

    Raises:
      UserError: the file is missing, damaged or of another kind, or torch is missing.
    """
    path = as_path(path)
    reader = _choose(READERS, path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with on_disk(path) as file:
            _check_size(file)
            return reader(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        # Each format fails with its own exceptions (zip, pickle, json, struct); to a user they mean one thing.
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: cannot be read as a {path.suffix} file ({why}): copy or export it again") from error


def _check_size(path: Path) -> None:
    """Raise a UserError where a zip file, as .npz and .pth are, unpacks to more than any network is."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            unpacked = sum(each.file_size for each in file.infolist())
        if unpacked > _LARGEST:
            raise UserError(f"unpacks to {unpacked / 1e9:.0f} GB; networks have {_LARGEST / 1e9:.0f} at most")


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
            try:
                flat[f"{prefix}{name}"] = np.asarray(value.detach() if hasattr(value, "detach") else value)
            # Of torch's types numpy does not have all.
            except (TypeError, RuntimeError) as error:
                kind = getattr(value, "dtype", type(value).__name__)
                raise UserError(f"{prefix}{name} holds {kind}, not what numpy can: convert it to float32") from error
    return flat


def _choose(table: Mapping, path: Path):
    if path.suffix not in table:
        raise UserError(f"{path}: the name must end in {', '.join(table)}")
    return table[path.suffix]


def _torch(path: Path):
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path.suffix} files need torch; pip install torch, or convert to .npz") from error
    return torch


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        # weights_only: a checkpoint is data, and loading it must not run code.
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch goes on to say how to load it all the same; of its words the name alone is kept.
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"objects of {named[1]}" if named else "other objects, or is damaged"
        raise UserError(
            f"holds {what}, not tensors alone: it is not read, for such a file can run code; save the state_dict alone"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UserError(f"holds one {type(loaded).__name__}, not tensors by their names: save a state_dict")
    return flatten(loaded)


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
            raise UserError(f"{name} is of type {entry['dtype']}; known: {', '.join(SAFETENSORS_TYPES)}")
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(data) - start or min(entry["shape"], default=0) < 0:
            raise ValueError(f"{name} lies outside the file")
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
