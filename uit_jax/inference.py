"""Run a trained method on any number of uint8 images: batches of one size, so one program for each image size."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.augment import normalize
from uit_jax.types import Array, Method, PyTree


def to_uint8(images: Array) -> Array:
    """Map float32 in [-1, 1] to the nearest uint8; what lies outside is clipped."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def local(variables: PyTree) -> PyTree:
    """Copy variables that every device holds whole to this process, whichever way they were trained."""
    return jax.device_get(variables)


def read(
    method: Method, name: str, variables: PyTree, images: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
    """Apply a read-out to images uint8 [n, H, W, C]: float32 [n, ...] ("cluster": [n, K], "style": [n, D])."""
    run = _reader(method.readouts[name])
    return _in_batches(lambda chunk: run(variables, chunk), images, batch_size=batch_size or min(64, len(images)))


def domains(method: Method, variables: PyTree, images: np.ndarray, *, batch_size: int | None = None) -> np.ndarray:
    """Return the pseudo domain of each image uint8 [n, H, W, C]: int64 [n]."""
    return read(method, "cluster", variables, images, batch_size=batch_size).argmax(-1)


def redraw(
    method: Method, variables: PyTree, contents: np.ndarray, styles: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
    """Translate contents uint8 [n, H, W, C], each to its own style [n, D]: uint8 [n, H, W, C]."""
    run = _translator(method.translate)
    batch_size = batch_size or min(16, len(contents))
    return _in_batches(lambda *chunk: run(variables, *chunk), contents, styles, batch_size=batch_size)


def redraw_all(
    method: Method, variables: PyTree, contents: np.ndarray, styles: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
    """Translate every content [m, H, W, C] to every style [n, D]: uint8 [m, n, H, W, C]."""
    rows, columns = len(contents), len(styles)
    pairs = redraw(
        method,
        variables,
        np.repeat(contents, columns, axis=0),
        np.tile(styles, (rows, 1)),
        batch_size=batch_size,
    )
    return pairs.reshape(rows, columns, *pairs.shape[1:])


# A new program for every call would be compiled anew, so the programs are kept by the function they run.
@functools.lru_cache(maxsize=8)
def _reader(readout: Callable) -> Callable:
    return jax.jit(lambda variables, images: readout(variables, normalize(images)))


@functools.lru_cache(maxsize=8)
def _translator(translate: Callable) -> Callable:
    def run(variables, contents, styles):
        return to_uint8(translate(variables, {"content": normalize(contents), "style": styles}))

    return jax.jit(run)


def _in_batches(function: Callable, *arrays: np.ndarray, batch_size: int) -> np.ndarray:
    """Apply a function to batches of exactly one size; the last is filled up with copies of its last row."""
    count = len(arrays[0])
    outputs = []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        outputs.append(np.asarray(function(*(array[rows] for array in arrays)))[: count - start])
    return np.concatenate(outputs)
