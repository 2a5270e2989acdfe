"""Packed sets: a folder with images.npy (uint8 or uint16 [n, H, W, C], memory-mapped) and meta.json; nothing to decode.

A source with splits packs into one such folder per split: OUT/train, OUT/test, or OUT/trainA and so on for a pair.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.data.sources.base import Form, Source
from uit_jax.errors import UserError
from uit_jax.files import kept_here
from uit_jax.images.decode import WrongChannels, to_channels, to_depth

ARRAY, META, FORMAT = "images.npy", "meta.json", 1


class PackedSource(Source):
    """The images of one packed folder."""

    def __init__(self, folder: Path, form: Form):
        meta = _meta(folder)
        labels, names, classes = np.array(meta["labels"], np.int32), meta["names"], tuple(meta["classes"])
        self._array = _array(folder)
        shape = self._array.shape
        consistent = self._array.dtype in (np.uint8, np.uint16) and shape[1:] == _shape(meta)
        if not consistent or not (len(labels) == len(names) == shape[0]):
            raise UserError(f"{folder}: {META} and {ARRAY} do not belong together; pack the set again")
        if len(labels) and not -1 <= labels.min() <= labels.max() < max(1, len(classes)):
            raise UserError(f"{folder}: {META} has labels outside its classes; pack the set again")
        super().__init__(str(folder), form, names=names, labels=labels, classes=classes)
        self._rows, (height, width, stored) = np.arange(len(self)), shape[1:]
        if form.size and not form.size == height == width:
            own = f"{height}" if height == width else f"{width} x {height}"
            advice = f"set data.image_size={height} (or method.load_size), or " if height == width else ""
            raise UserError(f"{folder}: is packed at {own} px; {advice}pack with --size {form.size}")
        if stored != form.channels and {stored, form.channels} != {1, 3}:
            raise UserError(f"{folder}: {WrongChannels(stored, form.channels)}; set {form.channels_key}={stored}")
        self.shape = (height, width, form.channels)

    def images(self, indices: Sequence[int]) -> np.ndarray:
        stored = self._array[self._rows[np.asarray(indices, np.int64)]]
        return to_channels(to_depth(stored, self.form.depth), self.channels)

    def _choose(self, indices: np.ndarray) -> None:
        self._rows = self._rows[indices]


def is_packed(folder: Path) -> bool:
    """Tell whether a folder is a packed set."""
    return (folder / ARRAY).is_file() and (folder / META).is_file()


def packed_form(folder: Path) -> Form:
    """Return how a packed set opens as it is stored. Raises UserError."""
    return Form(0, _shape(_meta(folder))[-1], _array(folder).dtype.itemsize * 8)


def _array(folder: Path) -> np.ndarray:
    try:
        return np.load(kept_here(folder / ARRAY), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / ARRAY}: not readable ({error}); pack the set again") from None


def _shape(meta: dict[str, Any]) -> tuple[int, int, int]:
    size = meta["size"]  # a side, or height and width
    return (*(map(int, size) if isinstance(size, list) else (int(size), int(size))), int(meta["channels"]))


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text())
        missing = {"format", "size", "channels", "classes", "labels", "names"} - set(meta)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / META}: not readable ({error}); pack the set again") from None
    if missing or meta["format"] != FORMAT:
        raise UserError(f"{folder / META}: not of format {FORMAT}; pack the set again")
    return meta
