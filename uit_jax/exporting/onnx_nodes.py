"""What each primitive of JAX is in ONNX: (graph, equation, *tensors) -> tensor, or a list of them."""

import functools
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from onnx import helper

from uit_jax.errors import UserError
from uit_jax.exporting.onnx_graph import Graph, Tensor, broadcast, constant, lacking

_END = np.iinfo(np.int64).max


def _shapes(equation: Any) -> list[tuple]:
    return [tuple(each.aval.shape) for each in equation.invars]


def _out(equation: Any, number: int = 0) -> tuple[tuple, np.dtype]:
    found = equation.outvars[number].aval
    return tuple(found.shape), np.dtype(found.dtype)


def _wholes(graph: Graph, equation: Any, tensors: Sequence[Tensor]) -> list[Tensor]:
    return [graph.whole(each, shape) for each, shape in zip(tensors, _shapes(equation), strict=True)]


def _unsupported(equation: Any, what: str) -> UserError:
    return lacking(f"{equation.primitive}, {what}")


# --- entry by entry ---


def _each(kind: str, **attributes: Any) -> Callable:
    """Return what computes a node's output of entries that meet."""

    def node(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
        shape = broadcast(*(each.shape for each in tensors))
        return graph.add(kind, tensors, shape, _out(equation)[1], **attributes)

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
        raise _unsupported(equation, "away from zero")
    return graph.add("Round", [x], x.shape, x.dtype)


def _cast(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    dtype = _out(equation)[1]
    return x if dtype == x.dtype else graph.add("Cast", [x], x.shape, dtype, to=helper.np_dtype_to_tensor_dtype(dtype))


def _clamped(graph: Graph, equation: Any, low: Tensor, x: Tensor, high: Tensor) -> Tensor:
    for kind, limit in (("Max", low), ("Min", high)):
        x = graph.add(kind, [x, limit], broadcast(x.shape, limit.shape), x.dtype)
    return x


def _selected(graph: Graph, equation: Any, which: Tensor, *cases: Tensor) -> Tensor:
    if len(cases) != 2 or which.dtype != np.bool_:
        raise _unsupported(equation, "of several cases")
    shape = broadcast(*(each.shape for each in (which, *cases)))
    return graph.add("Where", [which, cases[1], cases[0]], shape, cases[0].dtype)


def _same(graph: Graph, equation: Any, *tensors: Tensor) -> list[Tensor]:
    return list(tensors)


# --- over axes ---


def _reduced(kind: str) -> Callable:
    def node(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        x, axes = graph.whole(x, _shapes(equation)[0]), graph.numbers(*equation.params["axes"])
        return graph.add(kind, [x, axes], *_out(equation), keepdims=0)

    return node


def _largest(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (axis,), (shape, dtype) = equation.params["axes"], _out(equation)
    found = graph.add("ArgMax", [graph.whole(x, _shapes(equation)[0])], shape, np.int64, axis=axis, keepdims=0)
    return graph.add("Cast", [found], shape, dtype, to=helper.np_dtype_to_tensor_dtype(dtype))


# --- shapes ---


def _broadcast(graph: Graph, equation: Any, x: Tensor, *dims: Tensor) -> Tensor:
    own = dict(zip(equation.params["broadcast_dimensions"], x.shape, strict=True))
    return graph.reshaped(x, [own.get(axis, 1) for axis in range(len(_out(equation)[0]))])


def _reshaped(graph: Graph, equation: Any, x: Tensor, *dims: Tensor) -> Tensor:
    return graph.reshaped(graph.whole(x, _shapes(equation)[0]), _out(equation)[0])


def _squeezed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    dropped = {axis % len(x.shape) for axis in equation.params["dimensions"]}
    return graph.reshaped(x, [part for axis, part in enumerate(x.shape) if axis not in dropped])


def _transposed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    return _permuted(graph, x, equation.params["permutation"])


def _permuted(graph: Graph, x: Tensor, axes: Sequence[int]) -> Tensor:
    if x.value is not None:
        return constant(x.value.transpose(axes))
    if list(axes) == list(range(len(axes))):
        return x
    return graph.add("Transpose", [x], [x.shape[axis] for axis in axes], x.dtype, perm=list(axes))


def _joined(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
    axis = equation.params["dimension"]
    parts = [x for x in _wholes(graph, equation, tensors) if not _is_zero(x.shape[axis])]
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, *_out(equation), axis=axis)


def _stacked(graph: Graph, equation: Any, *tensors: Tensor) -> Tensor:
    axis = equation.params["axis"]
    wide = [graph.reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in _wholes(graph, equation, tensors)]
    return graph.add("Concat", wide, *_out(equation), axis=axis)


def _split(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
    if len(equation.params["sizes"]) == 1:
        return [x]
    x, sizes = graph.whole(x, _shapes(equation)[0]), graph.numbers(*equation.params["sizes"])
    shapes = [tuple(each.aval.shape) for each in equation.outvars]
    return graph.add_several("Split", [x, sizes], shapes, x.dtype, axis=equation.params["axis"])


def _counted(graph: Graph, equation: Any, *dims: Tensor) -> Tensor:
    """Count along an axis that is as long as there are images; what is counted along a fixed one is known."""
    (shape, dtype), axis = _out(equation), equation.params["dimension"]
    length = graph.reshaped(graph.dims((shape[axis],)), ())
    found = graph.add("Range", [constant(np.int64(0)), length, constant(np.int64(1))], (shape[axis],), np.int64)
    found = graph.add("Cast", [found], found.shape, dtype, to=helper.np_dtype_to_tensor_dtype(dtype))
    return graph.reshaped(found, [part if place == axis else 1 for place, part in enumerate(shape)])


def _images(graph: Graph, equation: Any, *dims: Tensor) -> Tensor:
    """Return how many images there are, as a number, or a multiple of it."""
    dtype = _out(equation)[1]
    found = graph.reshaped(graph.dims((equation.params["dim"],)), ())
    return graph.add("Cast", [found], (), dtype, to=helper.np_dtype_to_tensor_dtype(dtype))


# --- parts ---


def _cut(graph: Graph, x: Tensor, shape: Sequence, starts: Sequence, ends: Sequence, steps: Sequence) -> Tensor:
    """Take every so manyth entry from a start to an end; an end of None is that of the axis."""
    axes = [axis for axis in range(len(shape)) if (starts[axis], ends[axis], steps[axis]) != (0, None, 1)]
    if not axes:
        return x
    ends = [_END if end is None else end for end in ends]
    limits = [graph.numbers(*(part[axis] for axis in axes)) for part in (starts, ends, range(len(shape)), steps)]
    return graph.add("Slice", [x, *limits], shape, x.dtype)


def _from_either_end(place: Any, length: Any) -> Any:
    """Return a place on an axis as ONNX has it: counted from the end, below 0, where the length is open."""
    return place if isinstance(place, int) or place == length else int(place - length)


def _is_zero(part: Any) -> bool:
    return isinstance(part, int) and part == 0


def _sliced(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    params, whole = equation.params, _shapes(equation)[0]
    starts, ends = (
        [_from_either_end(place, length) for place, length in zip(params[limit], whole, strict=True)]
        for limit in ("start_indices", "limit_indices")
    )
    ends = [None if end == length else end for end, length in zip(ends, whole, strict=True)]
    steps = params["strides"] or [1] * len(whole)
    return _cut(graph, graph.whole(x, whole), _out(equation)[0], starts, ends, steps)


def _moved(graph: Graph, equation: Any, x: Tensor, *starts: Tensor) -> Tensor:
    if any(start.value is None for start in starts):
        raise _unsupported(equation, "from places that are computed")
    sizes, whole = equation.params["slice_sizes"], _shapes(equation)[0]
    return _window(graph, graph.whole(x, whole), [int(start.value) for start in starts], sizes, whole)


def _window(graph: Graph, x: Tensor, starts: Sequence[int], sizes: Sequence, whole: Sequence) -> Tensor:
    """Take a window of a size from a place, which is moved inside where it would reach over."""
    places = [
        0 if size == length else max(0, min(start, length - size))
        for start, size, length in zip(starts, sizes, whole, strict=True)
    ]
    ends = [None if size == length else start + size for start, size, length in zip(places, sizes, whole, strict=True)]
    return _cut(graph, x, sizes, places, ends, [1] * len(whole))


def _reversed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    shape, axes = _shapes(equation)[0], equation.params["dimensions"]
    limits = ([-1] * len(axes), [-_END] * len(axes), axes, [-1] * len(axes))
    return graph.add("Slice", [graph.whole(x, shape), *(graph.numbers(*part) for part in limits)], shape, x.dtype)


def _padded(graph: Graph, equation: Any, x: Tensor, value: Tensor) -> Tensor:
    config, whole = equation.params["padding_config"], _shapes(equation)[0]
    if any(between for _, _, between in config):
        raise _unsupported(equation, "between entries")
    x = graph.whole(x, whole)
    starts = [max(0, -int(low)) for low, _, _ in config]
    ends = [int(high) if high < 0 else None for _, high, _ in config]
    cut = [
        length - start + (end or 0) if start or end else length
        for length, start, end in zip(whole, starts, ends, strict=True)
    ]
    x = _cut(graph, x, cut, starts, ends, [1] * len(whole))
    pads = [max(0, int(low)) for low, _, _ in config] + [max(0, int(high)) for _, high, _ in config]
    return graph.add("Pad", [x, graph.numbers(*pads), value], *_out(equation)) if any(pads) else x


def _gathered(graph: Graph, equation: Any, x: Tensor, places: Tensor) -> Tensor:
    params, whole = equation.params, _shapes(equation)[0]
    places = graph.whole(places, _shapes(equation)[1])
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    if places.value is not None and places.value.ndim == 1 and not numbers.operand_batching_dims:
        starts = dict(zip(numbers.start_index_map, places.value.tolist(), strict=True))
        starts = [starts.get(axis, 0) for axis in range(len(whole))]
        return graph.reshaped(_window(graph, graph.whole(x, whole), starts, sizes, whole), _out(equation)[0])
    return _entries(graph, equation, graph.whole(x, whole), places)


def _entries(graph: Graph, equation: Any, x: Tensor, places: Tensor) -> Tensor:
    """Take what lies at places along some axes, each moved inside: the first axes, or those behind the shared ones."""
    numbers, (shape, _) = equation.params["dimension_numbers"], _out(equation)
    shared, axes = numbers.operand_batching_dims, numbers.start_index_map
    first = (*shared, *axes) == tuple(range(len(shared) + len(axes))) and numbers.collapsed_slice_dims == axes
    last = numbers.offset_dims == tuple(range(len(places.shape) - 1, len(shape)))
    if not (first and last and numbers.start_indices_batching_dims == shared):
        raise _unsupported(equation, "of windows")
    int64 = helper.np_dtype_to_tensor_dtype(np.dtype(np.int64))
    places = graph.add("Cast", [places], places.shape, np.int64, to=int64)
    ends = graph.add("Sub", [graph.dims([x.shape[axis] for axis in axes]), graph.numbers(1)], (len(axes),), np.int64)
    for kind, limit in (("Max", graph.numbers(0)), ("Min", ends)):
        places = graph.add(kind, [places, limit], places.shape, np.int64)
    return graph.add("GatherND", [x, places], shape, x.dtype, batch_dims=len(shared))


def _added_at(graph: Graph, equation: Any, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """Add a window at a place that is known."""
    numbers, (shape, _) = equation.params["dimension_numbers"], _out(equation)
    places = graph.whole(places, _shapes(equation)[1])
    if places.value is None or places.value.ndim != 1 or numbers.operand_batching_dims:
        raise _unsupported(equation, "at places that are computed")
    starts = dict(zip(numbers.scatter_dims_to_operand_dims, places.value.tolist(), strict=True))
    window = iter(_shapes(equation)[2])
    sizes = [1 if axis in numbers.inserted_window_dims else next(window) for axis in range(len(shape))]
    before = [starts.get(axis, 0) for axis in range(len(shape))]
    after = [
        0 if size == length else length - size - start for size, length, start in zip(sizes, shape, before, strict=True)
    ]
    updates = graph.reshaped(graph.whole(updates, _shapes(equation)[2]), sizes)
    wide = graph.add("Pad", [updates, graph.numbers(*before, *after)], shape, x.dtype)
    return graph.add("Add", [x, wide], shape, x.dtype)


# --- products and windows ---


def _product(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
    ((over_x, over_y), (by_x, by_y)), (x, y) = equation.params["dimension_numbers"], _wholes(graph, equation, (x, y))
    if not by_x and len(y.shape) == 2 and over_x == (len(x.shape) - 1,) and over_y == (0,):
        return graph.add("MatMul", [x, y], *_out(equation))
    letters = iter(string.ascii_letters)
    own = {axis: next(letters) for axis in range(len(x.shape))}
    other = {axis: own[at] for axis, at in zip((*over_y, *by_y), (*over_x, *by_x), strict=True)}
    other |= {axis: next(letters) for axis in range(len(y.shape)) if axis not in other}
    free = [own[axis] for axis in range(len(x.shape)) if axis not in (*over_x, *by_x)]
    free += [other[axis] for axis in range(len(y.shape)) if axis not in (*over_y, *by_y)]
    left, right = ("".join(names[axis] for axis in sorted(names)) for names in (own, other))
    told = f"{left},{right}->{''.join([own[axis] for axis in by_x] + free)}"
    return graph.add("Einsum", [x, y], *_out(equation), equation=told)


def _convolved(graph: Graph, equation: Any, x: Tensor, kernel: Tensor) -> Tensor:
    params, (x, kernel) = equation.params, _wholes(graph, equation, (x, kernel))
    numbers = params["dimension_numbers"]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise _unsupported(equation, "of images with gaps")
    x, kernel = _permuted(graph, x, numbers.lhs_spec), _permuted(graph, kernel, numbers.rhs_spec)
    (shape, dtype), order = _out(equation), numbers.out_spec
    before, after = zip(*params["padding"], strict=True)
    drawn = graph.add(
        "Conv",
        [x, kernel],
        [shape[axis] for axis in order],
        dtype,
        strides=list(params["window_strides"]),
        pads=[*map(int, before), *map(int, after)],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return _permuted(graph, drawn, np.argsort(order).tolist())


def _pooled(graph: Graph, equation: Any, x: Tensor, kind: str, **attributes: Any) -> Tensor:
    """Take what lies in windows over the second and the third of four axes."""
    params, (shape, dtype) = equation.params, _out(equation)
    window, padding = params["window_dimensions"], params["padding"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if len(shape) != 4 or (window[0], window[3]) != (1, 1) or dilated:
        raise _unsupported(equation, "of other axes than height and width")
    order, back = (0, 3, 1, 2), (0, 2, 3, 1)
    x = _permuted(graph, graph.whole(x, _shapes(equation)[0]), order)
    before, after = zip(*padding[1:3], strict=True)
    attributes |= dict(kernel_shape=list(window[1:3]), strides=list(params["window_strides"][1:3]))
    pads = [*map(int, before), *map(int, after)]
    found = graph.add(kind, [x], [shape[axis] for axis in order], dtype, pads=pads, **attributes)
    return _permuted(graph, found, back)


def _summed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    mean = _pooled(graph, equation, x, "AveragePool", count_include_pad=1)
    count = constant(mean.dtype.type(math.prod(equation.params["window_dimensions"])))
    return graph.add("Mul", [mean, count], mean.shape, mean.dtype)


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
    "slice": _sliced,
    "dynamic_slice": _moved,
    "rev": _reversed,
    "pad": _padded,
    "gather": _gathered,
    "scatter-add": _added_at,
    "dot_general": _product,
    "conv_general_dilated": _convolved,
    "reduce_window_sum": _summed,
    "reduce_window_max": functools.partial(_pooled, kind="MaxPool"),
}
