"""Run a trained method on any number of images: batches of one size, so one program for each image size.

Images are uint8, or uint16 where all 16 bits count; translations come back with as many bits.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from uit_jax.augment import normalize
from uit_jax.errors import UserError
from uit_jax.inference import tiling
from uit_jax.method import Method
from uit_jax.types import Array, PyTree

MAX_PIXELS = 2**20
"""Larger images are drawn in tiles."""

_SAMPLED = 64  # together, however many are asked for: one program, and one result


def to_uint8(images: Array) -> Array:
    """Map float32 in [-1, 1] to the nearest uint8; what lies outside is clipped."""
    return to_whole(images, jnp.uint8)


def to_uint16(images: Array) -> Array:
    """Map float32 in [-1, 1] to the nearest uint16; what lies outside is clipped."""
    return to_whole(images, jnp.uint16)


def to_whole(images: Array, dtype: Any) -> Array:
    """Map float32 in [-1, 1] to the nearest number of an unsigned type; what lies outside is clipped."""
    most = jnp.iinfo(dtype).max
    return jnp.clip(jnp.round((images + 1.0) * (most / 2)), 0, most).astype(dtype)


def local(variables: PyTree) -> PyTree:
    """Copy variables that every device holds whole to this process, whichever way they were trained."""
    return jax.device_get(variables)


def read(
    method: Method,
    name: str,
    variables: PyTree,
    images: np.ndarray,
    *,
    batch_size: int | None = None,
    label: int | np.ndarray | None = None,
) -> np.ndarray:
    """Apply a read-out to images uint8 [n, H, W, C]: float32 [n, ...] ("cluster": [n, K], "style": [n, D]).

    `label` is the class that all are of, or that of each, int [n], of a method whose styles are of classes; None where
    nobody tells.
    """
    labels = () if label is None else (np.broadcast_to(np.asarray(label, np.int32), len(images)),)
    return apply(Readout(method, name), variables, images, *labels, batch_size=batch_size)


def apply(
    function: Callable[..., Array],
    variables: PyTree,
    images: np.ndarray,
    *others: np.ndarray,
    batch_size: int | None = None,
) -> np.ndarray:
    """Apply `(variables, images float32 [B, H, W, C] in [-1, 1]) -> [B, ...]` to images [n, H, W, C]: [n, ...].

    The function also takes a batch of each of `others` [n, ...], as they are. Whole numbers of images are brought to
    that range, floats are in it. A batch is spread over the devices that hold `variables`, where these were put
    `everywhere`. It is compiled once for functions that are equal.
    """
    run, devices = _reader(function), _devices(variables)
    batch_size = batch_size or min(64, len(images))
    if len(devices) == 1:
        return _in_batches(lambda *chunk: run(variables, *chunk), images, *others, batch_size=batch_size)
    rows = NamedSharding(Mesh(devices, "rows"), PartitionSpec("rows"))
    batch_size = -(-batch_size // len(devices)) * len(devices)
    spread = functools.partial(jax.device_put, device=rows)
    return _in_batches(lambda *chunk: run(variables, *map(spread, chunk)), images, *others, batch_size=batch_size)


def everywhere(variables: PyTree) -> PyTree:
    """Copy variables to every device of this process, over which `apply` then spreads its batches."""
    return jax.device_put(variables, NamedSharding(Mesh(jax.local_devices(), "rows"), PartitionSpec()))


def _devices(variables: PyTree) -> list[jax.Device]:
    """Return the devices that hold variables, the default one for those that none does."""
    held = {device for leaf in jax.tree.leaves(variables) if isinstance(leaf, jax.Array) for device in leaf.devices()}
    return sorted(held, key=lambda device: device.id) or jax.local_devices()[:1]


def styles(
    method: Method,
    variables: PyTree,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    batch_size: int | None = 16,
) -> np.ndarray:
    """Return the style codes of images uint8 or uint16 [n, S, S, C]: float32 [n, D].

    Where the method's styles are of classes and `labels` int [n] are given, each is of its image's class, or of the
    class that the method takes it for where the label is none of the method's.
    """
    how: dict[str, Any] = dict(batch_size=batch_size)
    if labels is not None and method.sampled_by_class:
        known = (labels >= 0) & (labels < method.classes)
        if not known.all():
            labels = np.where(known, labels, domains(method, variables, images, **how))
        how["label"] = labels
    return read(method, "style", variables, images, **how)


def domains(method: Method, variables: PyTree, images: np.ndarray, *, batch_size: int | None = None) -> np.ndarray:
    """Return the pseudo domain of each image uint8 [n, H, W, C]: int64 [n]."""
    return read(method, "cluster", variables, images, batch_size=batch_size).argmax(-1)


def sample(
    method: Method, variables: PyTree, count: int, seed: int = 0, *, label: int | None = None
) -> np.ndarray:
    """Sample styles of a method that has a `style_prior`: float32 [n, D], each row of the seed and its index alone.

    Args:
      label: the class that all are of, where the method has classes; None for any.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.arange(count, dtype=np.uint32))
    run = functools.partial(jax.jit(method.style_prior), variables)
    given = (keys,) if label is None else (keys, np.full(count, label, np.int32))
    return _in_batches(run, *given, batch_size=_SAMPLED)


