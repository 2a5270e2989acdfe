"""Files of named tensors, read and written: .pth, .pt and .ckpt of torch, .npz, .safetensors.

Tensors travel as flat dicts of numpy arrays; nested names are joined by dots.
"""

import functools
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from uit_jax import files
from uit_jax.errors import UserError
from uit_jax.paths import PathLike, as_path, on_disk
from uit_jax.tensors import torch_files

_LARGEST = 2**35  # bytes
_SHARED = 64  # how often each byte of a file may be used
_MOST = 2**20  # names in a file
_LONGEST = 2**28  # characters of all of them

SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a .pth, .pt, .ckpt, .npz or .safetensors file; what is not a tensor is left out.

    Nothing in a file is ever run, and torch is not needed. Tensors of bfloat16, or of 8 bits, become float32.

    Raises:
      UserError: the file is missing, damaged or of another kind, or holds more than tensors in plain containers.
    """
    path = as_path(path)
    reader = _choose(READERS, path)
    if not path.is_file():
        raise UserError(f"{path}: {'is no file: name one' if path.exists() else 'no such file'}")
    try:
        with on_disk(path) as file:
            unpacked = _unpacked(file)
            _check_largest(unpacked)
            found = reader(file)
            size = sum(value.nbytes for value in found.values())
            _check_largest(size)
            if size > _SHARED * unpacked:
                raise UserError(f"holds {size} bytes of tensors in {unpacked}: save copies of those that are expanded")
            return {name: _plain(value) for name, value in found.items()}
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        # Each format fails with its own exceptions (zip, pickle, json, struct); to a user they mean one thing.
        why = "it is cut off" if _is_cut_off(path) else " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: cannot be read as a {path.suffix} file ({why}): copy or export it again") from error


def _is_cut_off(path: Path) -> bool:
    """Say whether a file is empty, or begins as a zip file and does not end as one."""
    with path.open("rb") as file:
        return file.read(2) in (b"", b"PK") and not zipfile.is_zipfile(path)


def _unpacked(path: Path) -> int:
    """Return how many bytes there are in a file, or in a zip file, as .npz and .pth are, when it is unpacked.

    Raises:
      UserError: it is packed in a way of which that is not known before.
    """
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
    if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
        raise UserError("is packed as neither torch nor numpy does it: save it again")
    return sum(each.file_size for each in members)


def _check_largest(unpacked: int) -> None:
    if unpacked > _LARGEST:
        raise UserError(f"unpacks to {unpacked / 1e9:.0f} GB; networks have {_LARGEST / 1e9:.0f} at most")


def write(path: PathLike, tensors: Mapping) -> None:
    """Write tensors, a flat or nested dict of arrays, to a .pth, .pt, .ckpt, .npz or .safetensors file.

    The file appears whole or not at all. Only torch's files keep the nesting, and numbers and texts beside the arrays.

    Raises:
      UserError: another kind of file, or the place cannot be written.
    """
    path = as_path(path)
    files.write_whole(path, functools.partial(_choose(WRITERS, path), tensors))


def flatten(tensors: Mapping) -> dict[str, np.ndarray]:
    """Join the names of nested dicts by dots and keep what numpy holds as numbers.

    Raises:
      UserError: there are very many names, very long ones, or dicts in dicts without an end.
    """
    found, count, length = {}, 0, 0
    try:
        for name, value in _entries(tensors):
            count, length = count + 1, length + len(name)
            if count > _MOST or length > _LONGEST:
                raise UserError(f"holds more than {_MOST} names, or very long ones, which no network has")
            if hasattr(value, "shape"):
                found[name] = np.asarray(value)
    except RecursionError:
        raise UserError("holds dicts in dicts without an end, which no checkpoint does") from None
    return found


def _entries(tensors: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every name with what lies there, that of nested dicts too."""
    for name, value in tensors.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{name}.")


def _plain(value: np.ndarray) -> np.ndarray:
    """Return numbers in this machine's order of bytes; those of a kind that numpy has not itself as float32."""
    if value.dtype.name.startswith(("bfloat", "float8")):
        return value.astype(np.float32)
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def _choose(table: Mapping, path: Path):
    if path.suffix not in table:
        raise UserError(f"{path}: the name must end in {', '.join(table)}")
    return table[path.suffix]


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    loaded = torch_files.read(path)
    if not isinstance(loaded, Mapping):
        raise UserError(f"holds one {type(loaded).__name__}, not tensors by their names: save a state_dict")
    return flatten(loaded)


def _write_torch(tensors: Mapping, path: Path) -> None:
    torch_files.write(path, tensors)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path) and not _is_cut_off(path):
        raise UserError("is no .npz file: save it by numpy.savez")
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    if others := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
        raise UserError(f"{others[0]} in it is no array: save it by numpy.savez")
    return found


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
        values = np.frombuffer(memoryview(data)[start + first : start + last], SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def _write_safetensors(tensors: Mapping, path: Path) -> None:
    names = {np.dtype(kind): name for name, kind in SAFETENSORS_TYPES.items()}
    header, chunks, offset = {}, [], 0
    for name, value in flatten(tensors).items():
        if value.dtype not in names:
            raise UserError(f"{name}: safetensors has no tensors of {value.dtype}: convert them to float32")
        chunk = value.tobytes()
        span = [offset, offset + len(chunk)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": span}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *chunks]))


TORCH = (".pth", ".pt", ".ckpt")
READERS = {**dict.fromkeys(TORCH, _read_torch), ".npz": _read_npz, ".safetensors": _read_safetensors}
WRITERS = {**dict.fromkeys(TORCH, _write_torch), ".npz": _write_npz, ".safetensors": _write_safetensors}
