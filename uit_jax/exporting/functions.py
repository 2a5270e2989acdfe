"""What of a model goes into a file: one pure function of weights and arrays, with what its arrays look like.

Shapes are as `jax.export.symbolic_shape` reads them: `b` is any number of images, `4*h` and `4*w` any multiples of 4.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from uit_jax import __version__
from uit_jax.augment import normalize
from uit_jax.errors import UserError
from uit_jax.inference.batched import to_whole
from uit_jax.inference.model import Model
from uit_jax.inference.styles import DomainStyles, Look
from uit_jax.methods import METHODS
from uit_jax.types import Array, PyTree

FUNCTIONS = ("translate", "encode", "cluster", "sample")
STYLES = ("reference", "code", "domain")
SMALLEST = 4
"""Sides of an image are so many times what they must be multiples of, at least: a border is reflected there."""

Shape = tuple[int | str, ...]
Size = tuple[int, int] | None
"""Height and width of the images; None for any."""


class Named(NamedTuple):
    """An array that goes in or comes out.

    Attributes:
      name: what it is called in the file.
      shape: of numbers and texts, as this module has them.
      dtype: the name of its numbers' type.
      told: what they mean, in a few words.
    """

    name: str
    shape: Shape
    dtype: str
    told: str


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function that a file is to hold.

    Attributes:
      name: one of `FUNCTIONS`.
      call: (weights, *arrays) -> array, pure.
      weights: what it reads, arrays of any tree.
      inputs, output: what goes in and what comes out.
      about: of which model it is, JSON-able.
    """

    name: str
    call: Callable[..., Array]
    weights: PyTree
    inputs: tuple[Named, ...]
    output: Named
    about: dict[str, Any]

    def header(self) -> dict[str, Any]:
        """Return what a file says of itself, JSON-able."""
        arrays = {"inputs": [each._asdict() for each in self.inputs], "output": self.output._asdict()}
        return {"written_by": f"uit_jax {__version__}", **self.about, "function": self.name, **arrays}

    @functools.cached_property
    def like(self) -> list[jax.ShapeDtypeStruct]:
        """What its inputs look like to JAX, with symbols for what is open."""
        scope = export.SymbolicScope([f"{side} >= {SMALLEST}" for side in "hw"] if self.free else [])
        shapes = [export.symbolic_shape(", ".join(map(str, each.shape)) + ",", scope=scope) for each in self.inputs]
        return [jax.ShapeDtypeStruct(shape, each.dtype) for shape, each in zip(shapes, self.inputs, strict=True)]

    @property
    def smallest(self) -> list[jax.ShapeDtypeStruct]:
        """What its smallest inputs look like."""
        sizes = {"b": 1, "h": SMALLEST, "w": SMALLEST}
        return [jax.ShapeDtypeStruct(shape_at(each.shape, **sizes), each.dtype) for each in self.inputs]

    @functools.cached_property
    def run(self) -> Callable[..., np.ndarray]:
        """The function as the model has it: arrays -> array."""
        compiled = jax.jit(self.call)
        return lambda *arrays: np.asarray(compiled(self.weights, *arrays))

    @property
    def free(self) -> bool:
        """Whether it takes images of any height and width."""
        return any(isinstance(part, str) for each in self.inputs for part in each.shape[1:])


def build(
    model: Model,
    name: str = "translate",
    *,
    style: str | None = None,
    look: Look | None = None,
    domains: DomainStyles | None = None,
    size: Size = None,
    floats: bool = False,
    exact: bool = False,
) -> Function:
    """Return a function of a model.

    Args:
      name: "translate", "encode" (images to style codes), "cluster" (images to probabilities) or "sample" (seeds and
        numbers to the codes that `Model.sample` has there).
      style: what translates takes beside the contents, of a method with styles: "reference", images, "code", or
        "domain", numbers of pseudo domains; by default images.
      look: styles that the file is to hold, as `Model.look` returns them, in the place of `style`: one, and then it
        translates contents alone; or several, of which it takes the numbers.
      domains: the mean styles of the pseudo domains, for "domain"; by default `model.domain_styles()`.
      size: of the contents; of None any, as far as the method can.
      floats: whether images are float32 from -1 to 1, and not whole numbers of the model's bits.
      exact: compute in float32, whatever the model was trained in.

    Raises:
      UserError: the model has no such function, or takes no such images.
    """
    if name not in FUNCTIONS:
        raise UserError(f"--function={name}: give one of {', '.join(FUNCTIONS)}")
    if (style or look) and name != "translate":
        raise UserError(f"--function={name}: takes no style; leave it out")
    maker = _Maker(model, floats, exact)
    if name == "translate":
        return maker.translate(style, look, domains, size)
    return maker.sample() if name == "sample" else maker.read(name, {"encode": "style"}.get(name, name))


