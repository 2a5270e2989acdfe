"""Several sources as one, whose classes tell from which of them an image is: of a pair's domains, "A" and "B"."""

from collections.abc import Mapping, Sequence

import numpy as np

from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError


class Joined(Source):
    """The images of all sources, one source's behind the other's; its own labels an image loses.

    Raises UserError where the sources' images differ in shape or bits.
    """

    def __init__(self, sources: Mapping[str, Source]):
        self._sources = list(sources.values())
        first = self._sources[0]
        for each in self._sources:
            if (each.shape, each.dtype) != (first.shape, first.dtype):
                raise UserError(
                    f"{each.spec} has images of {each.shape} and {each.dtype}, but {first.spec} has {first.shape} and"
                    f" {first.dtype}: these cannot be read as one"
                )
        counts = [len(each) for each in self._sources]
        self._starts = np.cumsum([0, *counts])
        super().__init__(
            " and ".join(each.spec for each in self._sources),
            first.form,
            names=[name for each in self._sources for name in each.names],
            labels=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            classes=tuple(sources),
        )
        self.shape, self.dtype = first.shape, first.dtype

    def images(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([self.image(int(index)) for index in indices])

    def image(self, index: int) -> np.ndarray:
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._sources[place].image(index - int(self._starts[place]))
