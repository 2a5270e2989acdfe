"""The batches of all of a method's sides."""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from uit_jax.data.batches import Batches, HostBatch, batches
from uit_jax.data.order import ALL
from uit_jax.data.sides import Sources
from uit_jax.method import Stream


class SideBatches(contextlib.AbstractContextManager):
    """The batches of all sides, by step: `batch(step)` is a pure function of (seed, step, row). Close it after use.

    `pipelines` tells what reads each side: "tf.data" or "threads".
    """

    def __init__(self, sides: Mapping[str, Batches], beside: Mapping[str, Collection[str]]):
        self._sides, self._beside = sides, beside

    @property
    def pipelines(self) -> tuple[str, ...]:
        return tuple(side.pipeline for side in self._sides.values())

    def batch(self, step: int) -> HostBatch:
        """Return this process's rows: by the name of each side uint8 or uint16 [B_local, H, W, C], of its own H, W, C.

        Beside them, int32 [B_local], are "label", -1 unknown, and "number" of the sides that are to have them.
        Raises UserError once too many images are unreadable.
        """
        return self._joined({name: side.batch(step) for name, side in self._sides.items()})

    def rows(self, step: int) -> HostBatch:
        """Return `batch(step)` with the indices of images, int32 [B_local], in their place; nothing is read.

        All of the sources' unreadable images must be known. Raises UserError where one has no other in its place.
        """
        return self._joined({name: side.rows(step) for name, side in self._sides.items()})

    def _joined(self, sides: Mapping[str, HostBatch]) -> HostBatch:
        found = {}
        for name, rows in sides.items():
            found[name] = rows["image"]
            found |= {what: rows[what] for what in self._beside.get(name, ())}
        return found

    def close(self) -> None:
        """Stop reading ahead."""
        for side in self._sides.values():
            side.close()

    def __exit__(self, *_) -> None:
        self.close()


def side_batches(
    sources: Sources,
    *,
    beside: Mapping[str, Collection[str]] | None = None,
    stream: Stream = ALL,
    steps: Iterable[int] | None = None,
    **how: Any,
) -> SideBatches:
    """Give the batches of a method's sides, unpaired: see `Order` for their order.

    Of one side, a batch holds each image once (`batches` tells when not); of several, perhaps twice.

    Args:
      beside: by a side's name what a batch holds of it beside its images: "label", "number"; each of one side at most.
      how: batch_size, seed, start_step, process_index, process_count, max_unreadable_share and pipeline of `batches`.

    Raises UserError as `batches` does.
    """
    steps = steps if steps is None or isinstance(steps, range) else tuple(steps)  # for all sides
    length = max(map(len, sources.values())) if len(sources) > 1 else 0
    opened = {
        name: batches(source, stream=stream, length=length, drawn=place > 0, steps=steps, **how)
        for place, (name, source) in enumerate(sources.items())
    }
    return SideBatches(opened, beside or {})
