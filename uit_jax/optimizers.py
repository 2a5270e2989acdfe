"""The optimisers of the papers' reference code: weight decay is added to the gradient (coupled L2), biases included."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from uit_jax.types import Array


class Optimizer(NamedTuple):
    """An optax transformation that also tells its step size: a number, or a function of the steps done."""

    init: Callable
    update: Callable
    rate: optax.ScalarOrSchedule

    def rate_at(self, step: int) -> float:
        """Return the step size of a step, counted from 0."""
        return float(self.rate(step) if callable(self.rate) else self.rate)


def adam(
    learning_rate: optax.ScalarOrSchedule, *, b1: float = 0.9, b2: float = 0.999, weight_decay: float = 0.0
) -> Optimizer:
    """Return Adam with coupled L2, eps 1e-8 after the root."""
    moved = optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, b1, b2, eps=1e-8))
    return Optimizer(*moved, learning_rate)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule, *, decay: float = 0.99, weight_decay: float = 0.0
) -> Optimizer:
    """Return RMSprop with coupled L2; eps 1e-8 is added after the root and the average starts at 0."""
    moved = optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.rmsprop(learning_rate, decay=decay, eps=1e-8, eps_in_sqrt=False, initial_scale=0.0),
    )
    return Optimizer(*moved, learning_rate)


def build(name: str, learning_rate: float, *, b1: float, b2: float, weight_decay: float) -> Optimizer:
    """Return the named optimiser ("adam", or "rmsprop", whose decay is `b2`); unknown names are a ValueError."""
    if name == "adam":
        return adam(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)
    if name == "rmsprop":
        return rmsprop(learning_rate, decay=b2, weight_decay=weight_decay)
    raise ValueError(f"optimizer must be 'adam' or 'rmsprop', not {name!r}")


def linear_decay(
    learning_rate: float, *, constant_steps: int, decay_steps: int, lead: int = 0
) -> Callable[[Array], Array]:
    """Return a rate that is constant, then falls linearly to 0.

    As epochs are counted in CUT's reference code, here in steps: the last one still moves. With a `lead` all is so many
    steps earlier: in CycleGAN's code an epoch, so that its last one does not.
    """

    def rate(step):
        return learning_rate * (1 - jnp.maximum(0, step + lead + 1 - constant_steps) / (decay_steps + 1)).clip(0)

    return rate


def step_decay(learning_rate: float, *, every: int, factor: float) -> Callable[[Array], Array]:
    """Return a rate that is multiplied by a factor again and again, `every` so many iterations; 0: never.

    As MUNIT's published code has it, each time one iteration early: its schedule steps before its optimiser.
    """

    def rate(step):
        return learning_rate * factor ** ((step + 1) // every) if every else learning_rate

    return rate
