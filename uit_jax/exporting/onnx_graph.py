"""A traced function as a graph of ONNX: constants folded, the forms of the default platform, any number of images.

A library does this for more primitives, jax2onnx. Its 0.17.1 wants an Orbax older than ours, and where the number of
images is open it gave graphs that onnxruntime refused, of FUNIT's networks for one.
"""

import hashlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import onnx
from onnx import helper, numpy_helper

from uit_jax.errors import UserError

OPSET = 18
_IR = 10
_BATCH = "number_of_images"


def lacking(what: str) -> UserError:
    """Return the error for what has no form in ONNX."""
    return UserError(f"--to=onnx: what this run computes has no form there ({what}): give --to=stablehlo")


class Tensor(NamedTuple):
    """An array of the graph: its name there, or its value where that is known.

    Attributes:
      shape: what it has; an axis of length 1 may stand for any length, as NumPy broadcasts.
    """

    name: str
    shape: tuple
    dtype: np.dtype
    value: np.ndarray | None = None


def constant(value: Any) -> Tensor:
    value = np.asarray(value)
    return Tensor("", value.shape, value.dtype, value)


class Graph:
    """Nodes and constants as they come. The one dimension that is open is the number of images, `b` of the inputs."""

    def __init__(self, inputs: Mapping[str, jax.core.ShapedArray]):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.shapes: dict[tuple, Tensor] = {}
        self.inputs = [Tensor(name, tuple(each.shape), np.dtype(each.dtype)) for name, each in inputs.items()]

    def add(self, kind: str, inputs: Sequence[Tensor], shape: Sequence, dtype: Any, **attributes: Any) -> Tensor:
        """Add a node of one output."""
        return self.add_several(kind, inputs, [shape], dtype, **attributes)[0]

    def add_several(
        self, kind: str, inputs: Sequence[Tensor], shapes: Sequence[Sequence], dtype: Any, **attributes: Any
    ) -> list[Tensor]:
        """Add a node of some outputs."""
        names = [self.name(each) for each in inputs]
        called = f"{kind}_{len(self.nodes)}"
        made = [Tensor(f"{called}_{number}", tuple(shape), np.dtype(dtype)) for number, shape in enumerate(shapes)]
        self.nodes.append(helper.make_node(kind, names, [each.name for each in made], **attributes))
        return made

    def name(self, tensor: Tensor) -> str:
        """Return the name of a tensor; a constant comes into the graph by it."""
        if tensor.value is None:
            return tensor.name
        value = np.ascontiguousarray(tensor.value)
        kind = f"{value.dtype.str}{value.shape}".encode()
        key = f"constant_{hashlib.blake2b(kind + value.tobytes(), digest_size=8).hexdigest()}"
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(value.reshape(tensor.value.shape), key)
        return key

    def numbers(self, *values: int) -> Tensor:
        """Return int64 numbers, such as axes."""
        return constant(np.asarray(values, np.int64))

    def dims(self, shape: Sequence) -> Tensor:
        """Return a shape as int64 numbers, which are computed where the number of images is among them."""
        if all(isinstance(part, int) for part in shape):
            return self.numbers(*shape)
        if (key := tuple(shape)) not in self.shapes:
            images = self.add("Shape", [self.inputs[0]], (1,), np.int64, start=0, end=1)
            parts = [self._dim(part, images) for part in shape]
            self.shapes[key] = self.add("Concat", parts, (len(parts),), np.int64, axis=0)
        return self.shapes[key]

    def _dim(self, part: Any, images: Tensor) -> Tensor:
        """Return one size as an array of one number: so many times the number of images, and so many more."""
        if isinstance(part, int):
            return self.numbers(part)
        one, two = (_size(part, count) for count in (1, 2))
        if _size(part, 3) != 2 * two - one:
            raise lacking(f"a size of {part}")
        times, more = two - one, 2 * one - two
        found = images if times == 1 else self.add("Mul", [images, self.numbers(times)], (1,), np.int64)
        return self.add("Add", [found, self.numbers(more)], (1,), np.int64) if more else found

    def whole(self, tensor: Tensor, shape: Sequence) -> Tensor:
        """Return a tensor with all its axes as long as they are to be."""
        if tensor.shape == tuple(shape):
            return tensor
        if tensor.value is not None and all(isinstance(part, int) for part in shape):
            return constant(np.broadcast_to(tensor.value, shape))
        return self.add("Expand", [tensor, self.dims(shape)], shape, tensor.dtype)

    def reshaped(self, tensor: Tensor, shape: Sequence) -> Tensor:
        """Return a tensor of the same numbers in another shape."""
        shape = tuple(shape)
        if tensor.shape == shape:
            return tensor
        if tensor.value is not None:
            return constant(tensor.value.reshape(shape))
        # One dimension may be told by the others.
        told = [part if isinstance(part, int) else -1 for part in shape]
        target = self.numbers(*told) if told.count(-1) < 2 and 0 not in told else self.dims(shape)
        return self.add("Reshape", [tensor, target], shape, tensor.dtype)

    def permuted(self, tensor: Tensor, axes: Sequence[int]) -> Tensor:
        """Return a tensor with its axes in another order."""
        if tensor.value is not None:
            return constant(tensor.value.transpose(axes))
        if list(axes) == list(range(len(axes))):
            return tensor
        shape = [tensor.shape[axis] for axis in axes]
        return self.add("Transpose", [tensor], shape, tensor.dtype, perm=list(axes))

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        """Return a tensor of the same numbers of another type."""
        dtype = np.dtype(dtype)
        if dtype == tensor.dtype:
            return tensor
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return self.add("Cast", [tensor], tensor.shape, dtype, to=kind)

    def wholes(self, tensors: Sequence[Tensor], equation: Any) -> list[Tensor]:
        """Return the inputs of an equation with all their axes as long as they are to be."""
        return [self.whole(each, shape) for each, shape in zip(tensors, shapes(equation), strict=True)]

    def model(self, outputs: Mapping[str, Tensor], about: Mapping[str, str]) -> onnx.ModelProto:
        """Return the graph with all that leads to its outputs, and nothing else."""
        last = [helper.make_node("Identity", [self.name(each)], [name]) for name, each in outputs.items()]
        nodes, wanted = [], {name for node in last for name in node.input}
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                nodes.append(node)
                wanted |= set(node.input)
        graph = helper.make_graph(
            [*reversed(nodes), *last],
            "uit_jax",
            [self._info(each.name, each) for each in self.inputs],
            [self._info(name, each) for name, each in outputs.items()],
            [value for name, value in self.constants.items() if name in wanted],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR)
        helper.set_model_props(model, dict(about))
        return model

    def _info(self, name: str, tensor: Tensor) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
        shape = [part if isinstance(part, int) else _BATCH for part in tensor.shape]
        return helper.make_tensor_value_info(name, kind, shape)


