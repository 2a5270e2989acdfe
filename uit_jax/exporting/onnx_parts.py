"""Parts of arrays in ONNX: cut out, turned round, taken from places, added at places; see `onnx_nodes`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uit_jax.exporting.onnx_graph import Graph, Tensor, out, shapes, unsupported

_END = np.iinfo(np.int64).max


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


def sliced(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    params, whole = equation.params, shapes(equation)[0]
    starts, ends = (
        [_from_either_end(place, length) for place, length in zip(params[limit], whole, strict=True)]
        for limit in ("start_indices", "limit_indices")
    )
    ends = [None if end == length else end for end, length in zip(ends, whole, strict=True)]
    steps = params["strides"] or [1] * len(whole)
    return _cut(graph, graph.whole(x, whole), out(equation)[0], starts, ends, steps)


def moved(graph: Graph, equation: Any, x: Tensor, *starts: Tensor) -> Tensor:
    if any(start.value is None for start in starts):
        raise unsupported(equation, "from places that are computed")
    sizes, whole = equation.params["slice_sizes"], shapes(equation)[0]
    return _window(graph, graph.whole(x, whole), [int(start.value) for start in starts], sizes, whole)


def _window(graph: Graph, x: Tensor, starts: Sequence[int], sizes: Sequence, whole: Sequence) -> Tensor:
    """Take a window of a size from a place, which is moved inside where it would reach over."""
    places = [
        0 if size == length else max(0, min(start, length - size))
        for start, size, length in zip(starts, sizes, whole, strict=True)
    ]
    ends = [None if size == length else start + size for start, size, length in zip(places, sizes, whole, strict=True)]
    return _cut(graph, x, sizes, places, ends, [1] * len(whole))


def turned(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    shape, axes = shapes(equation)[0], equation.params["dimensions"]
    limits = ([-1] * len(axes), [-_END] * len(axes), axes, [-1] * len(axes))
    return graph.add("Slice", [graph.whole(x, shape), *(graph.numbers(*part) for part in limits)], shape, x.dtype)


def padded(graph: Graph, equation: Any, x: Tensor, value: Tensor) -> Tensor:
    config, whole = equation.params["padding_config"], shapes(equation)[0]
    if any(between for _, _, between in config):
        raise unsupported(equation, "between entries")
    x = graph.whole(x, whole)
    starts = [max(0, -int(low)) for low, _, _ in config]
    ends = [int(high) if high < 0 else None for _, high, _ in config]
    cut = [
        length - start + (end or 0) if start or end else length
        for length, start, end in zip(whole, starts, ends, strict=True)
    ]
    x = _cut(graph, x, cut, starts, ends, [1] * len(whole))
    pads = [max(0, int(low)) for low, _, _ in config] + [max(0, int(high)) for _, high, _ in config]
    return graph.add("Pad", [x, graph.numbers(*pads), value], *out(equation)) if any(pads) else x


def gathered(graph: Graph, equation: Any, x: Tensor, places: Tensor) -> Tensor:
    params, whole = equation.params, shapes(equation)[0]
    places = graph.whole(places, shapes(equation)[1])
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    if places.value is not None and places.value.ndim == 1 and not numbers.operand_batching_dims:
        starts = dict(zip(numbers.start_index_map, places.value.tolist(), strict=True))
        starts = [starts.get(axis, 0) for axis in range(len(whole))]
        return graph.reshaped(_window(graph, graph.whole(x, whole), starts, sizes, whole), out(equation)[0])
    return _entries(graph, equation, graph.whole(x, whole), places)


def _entries(graph: Graph, equation: Any, x: Tensor, places: Tensor) -> Tensor:
    """Take what lies at places along some axes, each moved inside, for each of the first axes that both share."""
    numbers, (shape, _) = equation.params["dimension_numbers"], out(equation)
    shared, axes, kept = numbers.operand_batching_dims, numbers.start_index_map, numbers.offset_dims
    first = tuple(range(len(shared)))
    if numbers.collapsed_slice_dims != axes or not shared == numbers.start_indices_batching_dims == first:
        raise unsupported(equation, "of windows")
    places, sizes = graph.cast(places, np.int64), graph.dims([x.shape[axis] for axis in axes])
    ends = graph.add("Sub", [sizes, graph.numbers(1)], (len(axes),), np.int64)
    for kind, limit in (("Max", graph.numbers(0)), ("Min", ends)):
        places = graph.add(kind, [places, limit], places.shape, np.int64)
    # ONNX has the axes of the places first, and those that are kept behind them.
    rest = [axis for axis in range(len(x.shape)) if axis not in (*shared, *axes)]
    x = graph.permuted(x, [*shared, *axes, *rest])
    found = [*places.shape[:-1], *(x.shape[-len(rest) :] if rest else ())]
    taken = graph.add("GatherND", [x, places], found, x.dtype, batch_dims=len(shared))
    order = [axis for axis in range(len(shape)) if axis not in kept] + list(kept)
    return graph.permuted(taken, np.argsort(order).tolist())


def added_at(graph: Graph, equation: Any, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """Add a window at a place that is known."""
    numbers, (shape, _) = equation.params["dimension_numbers"], out(equation)
    places = graph.whole(places, shapes(equation)[1])
    if places.value is None or places.value.ndim != 1 or numbers.operand_batching_dims:
        raise unsupported(equation, "at places that are computed")
    starts = dict(zip(numbers.scatter_dims_to_operand_dims, places.value.tolist(), strict=True))
    window = iter(shapes(equation)[2])
    sizes = [1 if axis in numbers.inserted_window_dims else next(window) for axis in range(len(shape))]
    before = [starts.get(axis, 0) for axis in range(len(shape))]
    after = [
        0 if size == length else length - size - start for size, length, start in zip(sizes, shape, before, strict=True)
    ]
    updates = graph.reshaped(graph.whole(updates, shapes(equation)[2]), sizes)
    wide = graph.add("Pad", [updates, graph.numbers(*before, *after)], shape, x.dtype)
    return graph.add("Add", [x, wide], shape, x.dtype)
