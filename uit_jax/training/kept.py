"""All images of a run on its devices, decoded once, where batches look them up by their indices."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax import lax
from jax.sharding import Sharding

from uit_jax.data import Sources, Unreadable
from uit_jax.data.reading import check_unreadable
from uit_jax.data.sources.base import EncodedSource, Source

_BLOCK = 2**25
"""Bytes of the images that are read and put on the devices at once."""


class Kept:
    """The images of the sides that batches are drawn from, put on the devices while training has begun already.

    Attributes:
      count, longest: how many images there are, and how many of the side that has most.
      bytes: of all of them on one device.
      plain: whether none of them has to be decoded.
      seconds: that it took until all were there.
    """

    def __init__(
        self, sources: Sources, members: Mapping[str, np.ndarray], whole: Sharding, *, max_unreadable_share: float
    ):
        """Remember what to keep; nothing is read yet.

        Args:
          members: of each side, the indices of the images that are ever drawn, ascending.
          whole: how they are laid out: whole on each device.
        """
        self._sources, self._members, self._whole = sources, members, whole
        self._max_unreadable_share = max_unreadable_share
        self.count = sum(map(len, members.values()))
        self.longest = max(map(len, members.values()))
        self.bytes = sum(len(members[name]) * _bytes(source) for name, source in sources.items())
        self.plain = not any(isinstance(source, EncodedSource) for source in sources.values())
        self._images: dict[str, jax.Array] = {}
        self._stop, self._error = threading.Event(), None
        self._thread: threading.Thread | None = None
        self.seconds = 0.0

    def begin(self) -> None:
        """Begin to read the images in the background. Raises what JAX does where there is no room for them."""
        zeros = jax.jit(_zeros, static_argnums=(0, 1), out_shardings=self._whole)
        for name, source in self._sources.items():
            self._images[name] = zeros((len(self._members[name]), *source.shape), source.dtype)
        jax.block_until_ready(self._images)
        self._thread = threading.Thread(target=self._work, name="kept", daemon=True)
        self._thread.start()

    def images(self, wait: bool = False) -> dict[str, jax.Array] | None:
        """Return the images of each side, [m, H, W, C] in the order of its members; None until all are there.

        Raises UserError once too many are unreadable. What stands in the place of an unreadable one means nothing.
        """
        if self._thread is None or (self._thread.is_alive() and not wait):
            return None
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._images

    def places(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn indices of the sources into places among the images that are kept."""
        found = {name: np.searchsorted(members, rows[name]) for name, members in self._members.items()}
        return {**rows, **{name: each.astype(np.int32) for name, each in found.items()}}

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        began = time.monotonic()
        try:
            for name, source in self._sources.items():
                for first, images in self._blocks(source, self._members[name]):
                    if self._stop.is_set():
                        return
                    block = jax.device_put(images, self._whole)
                    # One at a time, or there would be many more of them than the images have room for.
                    self._images[name] = _write(self._images[name], block, first).block_until_ready()
            self.seconds = time.monotonic() - began
        except BaseException as error:  # whatever it is, who trains shall see it
            self._error = error

    def _blocks(self, source: Source, members: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield some images at a time, and the place of the first one."""
        size = max(1, _BLOCK // _bytes(source))
        with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
            for first in range(0, len(members), size):
                rows = members[first : first + size]
                if isinstance(source, EncodedSource):
                    yield first, np.stack(list(pool.map(lambda index: self._image(source, int(index)), rows)))
                else:
                    yield first, source.images(rows)

    def _image(self, source: EncodedSource, index: int) -> np.ndarray:
        """Return an image, zeros for an unreadable one. Raises UserError once there are too many of these."""
        if not self._stop.is_set() and index not in source.unreadable:
            try:
                return source.image(index)
            except Unreadable as error:
                source.mark_unreadable(index, str(error))
        check_unreadable(source, self._max_unreadable_share)
        return np.zeros(source.shape, source.dtype)


def _bytes(source: Source) -> int:
    return int(np.prod(source.shape)) * source.dtype.itemsize


def _zeros(shape, dtype):
    return jax.numpy.zeros(shape, dtype)


def _into(images: jax.Array, block: jax.Array, first: int) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(images, block, first, 0)


_write = jax.jit(_into, donate_argnums=0)
