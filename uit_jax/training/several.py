"""Several training steps as one program, for steps so short that telling the device to do each takes long beside them.

Their batches lie side by side behind the first axis, [B, n, ...], which is what devices share as ever. The program
does as many of the n as it is told, so that one program does a whole group and one that something cuts short, and what
a step computes does not depend on the group that it is in.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from ml_collections import ConfigDict

from uit_jax.method import Method, training_step
from uit_jax.types import Batch

_COUNT = "steps"
"""The entry of a batch of several that says how many there are, int32 [B], the same for all."""


def cadences(config: ConfigDict) -> tuple[int, ...]:
    """Return every how many steps there is something to do between two of them."""
    every = (config.log_every, config.image_every, config.checkpoint_every, config.evaluate_every)
    return tuple(filter(None, every))


def room_of(config: ConfigDict) -> int:
    """Return how many steps a run does at once at most: there is no use in room for more than ever come together."""
    return min([config.steps_per_dispatch, *cadences(config)])


def step_of(method: Method, room: int) -> Callable:
    """Return the function that the trainer compiles where so many steps are done at once."""
    return training_step(method) if room == 1 else repeated(training_step(method))


@functools.lru_cache(maxsize=32)
def repeated(step: Callable) -> Callable:
    """Make `step(state, batch, *, phase, axis_name)` do all the batches that `stack` put into one.

    Metrics become arrays [n], of which those behind the steps that were done mean nothing.
    """

    def steps(state, batch, *, phase, axis_name=None):
        rows = {name: each for name, each in batch.items() if name != _COUNT}

        def do(state, index):
            one = {name: lax.dynamic_index_in_dim(each, index, 1, keepdims=False) for name, each in rows.items()}
            return step(state, one, phase=phase, axis_name=axis_name)

        def body(index, carry):
            state, metrics = do(carry[0], index)
            return state, jax.tree.map(lambda all_, new: all_.at[index].set(new), carry[1], metrics)

        room = next(iter(rows.values())).shape[1]
        _, metrics = jax.eval_shape(do, state, 0)
        empty = jax.tree.map(lambda like: jnp.zeros((room, *like.shape), like.dtype), metrics)
        return lax.fori_loop(0, batch[_COUNT][0], body, (state, empty))

    return steps


def stack(batches: Sequence[Batch], room: int) -> Batch:
    """Put batches into the one that `step_of` takes: [B, ...] each -> [B, room, ...], the last ones perhaps empty."""
    if room == 1:
        return batches[0]
    found = {}
    for name, first in batches[0].items():
        found[name] = np.zeros((len(first), room, *first.shape[1:]), first.dtype)
        for place, batch in enumerate(batches):
            found[name][:, place] = batch[name]
        size = len(first)
    return {**found, _COUNT: np.full(size, len(batches), np.int32)}
