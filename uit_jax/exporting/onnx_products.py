"""Products of matrices, convolutions and pools in ONNX; see `onnx_nodes`."""

import math
import string
from typing import Any

import numpy as np

from uit_jax.exporting.onnx_graph import Graph, Tensor, constant, out, shapes, unsupported


def product(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
    ((over_x, over_y), (by_x, by_y)), (x, y) = equation.params["dimension_numbers"], graph.wholes((x, y), equation)
    if not by_x and len(y.shape) == 2 and over_x == (len(x.shape) - 1,) and over_y == (0,):
        return graph.add("MatMul", [x, y], *out(equation))
    letters = iter(string.ascii_letters)
    own = {axis: next(letters) for axis in range(len(x.shape))}
    other = {axis: own[at] for axis, at in zip((*over_y, *by_y), (*over_x, *by_x), strict=True)}
    other |= {axis: next(letters) for axis in range(len(y.shape)) if axis not in other}
    free = [own[axis] for axis in range(len(x.shape)) if axis not in (*over_x, *by_x)]
    free += [other[axis] for axis in range(len(y.shape)) if axis not in (*over_y, *by_y)]
    left, right = ("".join(names[axis] for axis in sorted(names)) for names in (own, other))
    told = f"{left},{right}->{''.join([own[axis] for axis in by_x] + free)}"
    return graph.add("Einsum", [x, y], *out(equation), equation=told)


def convolved(graph: Graph, equation: Any, x: Tensor, kernel: Tensor) -> Tensor:
    params, (x, kernel) = equation.params, graph.wholes((x, kernel), equation)
    numbers = params["dimension_numbers"]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise unsupported(equation, "of images with gaps")
    x, kernel = graph.permuted(x, numbers.lhs_spec), graph.permuted(kernel, numbers.rhs_spec)
    (shape, dtype), order = out(equation), numbers.out_spec
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
    return graph.permuted(drawn, np.argsort(order).tolist())


def pooled(graph: Graph, equation: Any, x: Tensor, kind: str, **attributes: Any) -> Tensor:
    """Take what lies in windows over the second and the third of four axes."""
    params, (shape, dtype) = equation.params, out(equation)
    window, padding = params["window_dimensions"], params["padding"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if len(shape) != 4 or (window[0], window[3]) != (1, 1) or dilated:
        raise unsupported(equation, "of other axes than height and width")
    order, back = (0, 3, 1, 2), (0, 2, 3, 1)
    x = graph.permuted(graph.whole(x, shapes(equation)[0]), order)
    before, after = zip(*padding[1:3], strict=True)
    attributes |= dict(kernel_shape=list(window[1:3]), strides=list(params["window_strides"][1:3]))
    pads = [*map(int, before), *map(int, after)]
    found = graph.add(kind, [x], [shape[axis] for axis in order], dtype, pads=pads, **attributes)
    return graph.permuted(found, back)


def summed(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    mean = pooled(graph, equation, x, "AveragePool", count_include_pad=1)
    count = constant(mean.dtype.type(math.prod(equation.params["window_dimensions"])))
    return graph.add("Mul", [mean, count], mean.shape, mean.dtype)
