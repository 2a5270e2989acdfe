"""A state as arrays of the host: copied there and back, checked, and weighed against the disk's room."""

import shutil
import tempfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.errors import UserError
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.types import PyTree


def to_host(leaf) -> np.ndarray:
    # A copy: on the CPU numpy would see the device's buffer, which the next step is given to overwrite.
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def host_shape(leaf) -> jax.ShapeDtypeStruct:
    leaf = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def from_host(leaf: np.ndarray, like) -> Any:
    if not _is_key(like):
        return leaf
    kinds = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), like)
    return jax.random.wrap_key_data(leaf, impl=kinds[0])


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def not_finite(tree: PyTree) -> str:
    """Return the path of the first host array that holds NaN or infinity; "" if there is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return ""


def digest(tree: PyTree) -> int:
    """Return a checksum of all bytes of a tree of host arrays."""
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(leaf.tobytes(), crc)
    return crc


def check_room(workdir: PathLike, abstract: PyTree, *, keep: int, best: bool) -> None:
    """Raise before training if the disk cannot hold the checkpoints a run will keep."""
    leaves = jax.tree.leaves(jax.tree.map(host_shape, abstract))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    disk, held = workdir, 0
    if is_remote(as_path(workdir)):
        disk = tempfile.gettempdir()  # where they are before they are copied
    else:
        held = sum(f.stat().st_size for f in (as_path(workdir) / "checkpoints").rglob("*") if f.is_file())
    # One more than is kept: the newest is written before the oldest is deleted.
    needed = each * (max(keep, 1) + best + 1) - held
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise UserError(
            f"{disk}: {needed / 1e9:.2f} GB are needed for checkpoints ({each / 1e9:.2f} GB each), but"
            f" {free / 1e9:.2f} GB are free: make room, or lower keep_checkpoints"
        )
