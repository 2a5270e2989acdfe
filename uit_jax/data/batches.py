"""Batches by step: read ahead in the background, whichever pipeline reads them."""

import bisect
import contextlib
import functools
import importlib.util
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from uit_jax.data.order import ALL, Order, stream_members
from uit_jax.data.reading import Reader
from uit_jax.data.sources.base import EncodedSource, Source
from uit_jax.errors import UserError
from uit_jax.listing import pick_evenly
from uit_jax.method import Stream

HostBatch = dict[str, np.ndarray]
Plan = Callable[[int], Iterator[int]]  # the steps to read ahead, from a step on

_AHEAD = 3  # batches read before they are asked for


class Batches(contextlib.AbstractContextManager):
    """The batches of one stream, by step: `batch(step)` is a pure function of (seed, step, row).

    Steps are read ahead in the order of the plan; another step may be asked for at any time and begins
    a new reading from there. Iterating yields the plan's batches in order. Close it, or use it as a context.
    `pipeline` tells which one reads: "tf.data" or "threads".
    """

    def __init__(
        self,
        pipeline: str,
        plan: Plan,
        start: int,
        order: Order,
        reader: Reader,
        read_from: Callable[[int], Iterator[tuple[int, HostBatch]]],
    ):
        self.pipeline = pipeline
        self._plan, self._start, self._read_from = plan, start, read_from
        self._order, self._reader = order, reader
        self._reading: Iterator[tuple[int, HostBatch]] | None = None

    def batch(self, step: int) -> HostBatch:
        """Return this process's rows: "image" uint8 or uint16 [B_local, H, W, C], "label" int32 [B_local], -1 unknown,
        and "number" int32 [B_local], which images of the source these are.

        Raises UserError once too many images are unreadable.
        """
        found, batch = next(self._reading, (None, None)) if self._reading is not None else (None, None)
        if found != step:
            self.close()
            self._reading = self._read_from(step)
            _, batch = next(self._reading)
        return batch

    def rows(self, step: int) -> HostBatch:
        """Return `batch(step)` with the numbers of the images, int32 [B_local], in their place.

        Nothing is read: all of the source's unreadable images must be known. Raises UserError where one has no other in
        its place.
        """
        rows = self._reader.known(self._order.rows(step))
        return self._reader.batch(rows, rows.astype(np.int32))

    def __iter__(self) -> Iterator[HostBatch]:
        return (self.batch(step) for step in self._plan(self._start))

    def close(self) -> None:
        """Stop reading ahead."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def __exit__(self, *_) -> None:
        self.close()


def batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    steps: Iterable[int] | None = None,
    stream: Stream = ALL,
    length: int = 0,
    drawn: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    max_unreadable_share: float = 0.01,
    pipeline: str = "auto",
) -> Batches:
    """Give the batches of a stream of a source.

    Args:
      batch_size: of all processes together.
      steps: the steps that will be asked for, finite and ascending; by default every one from `start_step` on.
      stream: the images that are drawn from, and the labels that are shown; see `order.stream_members`.
      length: examples of an epoch, where those of a larger side decide; 0 for as many as the stream has images.
      drawn: whether images are drawn at random, as those of a later side are; see `Order`.
      max_unreadable_share: unreadable images are named, counted and replaced up to this share of the source.
      pipeline: "tf.data" (image files and TFDS), "threads" (Pillow, and arrays), or "auto": tf.data where TensorFlow
        is installed and most files are JPEG or PNG of the wanted size, else threads, which are then faster.
        All give the same batches.

    Raises UserError where the batch does not divide among the processes, or where a stream of its own `length` has
    fewer images than a batch (the labelled one may, and then repeats them within a batch).
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size={batch_size} does not divide among {process_count} processes")
    members, labels = stream_members(source, stream)
    if len(members) < batch_size and stream.kind != "labelled" and not length:
        raise UserError(f"{source.spec}: {len(members)} images ({stream.kind}) are fewer than batch_size={batch_size}")
    order = Order(members, length or len(members), drawn, batch_size, seed, process_index, process_count)
    reader = Reader(source, members, labels, max_unreadable_share=max_unreadable_share)
    plan, pipeline = _plan(start_step, steps), _choose(pipeline, source)
    if pipeline == "tf.data":
        from uit_jax.data.tf_pipeline import tf_batches

        read_from = functools.partial(tf_batches, order, reader, plan)
    else:

        def read_from(step):
            return ahead(_read_batches(order, reader, plan(step)))

    return Batches(pipeline, plan, start_step, order, reader, read_from)


def has_tensorflow() -> bool:
    """Tell whether TensorFlow is installed, without importing it."""
    try:
        return importlib.util.find_spec("tensorflow") is not None
    except ValueError:  # sys.modules["tensorflow"] is None: blocked
        return False


def _choose(pipeline: str, source: Source) -> str:
    if pipeline not in ("auto", "tf.data", "threads"):
        raise UserError(f"unknown pipeline {pipeline!r}; there are 'auto', 'tf.data' and 'threads'")
    if pipeline == "auto":
        return "tf.data" if has_tensorflow() and _mostly_plain(source) else "threads"
    if pipeline == "tf.data" and not has_tensorflow():
        raise UserError("pipeline 'tf.data' needs TensorFlow, which is not installed; use 'threads'")
    if pipeline == "tf.data" and not isinstance(source, EncodedSource):
        raise UserError(f"{source.spec}: has no image files for tf.data to decode; use pipeline 'threads'")
    return pipeline


def _mostly_plain(source: Source, sample: int = 32) -> bool:
    """Tell from a sample whether most images are TensorFlow's to decode; where they are not, it only costs time."""
    if not isinstance(source, EncodedSource) or source.is_handful or source.form.depth != 8:
        return False
    plain = [source.is_plain(int(index)) for index in pick_evenly(len(source), sample)]
    return sum(plain) * 2 > len(plain)


def _plan(start_step: int, steps: Iterable[int] | None) -> Plan:
    if steps is None:
        return lambda step: itertools.count(step)
    listed = steps if isinstance(steps, range) else tuple(steps)

    def plan(step: int) -> Iterator[int]:
        place = bisect.bisect_left(listed, step)
        if place < len(listed) and listed[place] == step:
            return iter(listed[place:])
        return itertools.chain([step], listed[place:])

    return plan


def _read_batches(order: Order, reader: Reader, steps: Iterator[int]) -> Iterator[tuple[int, HostBatch]]:
    """Read with Pillow and threads, or gather from arrays."""
    if not isinstance(reader.source, EncodedSource):
        for step in steps:
            rows = order.rows(step)
            yield step, reader.batch(rows, reader.source.images(rows))
        return
    with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        for step in steps:
            rows, images = zip(*pool.map(reader.read, order.rows(step).tolist()), strict=True)
            yield step, reader.batch(np.array(rows), np.stack(images))


def ahead(items: Iterator) -> Iterator:
    """Yield what `items` yields, or raise what it raises, from a thread that runs `_AHEAD` items ahead."""
    done, line = threading.Event(), queue.Queue(_AHEAD)
    end = object()

    def put(item) -> None:
        while not done.is_set():
            try:
                return line.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if done.is_set():
                    return
            put((end, None))
        except BaseException as error:  # whatever it is, the reader of the line shall see it
            put((end, error))
        finally:
            items.close()

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = line.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        done.set()
        thread.join()
