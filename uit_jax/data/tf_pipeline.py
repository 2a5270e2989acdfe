"""The tf.data pipeline: files read and decoded by TensorFlow's threads, outside the interpreter's lock.

Pillow decides what is readable and what its pixels are, so that no run depends on whether TensorFlow is installed: its
decoders accept some damaged files that Pillow refuses, and give other pixels of some. An image is therefore first drawn
by Pillow; if it is a JPEG or PNG of the wanted size, TensorFlow decodes it too, and alone from then on where both
have given the same pixels, bit for bit. (With the accurate integer DCT that is nearly every file that is whole.)

Everything else, resizing too, Pillow's threads do: its antialiased resize is the reference's and, measured, as fast as
TensorFlow's, and calling it from inside the graph costs more than it saves. Leaving all decoding to them was measured
too: beside TensorFlow it takes about 1.6 times the time of the processor for each image.
"""

import collections
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its banners, and its lines about files we name ourselves

import tensorflow as tf  # noqa: E402

from uit_jax.data.order import Order  # noqa: E402
from uit_jax.data.reading import Reader  # noqa: E402
from uit_jax.data.sources.base import FileSource  # noqa: E402
from uit_jax.images.decode import Unreadable  # noqa: E402
from uit_jax.paths import exact, is_remote  # noqa: E402

_AHEAD = 3
_UNKNOWN, _SAME, _OTHER = 0, 1, 2


def tf_batches(
    order: Order, reader: Reader, plan: Callable[[int], Iterator[int]], first: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, host batch) for the steps of the plan from `first` on.

    A batch that TensorFlow fails to decode is read again image by image, which finds the culprit; the
    pipeline then begins anew at the next step, and does not hand that file to TensorFlow again.
    """
    hide_accelerators()
    decoder, images = _Decoder(reader), iter(())
    next_step: int | None = first
    try:
        while next_step is not None:
            steps, images = plan(next_step), _images(order, decoder, plan, next_step)
            next_step = None
            for step in steps:
                rows, failed = order.rows(step), False
                try:
                    rows, batch = next(images)
                except tf.errors.OpError:
                    failed = True
                    rows, batch = decoder.read_one_by_one(rows)
                yield step, reader.batch(rows, batch)
                if failed:
                    next_step = next(steps, None)
                    break
    finally:
        del images  # TensorFlow's threads, which hand work to Pillow's
        decoder.pool.shutdown(cancel_futures=True)


def hide_accelerators() -> None:
    """Keep TensorFlow from taking the GPUs' memory, which is JAX's."""
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        return  # someone has used TensorFlow before us and has decided this


class _Decoder:
    """Decodes images: by TensorFlow where that was seen to give Pillow's pixels, and by Pillow where it was not."""

    def __init__(self, reader: Reader):
        self._reader, self._source = reader, reader.source
        self._on_disk = isinstance(self._source, FileSource) and not is_remote(exact(self._source.names[0]))
        self._kinds = np.zeros(len(self._source), np.uint8)
        self._shape, self.dtype = self._source.shape, self._source.dtype
        self.pool = ThreadPoolExecutor(os.cpu_count(), "decode")

    def are_same(self, rows: np.ndarray) -> np.ndarray:
        """Tell of each image whether TensorFlow may decode it: bool [B]."""
        return self._kinds[rows] == _SAME

    def paths(self, rows: np.ndarray) -> np.ndarray:
        """Return the files' paths, as bytes, where the images are files of this machine: object [B]."""
        return np.array([os.fsencode(self._source.names[i]) if self._on_disk else b"" for i in rows], object)

    def by_tensorflow(self, index, path, same):
        """Return an image in the graph, zeros where it is not TensorFlow's to decode."""

        def decoded():
            data = (
                tf.io.read_file(path)
                if self._on_disk
                else tf.numpy_function(self._source.encoded, [index], tf.string)
            )
            return self._decoded(data)

        return tf.ensure_shape(tf.cond(same, decoded, lambda: tf.zeros(self._shape, tf.uint8)), self._shape)

    def by_pillow(self, index: int) -> Future:
        """Begin to read an image; the future gives (index, image), the index of the replacement if one was needed."""
        return self.pool.submit(self._read, int(index))

    def _read(self, index: int) -> tuple[int, np.ndarray]:
        found, image = self._reader.read(index)
        if self._kinds[index] == _UNKNOWN:
            self._kinds[index] = _SAME if found == index and self._agrees(index, image) else _OTHER
        return found, image

    def _agrees(self, index: int, image: np.ndarray) -> bool:
        """Tell whether TensorFlow gives the pixels that Pillow gave."""
        if not self._source.is_plain(index):
            return False
        try:
            return np.array_equal(self._decoded(self._source.encoded(index)).numpy(), image)
        except (tf.errors.OpError, Unreadable):
            return False

    def _decoded(self, data):
        # Never run with other channels than these two, but the graph is built.
        channels = self._shape[-1] if self._shape[-1] in (1, 3) else 3
        return tf.io.decode_jpeg(data, channels, dct_method="INTEGER_ACCURATE")  # decodes PNG as well

    def read_one_by_one(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch as the pipeline would; files that TensorFlow cannot decode are left to Pillow from now on.

        Raises UserError once too many images are unreadable.
        """
        rows, images = rows.copy(), np.empty((len(rows), *self._shape), self.dtype)
        for row, (index, path, same) in enumerate(zip(rows, self.paths(rows), self.are_same(rows), strict=True)):
            if same:
                try:
                    images[row] = self.by_tensorflow(tf.constant(index), tf.constant(path), tf.constant(True)).numpy()
                    continue
                except tf.errors.OpError:
                    self._kinds[index] = _OTHER
            rows[row], images[row] = self._read(int(index))
        return rows, images


def _images(
    order: Order, decoder: _Decoder, plan: Callable[[int], Iterator[int]], first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows, images) step by step, as TensorFlow and Pillow decode them; end after a failure of TensorFlow's."""
    waiting: collections.deque[tuple[np.ndarray, dict[int, Future]]] = collections.deque()

    def elements():
        for step in plan(first):
            rows = order.rows(step)
            same = decoder.are_same(rows)
            waiting.append((rows, {int(row): decoder.by_pillow(rows[row]) for row in np.flatnonzero(~same)}))
            yield rows, decoder.paths(rows), same

    share = order.batch_size // order.process_count
    signature = tuple(tf.TensorSpec((share,), kind) for kind in (tf.int64, tf.string, tf.bool))
    with tf.device("/cpu:0"):
        dataset = (
            tf.data.Dataset.from_generator(elements, output_signature=signature)
            .unbatch()
            .map(decoder.by_tensorflow, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(share, drop_remainder=True)
            .prefetch(_AHEAD)
        )
    for tensor in dataset:
        rows, futures = waiting.popleft()
        images = tensor.numpy()
        if futures:
            rows, images = rows.copy(), images.astype(decoder.dtype)
            for row, future in futures.items():
                rows[row], images[row] = future.result()
        yield rows, images
