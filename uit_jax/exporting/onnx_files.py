"""A function as ONNX, for images of a fixed size, any number of them; the header is among its properties."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime

from uit_jax.exporting import onnx_graph
from uit_jax.exporting.functions import Function


def write(function: Function, path: Path) -> None:
    """Write a function to an .onnx file. Raises UserError where ONNX has no form of it."""
    weights, inputs = function.weights, function.like
    traced = jax.make_jaxpr(lambda *arrays: function.call(weights, *arrays))(*inputs)
    graph = onnx_graph.Graph(dict(zip([each.name for each in function.inputs], inputs, strict=True)))
    constants = [onnx_graph.constant(each) for each in traced.consts]
    (made,) = onnx_graph.run(graph, traced.jaxpr, constants, graph.inputs)
    shape = tuple(traced.out_avals[0].shape)
    model = graph.model({function.output.name: graph.whole(made, shape)}, {"uit_jax": json.dumps(function.header())})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def opened(path: Path) -> Callable[..., np.ndarray]:
    """Read a file back and run it by onnxruntime: arrays -> array."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]
