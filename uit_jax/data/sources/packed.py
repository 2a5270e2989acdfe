"""Packed sets: a folder with images.npy (uint8 or uint16 [n, H, W, C], memory-mapped) and meta.json; nothing to decode.

A source with splits packs into one such folder per split: OUT/train, OUT/test, or OUT/trainA and so on for a pair.
Larger images than are asked for are resized as files are; smaller ones are refused, for what they lack is in the files.
"""

import json
import math
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uit_jax.data.sources.base import Form, Source
from uit_jax.errors import UserError
from uit_jax.files import kept_here
from uit_jax.images.decode import FILTERS, WrongChannels, resize, to_channels, to_depth

ARRAY, META, FORMAT = "images.npy", "meta.json", 1
BLOCK = 256
"""Images of which one checksum is kept."""
_KINDS = {"u1": 8, "u2": 16}


class Packed(NamedTuple):
    """What the two files of a packed set say.

    Attributes:
      array: the images, memory-mapped.
      labels: int32 [n].
      names: n of them.
      classes: their names.
      checksums: CRC-32 of every `BLOCK` images; None in sets packed before there were any.
      resample: the filter that brought them to their size; None likewise.
    """

    array: np.ndarray
    labels: np.ndarray
    names: list[str]
    classes: tuple[str, ...]
    checksums: list[int] | None
    resample: str | None


class PackedSource(Source):
    """The images of one packed folder. Raises UserError where they are smaller than the form asks for."""

    def __init__(self, folder: Path, form: Form):
        found = _read(folder)
        super().__init__(str(folder), form, names=found.names, labels=found.labels, classes=found.classes)
        self._array, self._checksums, self._path = found.array, found.checksums, folder / ARRAY
        self._rows, (height, width, stored) = np.arange(len(self)), found.array.shape[1:]
        if form.size > min(height, width):
            own = f"{height}" if height == width else f"{width} x {height}"
            raise UserError(
                f"{folder}: is packed at {own} px, and {form.size} are asked for (by method.load_size where there is"
                f" one, else by data.image_size): pack with --size {form.size}, or ask for less"
            )
        if stored != form.channels and {stored, form.channels} != {1, 3}:
            raise UserError(f"{folder}: {WrongChannels(stored, form.channels)}; set {form.channels_key}={stored}")
        self.shape = (form.size or height, form.size or width, form.channels)
        self.packed_by = found.resample

    def images(self, indices: Sequence[int]) -> np.ndarray:
        stored = self._array[self._rows[np.asarray(indices, np.int64)]]
        found, shape = to_channels(to_depth(stored, self.form.depth), self.channels), (len(stored), *self.shape)
        if found.shape == shape:
            return found
        return np.array([resize(image, shape[1:3], self.form.resample) for image in found], found.dtype).reshape(shape)

    def damage(self) -> list[str]:
        found = []
        for index, checksum in enumerate(self._checksums or ()):
            block = self._array[index * BLOCK : (index + 1) * BLOCK]
            if zlib.crc32(block.data) != checksum:
                first = index * BLOCK
                rows = f"{first} to {first + len(block) - 1}"
                found.append(f"{self._path}: images {rows} are not as they were packed; pack the set again")
        return found

    def _choose(self, indices: np.ndarray) -> None:
        self._rows = self._rows[indices]


def checksum_of_list(labels: Sequence[int], names: Sequence[str], classes: Sequence[str]) -> int:
    """Return the CRC-32 of what is said of the images."""
    return zlib.crc32(json.dumps([list(labels), list(names), list(classes)]).encode())


def is_packed(folder: Path) -> bool:
    """Tell whether a folder is a packed set. Raises UserError where it is what is left of one."""
    if not (folder / ARRAY).is_file():
        return False
    if not (folder / META).is_file():
        raise UserError(f"{folder}: has {ARRAY} of a packed set and no {META}; pack the set again")
    return True


def packed_form(folder: Path) -> Form:
    """Return how a packed set opens as it is stored. Raises UserError."""
    array = _read(folder).array
    return Form(0, array.shape[-1], array.dtype.itemsize * 8)


def _read(folder: Path) -> Packed:
    """Read and check the two files, of the array only its beginning and its length. Raises UserError."""
    meta = _meta(folder / META)
    shape = (len(meta["names"]), *_shape(meta))
    array = _array(folder / ARRAY, shape)
    return Packed(
        array,
        np.array(meta["labels"], np.int32),
        meta["names"],
        tuple(meta["classes"]),
        meta.get("checksums"),
        meta.get("resample"),
    )


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Map an array of which everything but the kind of its numbers is known. Raises UserError."""
    try:
        here = kept_here(path)
        with open(here, "rb") as file, warnings.catch_warnings(action="ignore"):
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("not as it is written here")
            stored, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            offset, length = file.tell(), os.fstat(file.fileno()).st_size
        if dtype not in (np.uint8, np.uint16) or by_columns or stored != shape:
            raise ValueError(f"{dtype} {list(stored)}, and {META} has {list(shape)}")
        if length != offset + math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{length} bytes, not {offset + math.prod(shape) * dtype.itemsize}")
        return np.memmap(here, dtype, "r", offset, shape)
    # Its header is a Python literal, which fails in many ways.
    except Exception as error:
        raise UserError(f"{path}: not readable ({_reason(error)}); pack the set again") from None


def _shape(meta: dict[str, Any]) -> tuple[int, int, int]:
    size = meta["size"]  # a side, or height and width
    return (*(size if isinstance(size, list) else (size, size)), meta["channels"])


def _meta(path: Path) -> dict[str, Any]:
    """Read what is said of the images, every value of its type and in its range. Raises UserError."""
    try:
        meta = json.loads(path.read_bytes())
        _check(meta)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable ({_reason(error)}); pack the set again") from None
    return meta


def _check(meta: Any) -> None:
    """Raise a ValueError that says what is wrong."""
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    needed = {"format", "size", "channels", "classes", "labels", "names"}
    if not needed <= meta.keys() <= needed | {"checksums", "checksum", "resample"}:
        raise ValueError("it lacks something, or has more than is known")
    classes, labels, names = (meta[key] for key in ("classes", "labels", "names"))
    sides = meta["size"] if isinstance(meta["size"], list) else [meta["size"]] * 2
    wrong = {
        "size": len(sides) != 2 or not _whole(sides, 1, 2**31),
        "channels": not _whole([meta["channels"]], 1, 2**31),
        "classes": not _texts(classes),
        "names": not _texts(names) or not names,
        "resample": meta.get("resample", "bilinear") not in [*FILTERS],
    }
    wrong["labels"] = not wrong["classes"] and not _whole(labels, -1, max(1, len(classes)))
    if bad := [key for key, is_wrong in wrong.items() if is_wrong]:
        raise ValueError(f"its {bad[0]} cannot be so")
    if len(labels) != len(names):
        raise ValueError(f"{len(labels)} labels of {len(names)} names")
    if "checksums" in meta or "checksum" in meta:
        found = meta.get("checksums")
        if not _whole(found, 0, 2**32) or len(found) != -(-len(names) // BLOCK):
            raise ValueError("its checksums cannot be so")
        if meta.get("checksum") != checksum_of_list(labels, names, classes):
            raise ValueError("labels, names and classes are not as they were packed")


def _whole(values: Any, low: int, high: int) -> bool:
    """Tell whether these are whole numbers from `low` to below `high`, in a list."""
    return isinstance(values, list) and all(type(value) is int and low <= value < high for value in values)


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
