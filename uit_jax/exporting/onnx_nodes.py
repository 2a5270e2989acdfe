"""What each primitive of JAX is in ONNX: (graph, equation, *tensors) -> tensor, or a list of them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from uit_jax.exporting import onnx_parts, onnx_products
from uit_jax.exporting.onnx_graph import Graph, Tensor, broadcast, constant, out, shapes, unsupported

# --- entry by entry ---


def _each(kind: str, **attributes: Any) -> Callable:
    """Return what computes a node's output of entries that meet."""

    def node(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
        shape = broadcast(*(each.shape for each in tensors))
        return graph.add(kind, tensors, shape, out(equation)[1], **attributes)

    return node


def _after(then: str, first: Callable) -> Callable:
    """Return what computes one more node of one input behind another."""

    def node(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
        found = first(graph, equation, *tensors)
        return graph.add(then, [found], found.shape, found.dtype)

    return node


def _squared(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    return graph.add("Mul", [x, x], x.shape, x.dtype)


def _power(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    if equation.params["y"] == 2:
        return _squared(graph, equation, x)
    return graph.add("Pow", [x, constant(x.dtype.type(equation.params["y"]))], x.shape, x.dtype)


def _rounded(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    if equation.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise unsupported(equation, "away from zero")
    return graph.add("Round", [x], x.shape, x.dtype)


def _cast(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    return graph.cast(x, out(equation)[1])


def _clamped(graph: Graph, equation: Any, low: Tensor, x: Tensor, high: Tensor) -> Tensor:
    for kind, limit in (("Max", low), ("Min", high)):
        x = graph.add(kind, [x, limit], broadcast(x.shape, limit.shape), x.dtype)
    return x


def _selected(graph: Graph, equation: Any, which: Tensor, *cases: Tensor) -> Tensor:
    if len(cases) != 2 or which.dtype != np.bool_:
        raise unsupported(equation, "of several cases")
    shape = broadcast(*(each.shape for each in (which, *cases)))
    return graph.add("Where", [which, cases[1], cases[0]], shape, cases[0].dtype)


def _same(graph: Graph, equation: Any, *tensors: Tensor) -> list[Tensor]:
    return list(tensors)


# --- over axes ---


def _reduced(kind: str) -> Callable:
    def node(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        x = graph.whole(x, shapes(equation)[0])
        # One axis after the other: onnxruntime adds up as it goes, and loses digits over very many numbers.
        for axis in sorted(equation.params["axes"], reverse=True):
            shape = [part for place, part in enumerate(x.shape) if place != axis]
            x = graph.add(kind, [x, graph.numbers(axis)], shape, x.dtype, keepdims=0)
        return x

    return node


def _largest(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (axis,), (shape, dtype) = equation.params["axes"], out(equation)
    found = graph.add("ArgMax", [graph.whole(x, shapes(equation)[0])], shape, np.int64, axis=axis, keepdims=0)
    return graph.cast(found, dtype)


# --- shapes ---


def _broadcast(graph: Graph, equation: Any, x: Tensor, *dims: Tensor) -> Tensor:
    own = dict(zip(equation.params["broadcast_dimensions"], x.shape, strict=True))
    return graph.reshaped(x, [own.get(axis, 1) for axis in range(len(out(equation)[0]))])


def _reshaped(graph: Graph, equation: Any, x: Tensor, *dims: Tensor) -> Tensor:
    return graph.reshaped(graph.whole(x, shapes(equation)[0]), out(equation)[0])


def _squeezed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    dropped = {axis % len(x.shape) for axis in equation.params["dimensions"]}
    return graph.reshaped(x, [part for axis, part in enumerate(x.shape) if axis not in dropped])


def _transposed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    return graph.permuted(x, equation.params["permutation"])


def _joined(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
    axis = equation.params["dimension"]
    parts = [x for x in graph.wholes(tensors, equation) if not (isinstance(x.shape[axis], int) and x.shape[axis] == 0)]
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, *out(equation), axis=axis)


def _stacked(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
    axis = equation.params["axis"]
    wide = [graph.reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in graph.wholes(tensors, equation)]
    return graph.add("Concat", wide, *out(equation), axis=axis)


def _split(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
    if len(equation.params["sizes"]) == 1:
        return [x]
    x, sizes = graph.whole(x, shapes(equation)[0]), graph.numbers(*equation.params["sizes"])
    parts = [tuple(each.aval.shape) for each in equation.outvars]
    return graph.add_several("Split", [x, sizes], parts, x.dtype, axis=equation.params["axis"])


def _counted(graph: Graph, equation: Any, *dims: Tensor) -> Tensor:
    """Count along an axis that is as long as there are images; what is counted along a fixed one is known."""
    (shape, dtype), axis = out(equation), equation.params["dimension"]
    length = graph.reshaped(graph.dims((shape[axis],)), ())
    found = graph.add("Range", [constant(np.int64(0)), length, constant(np.int64(1))], (shape[axis],), np.int64)
    return graph.reshaped(graph.cast(found, dtype), [part if place == axis else 1 for place, part in enumerate(shape)])


def _images(graph: Graph, equation: Any, *dims: Tensor) -> Tensor:
    """Return how many images there are, as a number, or a multiple of it."""
    dtype = out(equation)[1]
    found = graph.reshaped(graph.dims((equation.params["dim"],)), ())
    return graph.cast(found, dtype)


_ONE_BY_ONE = {
    "Add": ("add", "add_any"),
    "Sub": ("sub",),
    "Mul": ("mul",),
    "Div": ("div",),
    "Max": ("max",),
    "Min": ("min",),
    "Pow": ("pow",),
    "And": ("and",),
    "Or": ("or",),
    "Not": ("not",),
    "Neg": ("neg",),
    "Abs": ("abs",),
    "Sign": ("sign",),
    "Floor": ("floor",),
    "Ceil": ("ceil",),
    "Exp": ("exp",),
    "Log": ("log",),
    "Erf": ("erf",),
    "Sin": ("sin",),
    "Cos": ("cos",),
    "Sqrt": ("sqrt",),
    "Tanh": ("tanh",),
    "Sigmoid": ("logistic",),
    "Equal": ("eq",),
    "Less": ("lt",),
    "LessOrEqual": ("le",),
    "Greater": ("gt",),
    "GreaterOrEqual": ("ge",),
}
NODES: dict[str, Callable] = {
    **{name: _each(kind) for kind, names in _ONE_BY_ONE.items() for name in names},
    "ne": _after("Not", _each("Equal")),
    "rsqrt": _after("Reciprocal", _each("Sqrt")),
    "rem": _each("Mod", fmod=1),
    "square": _squared,
    "integer_pow": _power,
    "round": _rounded,
    "convert_element_type": _cast,
    "clamp": _clamped,
    "select_n": _selected,
    "stop_gradient": _same,
    "copy": _same,
    "optimization_barrier": _same,
    "reduce_sum": _reduced("ReduceSum"),
    "reduce_max": _reduced("ReduceMax"),
    "reduce_min": _reduced("ReduceMin"),
    "reduce_prod": _reduced("ReduceProd"),
    "argmax": _largest,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshaped,
    "squeeze": _squeezed,
    "transpose": _transposed,
    "concatenate": _joined,
    "stack": _stacked,
    "split": _split,
    "iota": _counted,
    "dim_as_value": _images,
    "slice": onnx_parts.sliced,
    "dynamic_slice": onnx_parts.moved,
    "rev": onnx_parts.turned,
    "pad": onnx_parts.padded,
    "gather": onnx_parts.gathered,
    "scatter-add": onnx_parts.added_at,
    "dot_general": onnx_products.product,
    "conv_general_dilated": onnx_products.convolved,
    "reduce_window_sum": onnx_products.summed,
    "reduce_window_max": functools.partial(onnx_products.pooled, kind="MaxPool"),
}
