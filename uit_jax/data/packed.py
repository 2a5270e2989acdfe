"""Packed sets: a folder with images.npy (uint8 [n, S, S, C], memory-mapped) and meta.json; no TensorFlow, no decoding.

A source with splits packs into one such folder per split: OUT/train, OUT/test.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.data.decoding import to_channels
from uit_jax.data.sources import Source
from uit_jax.errors import UserError

ARRAY, META, FORMAT = "images.npy", "meta.json", 1


class PackedSource(Source):
    """The images of one packed folder."""

    def __init__(self, folder: Path, *, size: int, channels: int):
        meta = _meta(folder)
        labels, names, classes = np.array(meta["labels"], np.int32), meta["names"], tuple(meta["classes"])
        try:
            self._array = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / ARRAY}: not readable ({error}); pack the set again") from None
        shape = self._array.shape
        consistent = self._array.dtype == np.uint8 and len(shape) == 4 and shape[1] == shape[2] and shape[3] in (1, 3)
        if not consistent or not (len(labels) == len(names) == shape[0]):
            raise UserError(f"{folder}: {META} and {ARRAY} do not belong together; pack the set again")
        if len(labels) and not -1 <= labels.min() <= labels.max() < max(1, len(classes)):
            raise UserError(f"{folder}: {META} has labels outside its classes; pack the set again")
        if shape[1] != size:
            raise UserError(
                f"{folder}: is packed at {shape[1]} px; set data.image_size={shape[1]} or pack with --size {size}"
            )
        super().__init__(str(folder), size=size, channels=channels, names=names, labels=labels, classes=classes)

    def image(self, index: int) -> np.ndarray:
        return self.images([index])[0]

    def images(self, indices: Sequence[int]) -> np.ndarray:
        return to_channels(self._array[np.asarray(indices, np.int64)], self.channels)


def is_packed(folder: Path) -> bool:
    """Tell whether a folder is a packed set."""
    return (folder / ARRAY).is_file() and (folder / META).is_file()


def packed_shape(folder: Path) -> tuple[int, int]:
    """Return (size, channels) of a packed set. Raises UserError."""
    meta = _meta(folder)
    return int(meta["size"]), int(meta["channels"])


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / META).read_text())
        missing = {"format", "size", "channels", "classes", "labels", "names"} - set(meta)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / META}: not readable ({error}); pack the set again") from None
    if missing or meta["format"] != FORMAT:
        raise UserError(f"{folder / META}: not of format {FORMAT}; pack the set again")
    return meta