def run(graph: Graph, jaxpr: Any, constants: Sequence[Tensor], arguments: Sequence[Tensor]) -> list[Tensor]:
    """Add a jaxpr to a graph and return its outputs. Raises UserError where ONNX lacks one of its primitives."""
    found = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(atom: Any) -> Tensor:
        return constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else found[atom]

    for equation in jaxpr.eqns:
        made = _equation(graph, equation, [read(each) for each in equation.invars])
        found.update(zip(equation.outvars, made, strict=True))
    return [read(each) for each in jaxpr.outvars]


def _equation(graph: Graph, equation: Any, inputs: list[Tensor]) -> list[Tensor]:
    from uit_jax.exporting.onnx_nodes import NODES

    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [constant(np.int32(params["platforms"].index(None)))]
    if name == "cond":
        return _inlined(graph, params["branches"][_known(name, inputs[0])], inputs[1:])
    for inner in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if inner in params:
            return _inlined(graph, params[inner], inputs)
    if all(each.value is not None for each in inputs) and _closed(equation):
        return _folded(equation, inputs)
    if name not in NODES:
        raise lacking(name)
    made = NODES[name](graph, equation, *inputs)
    return made if isinstance(made, list) else [made]


def _known(name: str, tensor: Tensor) -> int:
    if tensor.value is None:
        raise lacking(f"{name}, of what images decide")
    return int(tensor.value)


def _inlined(graph: Graph, jaxpr: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    constants = [constant(each) for each in getattr(jaxpr, "consts", ())]
    return run(graph, getattr(jaxpr, "jaxpr", jaxpr), constants, inputs)


def _closed(equation: Any) -> bool:
    """Say whether no size of an equation's results is open, nor what it returns one."""
    sizes = [part for each in equation.outvars for part in each.aval.shape]
    return all(isinstance(part, int) for part in (*sizes, equation.params.get("dim", 0)))


def _size(part: Any, images: int) -> int:
    """Return what a size that is open comes to for some images: its text is one of a sum and its products."""
    return eval(str(part), {"__builtins__": {}, "b": images, "floordiv": operator.floordiv, "mod": operator.mod})


def _folded(equation: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Compute what is known already, and keep no axis along which it is all the same."""
    values = [np.broadcast_to(each.value, var.aval.shape) for each, var in zip(inputs, equation.invars, strict=True)]
    made = equation.primitive.bind(*map(jax.numpy.asarray, values), **equation.params)
    return [constant(_compact(each)) for each in (made if equation.primitive.multiple_results else [made])]


def _compact(value: Any) -> np.ndarray:
    value = np.asarray(value)
    for axis in range(value.ndim):
        first = value[(slice(None),) * axis + (slice(1),)]
        if value.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, value.shape), value):
            value = first
    return value


def broadcast(*shapes: tuple) -> tuple:
    """Return the shape of what is computed of tensors of some shapes, entry by entry."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((part for part in parts if not _is_one(part)), 1) for parts in zip(*padded, strict=True))


def _is_one(part: Any) -> bool:
    return isinstance(part, int) and part == 1


def shapes(equation: Any) -> list[tuple]:
    """Return the shapes that the inputs of an equation are to have."""
    return [tuple(each.aval.shape) for each in equation.invars]


def out(equation: Any) -> tuple[tuple, np.dtype]:
    """Return shape and type of an equation's first result."""
    found = equation.outvars[0].aval
    return tuple(found.shape), np.dtype(found.dtype)


def unsupported(equation: Any, what: str) -> UserError:
    """Return the error for an equation of a kind that has no form here."""
    return lacking(f"{equation.primitive}, {what}")
