"""Communication between the devices of one step; the only file that spells `lax.p*`.

Every function is the identity (or its one-device meaning) where `axis_name` is None, so that the same
update runs under `jit`, `vmap`, `pmap` and `shard_map`.
"""

import jax
from jax import lax

from uit_jax.types import Array, PyTree


def mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Average every leaf over the devices."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def gather(array: Array, axis_name: str | None) -> Array:
    """Concatenate the devices' [B, ...] shares along the first axis: [devices * B, ...], in device order."""
    return array if axis_name is None else lax.all_gather(array, axis_name, axis=0, tiled=True)


def take(array: Array, positions: Array, axis_name: str | None) -> Array:
    """Pick examples of the global batch: `positions` int32 [B] index the gathered first axis."""
    return gather(array, axis_name)[positions]


def share(array: Array, size: int, axis_name: str | None) -> Array:
    """Return this device's `size` rows of an array that every device holds whole."""
    if axis_name is None:
        return array
    return lax.dynamic_slice_in_dim(array, lax.axis_index(axis_name) * size, size, axis=0)


def global_size(size: int, axis_name: str | None) -> int:
    """Return the number of examples of the global batch, given this device's number."""
    return size if axis_name is None else size * lax.axis_size(axis_name)


def example_keys(key: Array, size: int, axis_name: str | None) -> Array:
    """Return one random key for each of this device's `size` examples.

    An example's key depends on its place in the global batch alone, so the noise it gets does not
    depend on how many devices share the batch.
    """
    first = 0 if axis_name is None else lax.axis_index(axis_name) * size
    return jax.vmap(lambda i: jax.random.fold_in(key, first + i))(jax.numpy.arange(size))
