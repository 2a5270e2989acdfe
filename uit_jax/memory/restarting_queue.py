"""A key queue that goes back to its first keys every so often, as that of TUNIT's published code does by mistake."""

from typing import NamedTuple

import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.types import Array

PERIOD = 1000
"""Steps between two restarts: an epoch of the published code."""


class RestartingQueue(NamedTuple):
    """The N newest keys, float32 [N, D], oldest first, and those of the first global batch, [B, D]."""

    keys: Array
    first: Array


def create(queue: KeyQueue, batch_size: int) -> RestartingQueue:
    """Make a queue of another's keys; those of the first global batch are yet to come."""
    return RestartingQueue(queue.keys, jnp.zeros((batch_size, queue.keys.shape[1])))


def begin(queue: RestartingQueue, keys: Array, step: Array, axis_name: str | None = None) -> RestartingQueue:
    """Begin a step whose keys [B, D] are given: keep those of step 0, and at every restart make them the newest."""
    first = jnp.where(step == 0, collectives.gather(keys, axis_name), queue.first)
    restarted = jnp.concatenate([queue.keys[len(first) :], first])
    return RestartingQueue(jnp.where(step % PERIOD == 0, restarted, queue.keys), first)


def valid(queue: RestartingQueue, step: Array) -> Array:
    """Say which keys, bool [N], a queue would hold that had grown from the first keys since the last restart."""
    size, batch_size = len(queue.keys), len(queue.first)
    return jnp.arange(size) >= size - batch_size * (1 + step % PERIOD)
