"""What every source of images is: a numbered list with names and labels, and a way to one image of it."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from uit_jax.data import decoding
from uit_jax.data.decoding import Unreadable
from uit_jax.errors import UserError

_log = logging.getLogger(__name__)


class Source:
    """Images of one size, numbered from 0.

    Attributes:
      spec: what it was opened from, for messages.
      size, channels: of every image, uint8 [S, S, C].
      classes: names of the classes; () where nothing is labelled.
      labels: int32 [n], indices into `classes`, -1 unknown.
      names: n texts that tell a person which image it is.
      unreadable: reasons by index, of the images found unreadable so far.
    """

    def __init__(
        self, spec: str, *, size: int, channels: int, names: Sequence[str], labels: np.ndarray, classes: tuple[str, ...]
    ):
        if channels not in (1, 3):
            raise UserError(f"data.channels is {channels}; images have 1 (gray) or 3 (RGB) channels")
        if size < 1:
            raise UserError(f"data.image_size is {size}; it must be at least 1")
        if not len(names):
            raise UserError(f"{spec}: no images found")
        self.spec, self.size, self.channels = spec, size, channels
        self.names, self.labels, self.classes = names, labels, classes
        self.unreadable: dict[int, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.names)

    def describe(self) -> str:
        """Say in one line what this source holds."""
        classes = f"{len(self.classes)} classes" if self.classes else "unlabelled"
        return f"{self.spec}: {len(self)} images, {self.size} px, {self.channels} channels, {classes}"

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8 [S, S, C]. Raises Unreadable."""
        raise NotImplementedError

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Return several images, uint8 [B, S, S, C]. Raises Unreadable."""
        return np.stack([self.image(int(i)) for i in indices])

    def mark_unreadable(self, index: int, reason: str) -> None:
        """Note an unreadable image, and warn of it once."""
        with self._lock:
            if index in self.unreadable:
                return
            self.unreadable[index] = reason
        _log.warning("unreadable image replaced by another one: %s (%s)", self.names[index], reason)


class EncodedSource(Source):
    """A source whose images are the bytes of image files."""

    def encoded(self, index: int) -> bytes:
        """Return the bytes of one image file. Raises Unreadable."""
        raise NotImplementedError

    def image(self, index: int) -> np.ndarray:
        return decoding.decode(self.encoded(index), size=self.size, channels=self.channels)


class FileSource(EncodedSource):
    """Image files on disk; a name is its path."""

    def encoded(self, index: int) -> bytes:
        try:
            return Path(self.names[index]).read_bytes()
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from None


class Numbered(Sequence):
    """The names "PREFIX#0", "PREFIX#1", ... without storing them."""

    def __init__(self, prefix: str, count: int):
        self._prefix, self._range = prefix, range(count)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index):
        return f"{self._prefix}#{self._range[index]}"


class Reader:
    """Reads images of a stream, and puts a readable one in the place of each unreadable one.

    The replacement is the next readable image of the same label, in the stream's order and around its end:
    a function of the files alone, so that it depends on neither the process, nor the order of reading.
    """

    def __init__(self, source: Source, members: np.ndarray, labels: np.ndarray, *, max_unreadable_share: float):
        self.source, self.members, self.labels = source, members, labels
        self.max_unreadable_share = max_unreadable_share

    def read(self, index: int) -> tuple[int, np.ndarray]:
        """Return an image and its index, which is the one asked for where that is readable.

        Raises UserError once more images are unreadable than the share allows.
        """
        for candidate in self._candidates(index):
            if candidate not in self.source.unreadable:
                try:
                    return candidate, self.source.image(candidate)
                except Unreadable as error:
                    self.source.mark_unreadable(candidate, str(error))
            check_unreadable(self.source, self.max_unreadable_share)
        name = self.source.names[index]
        raise UserError(f"{self.source.spec}: none of the images that could replace {name} is readable")

    def _candidates(self, index: int):
        yield index
        same = self.members[self.labels[self.members] == self.labels[index]]
        after = int(np.searchsorted(same, index, side="right"))
        yield from (int(i) for i in np.concatenate([same[after:], same[:after]]) if i != index)


def check_unreadable(source: Source, max_unreadable_share: float) -> None:
    """Raise UserError once more of a source's images are known to be unreadable than the share allows."""
    bad, total = len(source.unreadable), len(source)
    if bad > max_unreadable_share * total:
        index, reason = next(iter(source.unreadable.items()))
        raise UserError(
            f"{source.spec}: {bad} of {total} images met so far are unreadable, more than the share of "
            f"{max_unreadable_share:g} that data.max_unreadable_share allows; one is {source.names[index]} "
            f"({reason}); `uit data check` names them all"
        )


def examples(source: Source, indices: Sequence[int], *, threads: int = 4) -> np.ndarray:
    """Return images by their index, uint8 [n, S, S, C], for pictures and evaluation.

    An unreadable one is named in a warning and replaced by the next readable one of its label.
    """
    if not isinstance(source, EncodedSource):
        return source.images(indices)
    reader = Reader(source, np.arange(len(source)), source.labels, max_unreadable_share=1.0)
    with ThreadPoolExecutor(threads) as pool:
        images = [image for _, image in pool.map(reader.read, (int(i) for i in indices))]
    return np.stack(images) if images else np.zeros((0, source.size, source.size, source.channels), np.uint8)
