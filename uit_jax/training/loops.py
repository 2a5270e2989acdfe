"""How often a step does the arithmetic that stands in its loops, of which XLA counts one turn."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from uit_jax.method import Method, Phase, training_step
from uit_jax.types import PyTree


def turns(method: Method, phase: Phase, state: PyTree, batch: PyTree, devices: int = 1) -> float:
    """Return by what XLA's count of a step's arithmetic is to be multiplied: 1 without loops.

    Args:
      state: or its shapes.
      batch: the shapes of a global batch.
      devices: that share it.
    """
    if method.microbatches == 1:
        return 1.0
    step = functools.partial(training_step(method), phase=phase)
    share = {name: jax.ShapeDtypeStruct((x.shape[0] // devices, *x.shape[1:]), x.dtype) for name, x in batch.items()}
    program = jax.make_jaxpr(step)(state, share).jaxpr
    return _products(program, every_turn=True) / max(_products(program, every_turn=False), 1.0)


def _products(program: Jaxpr, *, every_turn: bool) -> float:
    """Return how many multiplications the convolutions and matrix products of a program do."""
    total = 0.0
    for equation in program.eqns:
        shapes = [each.aval.shape for each in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "conv_general_dilated":
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += float(np.prod(shapes[-1])) * np.prod(shapes[1]) / shapes[1][features]
        elif equation.primitive.name == "dot_general":
            contracted = [shapes[0][axis] for axis in equation.params["dimension_numbers"][0][0]]
            total += float(np.prod(shapes[-1])) * np.prod(contracted)
        length = equation.params["length"] if every_turn and equation.primitive.name == "scan" else 1
        total += length * sum(_products(each, every_turn=every_turn) for each in _inside(equation.params))
    return total


def _inside(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for leaf in jax.tree.leaves(params, is_leaf=lambda each: isinstance(each, ClosedJaxpr | Jaxpr)):
        if isinstance(leaf, ClosedJaxpr | Jaxpr):
            yield getattr(leaf, "jaxpr", leaf)
