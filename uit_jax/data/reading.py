"""Reading images of a source past those that are unreadable."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from uit_jax.data.sources.base import EncodedSource, Source
from uit_jax.errors import UserError, shown
from uit_jax.images.decode import Unreadable


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
        raise self._irreplaceable(index)

    def batch(self, rows: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return images that are those of the indices [B] with what stands beside them."""
        return {"image": images, "label": self.labels[rows], "number": rows.astype(np.int32)}

    def known(self, indices: np.ndarray) -> np.ndarray:
        """Return which images are read for those of some indices, int64 [B], once all unreadable ones are known.

        Raises UserError where none is readable that could be.
        """
        bad = self.source.unreadable
        return np.array([self._known(int(i)) if i in bad else i for i in indices], np.int64) if bad else indices

    def _known(self, index: int) -> int:
        found = next((each for each in self._candidates(index) if each not in self.source.unreadable), None)
        if found is None:
            raise self._irreplaceable(index)
        return found

    def _irreplaceable(self, index: int) -> UserError:
        name = shown(self.source.names[index])
        return UserError(f"{self.source.spec}: none of the images that could replace {name} is readable")

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
            f"{max_unreadable_share:g} that data.max_unreadable_share allows; one is {shown(source.names[index])} "
            f"({reason}); `uit data check` names them all"
        )


def examples(source: Source, indices: Sequence[int], *, threads: int = 4) -> np.ndarray:
    """Return images by their index, uint8 or uint16 [n, H, W, C], for pictures and evaluation.

    An unreadable one is named in a warning and replaced by the next readable one of its label.
    """
    if not isinstance(source, EncodedSource):
        return source.images(indices)
    reader = Reader(source, np.arange(len(source)), source.labels, max_unreadable_share=1.0)
    with ThreadPoolExecutor(threads) as pool:
        images = [image for _, image in pool.map(reader.read, (int(i) for i in indices))]
    return np.stack(images) if images else np.zeros((0, *source.shape), source.dtype)
