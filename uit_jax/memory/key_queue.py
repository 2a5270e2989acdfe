"""MoCo's dictionary of negative keys as a pytree (arXiv:1911.05722, Section 3.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.errors import UserError
from uit_jax.types import Array


class KeyQueue(NamedTuple):
    """The N newest keys, float32 [N, D], oldest first; every device holds it whole."""

    keys: Array


def create(key: Array, size: int, dim: int, *, scale: float = 1.0) -> KeyQueue:
    """Fill a queue with `size` random keys [size, dim] of expected length `scale`."""
    return KeyQueue(scale / jnp.sqrt(dim) * jax.random.normal(key, (size, dim)))


def check_batch(queue_size: int, batch_size: int, setting: str = "method.queue_size") -> None:
    """Raise a UserError that names the setting where a global batch of keys is larger than the queue that it fills."""
    if batch_size > queue_size:
        raise UserError(f"{setting}={queue_size} holds less than one global batch of {batch_size} keys: raise it")


def check_divides(queue_size: int, batch_size: int, setting: str = "method.queue_size") -> None:
    """Raise a UserError that names the setting where a queue is not a whole number of global batches, as MoCo's is."""
    if batch_size > queue_size or queue_size % batch_size:
        fitting = max(1, round(queue_size / batch_size)) * batch_size
        raise UserError(
            f"{setting}={queue_size} is not a multiple of batch_size={batch_size}, the keys of one step: use {fitting}"
        )


def push(queue: KeyQueue, keys: Array, axis_name: str | None = None) -> KeyQueue:
    """Append the global batch of keys [B, D] and drop as many of the oldest."""
    joined = jnp.concatenate([queue.keys, collectives.gather(keys, axis_name)])
    return queue._replace(keys=joined[-queue.keys.shape[0] :])


def negatives(queue: KeyQueue) -> Array:
    """Return the keys [N, D] with the gradient stopped."""
    return jax.lax.stop_gradient(queue.keys)