def translate(
    method: Method,
    variables: PyTree,
    contents: np.ndarray,
    styles: np.ndarray | None = None,
    *,
    batch_size: int | None = None,
) -> np.ndarray:
    """Translate contents [n, H, W, C], each to its own style [n, D] if the method reads styles: [n, H, W, C']."""
    run = _translator(method)
    batch_size = batch_size or min(16, len(contents))
    inputs = (contents,) if styles is None else (contents, styles)
    return _in_batches(lambda *chunk: run(variables, *chunk), *inputs, batch_size=batch_size)


def translate_all(
    method: Method, variables: PyTree, contents: np.ndarray, styles: np.ndarray, *, batch_size: int | None = None
) -> np.ndarray:
    """Translate every content [m, H, W, C] to every style [n, D]: uint8 [m, n, H, W, C]."""
    rows, columns = len(contents), len(styles)
    pairs = translate_any(
        method,
        variables,
        np.repeat(contents, columns, axis=0),
        np.tile(styles, (rows, 1)),
        batch_size=batch_size,
    )
    return pairs.reshape(rows, columns, *pairs.shape[1:])


def translate_any(
    method: Method,
    variables: PyTree,
    contents: np.ndarray,
    styles: np.ndarray | None = None,
    *,
    batch_size: int | None = None,
    max_pixels: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Translate contents [n, H, W, C] of any size as `translate` does: continued by reflection, and cut back.

    Images of more than `max_pixels` pixels, by default `MAX_PIXELS`, are drawn in tiles; `progress` is told of these.
    A method that cannot do that draws them whole if no `max_pixels` is given.

    Raises:
      UserError: the images are larger than that, and the method cannot draw in tiles.
    """
    height, width = contents.shape[1:3]
    size = drawn_size(height, width, method.multiple)
    check_fits(method, size, max_pixels)
    padded, limit = pad(contents, size), max_pixels or MAX_PIXELS
    fitting = limit // (size[0] * size[1])
    if fitting or not method.stages:
        batch_size = min(batch_size or len(contents), 16, max(1, fitting))
        drawn = translate(method, variables, padded, styles, batch_size=batch_size)
    else:
        drawn = np.stack([_translate_tiled(method, variables, image, limit, progress) for image in padded])
    return drawn[:, :height, :width]


def drawn_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """Return the sides at which an image is drawn by a method whose sides are multiples."""
    # Reflecting at the narrowest layer takes more than one pixel there.
    return tuple(max(4 * multiple, -(-side // multiple) * multiple) for side in (height, width))


def check_fits(method: Method, size: tuple[int, int], max_pixels: int | None) -> None:
    """Raise a UserError for images (height, width) that are too large to draw whole and cannot be drawn in tiles."""
    if max_pixels and size[0] * size[1] > max_pixels and not method.stages:
        raise UserError(
            f"{size[1]} x {size[0]} px are more than --max_pixels={max_pixels}, and this method cannot draw in tiles:"
            " raise it if the memory allows, or draw at the model's size with --size=resize"
        )


def pad(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Continue images [..., H, W, C] below and to the right by their reflection."""
    more = [(0, side - have) for side, have in zip(size, images.shape[-3:-1], strict=True)]
    return np.pad(images, [(0, 0)] * (images.ndim - 3) + more + [(0, 0)], "reflect")


def _translate_tiled(
    method: Method, variables: PyTree, image: np.ndarray, limit: int, progress: Callable[[int, int], None]
) -> np.ndarray:
    """Translate an image in tiles that need no more memory than one of `limit` pixels would whole."""
    tile, budget = min(tiling.TILE, math.isqrt(limit)), tiling.BUDGET * limit // MAX_PIXELS
    content = np.asarray(normalize(image))
    drawn = tiling.translate_tiled(method, variables, content, tile=tile, budget=budget, progress=progress)
    return np.asarray(to_whole(drawn, image.dtype))


@dataclasses.dataclass(frozen=True)
class Readout:
    """A read-out of a method, equal to that of an equal method, which bound methods are not."""

    method: Method
    name: str

    def __call__(self, variables: PyTree, images: Array, *labels: Array) -> Array:
        return self.method.readouts[self.name](variables, images, *labels)


# A new program for every call would be compiled anew, so they are kept: equal methods share them.
@functools.lru_cache(maxsize=8)
def _reader(function: Callable) -> Callable:
    def run(variables, images, *others):
        images = normalize(images) if jnp.issubdtype(images.dtype, jnp.integer) else images
        return function(variables, images, *others)

    return jax.jit(run)


@functools.lru_cache(maxsize=8)
def _translator(method: Method) -> Callable:
    def run(variables, contents, *styles):
        inputs = {"content": normalize(contents), **dict(zip(("style",), styles, strict=False))}
        return to_whole(method.translate(variables, inputs), contents.dtype)

    return jax.jit(run)


def _in_batches(function: Callable, *arrays: np.ndarray, batch_size: int) -> np.ndarray:
    """Apply a function to batches of exactly one size; the last is filled up with copies of its last row."""
    count = len(arrays[0])
    outputs = []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        outputs.append(np.asarray(function(*(array[rows] for array in arrays)))[: count - start])
    return np.concatenate(outputs)
