"""Files of torch, read and written without it.

Torch keeps the program and the numbers of each storage as members of a zip file; before version 1.6 the programs stood
one after the other, with the numbers behind them. What a program may do, `pickles` says.
"""

import io
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from uit_jax.errors import UserError
from uit_jax.tensors.pickles import STORAGES, TYPES, Machine, Named, check_whole, listed, plain_keys

_OTHER_ORDER = "was saved on a machine whose numbers begin with their last bytes: save it on another one"
_MAGIC = 0x1950A86A20F9469CFC6C


def read(path: Path) -> Any:
    """Read what torch saved; tensors are arrays.

    Raises:
      UserError: it holds more than data.
      Exception: of any kind, where it is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zip(archive)
    with path.open("rb") as file:
        return _read_old(file, path.stat().st_size)


def _read_zip(archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    programs = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if len(programs) != 1:
        raise UserError("is a zip file, but not of torch's: save the state_dict by torch.save")
    root = programs[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise UserError("is a program of TorchScript, not tensors: save the state_dict alone")
    if f"{root}byteorder" in names and _member(archive, f"{root}byteorder") != b"little":
        raise UserError(_OTHER_ORDER)
    found: dict[str, bytes] = {}

    def storage(told: tuple) -> np.ndarray:
        kind, key, count, _ = _storage_told(told)
        if key not in found:
            found[key] = _member(archive, f"{root}data/{key}")
        if len(found[key]) < count * kind.itemsize:
            raise ValueError(f"storage {key} is cut off")
        return np.frombuffer(found[key], kind, count) if count else np.zeros(0, kind)

    return Machine(io.BytesIO(_member(archive, programs[0])), storage).run()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return what a member holds, and unpack no more of it than the file says that it is."""
    with archive.open(name) as file:
        return file.read(archive.getinfo(name).file_size)


def _read_old(file: BinaryIO, size: int) -> Any:
    """Read a file of before version 1.6, of `size` bytes: the numbers of its storages come last."""
    found: dict[str, np.ndarray] = {}
    left = size

    def storage(told: tuple) -> np.ndarray:
        nonlocal left
        kind, key, count, view = _storage_told(told)
        if key not in found:
            left -= count * kind.itemsize
            if left < 0:
                raise ValueError(f"storage {key} lies outside the file")
            found[key] = np.zeros(count, kind)
        if view is None:
            return found[key]
        _, offset, length = view
        check_whole(offset, length)
        return found[key][offset : offset + length]

    machine = Machine(file, storage)
    magic = machine.run()
    if not isinstance(magic, int) or magic != _MAGIC:
        raise UserError("is a pickle, but not of torch's: save the state_dict by torch.save")
    _, system = machine.run(), machine.run()
    if not system["little_endian"]:
        raise UserError(_OTHER_ORDER)
    made, keys = machine.run(), machine.run()
    for key in plain_keys(listed(keys)):
        count = int.from_bytes(file.read(8), "little")
        if count != len(found[key]):
            raise ValueError(f"storage {key} has another length than its tensors say")
        found[key][:] = np.frombuffer(file.read(found[key].nbytes), found[key].dtype) if count else []
    if missing := found.keys() - set(keys):
        raise ValueError(f"storage {min(missing)} is missing")
    return made


def _storage_told(told: tuple) -> tuple[np.dtype, str, int, tuple | None]:
    """Return kind, key, count and, of old files, the view that a program says of a storage. Raises ValueError."""
    if not isinstance(told, tuple) or len(told) < 5 or told[0] != "storage" or not isinstance(told[1], Named):
        raise ValueError("it refers to what is no storage")
    _, kind, key, _, count, *view = told
    check_whole(count)
    if kind.name not in TYPES or not isinstance(key, str):
        raise ValueError(f"there is no storage of {kind.name}")
    return np.dtype(TYPES[kind.name]), key, count, view[0] if view else None


# --- the way back ---


def write(path: Path, values: Mapping) -> None:
    """Write nested dicts of arrays, numbers and texts as a zip file that `torch.load(weights_only=True)` reads.

    Raises:
      UserError: torch has no tensors of an array's kind.
    """
    storages: list[np.ndarray] = []
    program = pickle.PROTO + b"\2" + _program(values, storages) + pickle.STOP
    with zipfile.ZipFile(path, "w") as archive:
        members = {"data.pkl": program, "byteorder": b"little", "version": b"3\n"}
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        for key, storage in enumerate(storages):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}"), storage.tobytes())


def _program(value: Any, storages: list[np.ndarray]) -> bytes:
    """Return the instructions that make a value; the numbers of its tensors are added to `storages`."""

    def several(values: Iterable) -> bytes:
        return b"".join(_program(each, storages) for each in values)

    match value:
        case Mapping():
            inner = several(each for pair in value.items() for each in pair)
            return pickle.EMPTY_DICT + pickle.MARK + inner + pickle.SETITEMS
        case tuple():
            return pickle.MARK + several(value) + pickle.TUPLE
        case str():
            text = value.encode()
            return pickle.BINUNICODE + len(text).to_bytes(4, "little") + text
        case bool():
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        case int():
            number = pickle.encode_long(value)
            return pickle.LONG1 + bytes([len(number)]) + number
    value = np.asarray(value)
    names = {np.dtype(kind): name for name, kind in STORAGES.items()}
    if value.dtype not in names:
        raise UserError(f"torch has no tensors of {value.dtype}: convert them to float32")
    storages.append(value)
    place = pickle.MARK + several(["storage"]) + _global("torch", names[value.dtype])
    place += several([str(len(storages) - 1), "cpu", value.size]) + pickle.TUPLE + pickle.BINPERSID
    steps = np.cumprod([1, *value.shape[:0:-1]])[::-1] if value.ndim else []
    looks = several([0, value.shape, tuple(map(int, steps)), False])
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    function = _global("torch._utils", "_rebuild_tensor_v2")
    return function + pickle.MARK + place + looks + hooks + pickle.TUPLE + pickle.REDUCE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()