class _Maker:
    """Makes the functions of a model."""

    def __init__(self, model: Model, floats: bool, exact: bool):
        self.model, self.floats = model, floats
        method = model.method
        self.method = dataclasses.replace(method, precision="float32") if exact else method
        self.kind = "float32" if floats else "uint8" if model.form["depth"] == 8 else "uint16"
        self.range = "from -1 to 1" if floats else f"from 0 to {np.iinfo(self.kind).max}"

    def image(self, name: str, channels: int, size: Size, multiple: int = 1) -> Named:
        """Return what images look like."""
        height, width = size or (_times(multiple, "h"), _times(multiple, "w"))
        limits = "" if size else f"; sides are multiples of {multiple}, {SMALLEST * multiple} at least"
        return Named(name, ("b", height, width, channels), self.kind, f"images {self.range}{limits}")

    @property
    def own(self) -> tuple[int, int]:
        return (self.model.image_size,) * 2

    def coded(self, name: str) -> Named:
        """Return what style codes look like."""
        return Named(name, ("b", self._width("style")), "float32", "style codes")

    def _width(self, readout: str) -> int:
        image = jax.ShapeDtypeStruct((1, *self.own, self.model.form["channels"]), np.float32)
        return jax.eval_shape(self.method.readouts[readout], self.model.variables, image).shape[-1]

    def read(self, name: str, readout: str) -> Function:
        """Return a read-out of images."""
        if readout not in self.method.readouts:
            raise UserError(f"--function={name}: the method of this run has none; it has {', '.join(self._known())}")
        function, told = self.method.readouts[readout], {"style": "style codes"}.get(readout, "probabilities")

        def call(weights, images):
            return function(weights, _in_range(images))

        images = self.image("images", self.model.form["channels"], self.own)
        found = Named(told.split()[-1], ("b", self._width(readout)), "float32", told)
        return self._made(name, call, self.model.variables, (images,), found)

    def sample(self) -> Function:
        """Return the method's prior over styles: of a seed and a number the code that `Model.sample` has there."""
        if not self.model.sampled:
            raise UserError("--function=sample: the method of this run samples no styles")
        prior, by_class = self.method.style_prior, self.method.sampled_by_class

        def call(weights, seeds, numbers, *domains):
            keys = jax.vmap(lambda seed, number: jax.random.fold_in(jax.random.key(seed), number))(seeds, numbers)
            return prior(weights, keys, *domains)

        told = {"seed": "of each code", "number": "of each code among those of its seed, from 0 on"}
        inputs = [Named(name, ("b",), "uint32", what) for name, what in told.items()]
        if by_class:
            inputs.append(Named("domain", ("b",), "int32", f"that a code is of, from 0 to {self.method.classes - 1}"))
        return self._made("sample", call, self.model.variables, tuple(inputs), self.coded("codes"))

    def translate(
        self, style: str | None, look: Look | None, domains: DomainStyles | None, size: Size
    ) -> Function:
        """Return the translation of contents, to the style that they come with, or that is given."""
        if style not in (None, *STYLES):
            raise UserError(f"--style={style}: give one of {', '.join(STYLES)}")
        if style and not self.model.styled:
            raise UserError(f"--style={style}: the method of this run has no styles to choose from; leave it out")
        if look is not None and style:
            raise UserError(f"--style={style}: a style that is named goes into the file; leave one of the two out")
        if look is not None and (look.codes.ndim != 2 or look.own is not None):
            raise UserError("look: a file holds styles that are the same for every content; give one without contents")
        multiple, given, table, labels = self.method.multiple, [], None, None
        if size != self.own:
            _check_size(size, multiple)
        if look is not None:
            table, labels = np.asarray(look.codes, np.float32), list(look.labels)
        elif style == "domain":
            found = domains or self.model.domain_styles()
            table, counts = found.means, found.counts
            labels = [f"domain {number}, {count} images" for number, count in enumerate(counts)]
        elif style == "code":
            given = [self.coded("style")]
        elif self.model.styled:
            given = [self.image("reference", self.model.form["channels"], self.own)]
        if table is not None and len(table) > 1:
            given = [Named("number", ("b",), "int32", f"of the style, from 0 to {len(table) - 1}")]
        call = _Translate(self.method, given[0].name if given else "", table is not None, self.kind)
        contents = self.image("content", self.method.sides[0].channels, size, multiple)
        drawn = self.image("translation", self.model.target_channels, size, multiple)
        drawn = drawn._replace(told=f"images {self.range}")
        weights = {"variables": self.model.variables, **({} if table is None else {"styles": table})}
        return self._made("translate", call, weights, (contents, *given), drawn, labels)

    def _made(self, name, call, weights, inputs, output, labels=None) -> Function:
        about = {"method": self.method_name, "precision": self.method.precision}
        about |= {"step": step} if (step := getattr(self.model, "step", None)) is not None else {}
        about |= {"styles": labels} if labels else {}
        if len(self.method.sides) > 1 and (config := getattr(self.model, "config", None)) is not None:
            about["direction"] = config.data.direction
        return Function(name, call, jax.device_get(weights), inputs, output, about)

    @property
    def method_name(self) -> str:
        kind = type(self.method)
        return next((name for name, known in METHODS.items() if known is kind), kind.__name__)

    def _known(self) -> list[str]:
        readouts = {"encode": self.model.styled, "cluster": self.model.clustered, "sample": self.model.sampled}
        return ["translate", *(name for name, known in readouts.items() if known)]


@dataclasses.dataclass(frozen=True)
class _Translate:
    """(weights, contents, what `second` names) -> translations; `tabled` says that the weights hold styles [n, D]."""

    method: Any
    second: str
    tabled: bool
    kind: str

    def __call__(self, weights: PyTree, contents: Array, *given: Array) -> Array:
        inputs = {"content": _in_range(contents)}
        if self.second == "number":
            inputs["style"] = jnp.asarray(weights["styles"]).at[given[0]].get(mode="clip")
        elif self.tabled:
            inputs["style"] = jnp.broadcast_to(weights["styles"], (contents.shape[0], *weights["styles"].shape[1:]))
        elif self.second:
            inputs[self.second] = _in_range(given[0]) if self.second == "reference" else given[0]
        drawn = self.method.translate(weights["variables"], inputs)
        return drawn.astype(jnp.float32) if self.kind == "float32" else to_whole(drawn, self.kind)


def shape_at(shape: Shape, **sizes: int) -> tuple[int, ...]:
    """Return a shape with what is open in it set: `b`, `h` and `w`."""
    parts = (str(part).split("*") for part in shape)
    return tuple(math.prod(sizes.get(factor) or int(factor) for factor in part) for part in parts)


def _in_range(images: Array) -> Array:
    return normalize(images) if jnp.issubdtype(images.dtype, jnp.integer) else images


def _times(multiple: int, side: str) -> str:
    return f"{multiple}*{side}" if multiple > 1 else side


def _check_size(size: Size, multiple: int) -> None:
    """Raise a UserError where a method does not translate images of a height and width."""
    if size and any(side % multiple or side < SMALLEST * multiple for side in size):
        told = f"sides must be multiples of {multiple}, and {SMALLEST * multiple} at least"
        raise UserError(f"--image_size={size[0]}x{size[1]}: {told}")
