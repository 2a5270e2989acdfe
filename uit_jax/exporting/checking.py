"""Whether a file does what its model does, on real images, before it is kept."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.exporting.functions import Function
from uit_jax.inference import batched, inputs
from uit_jax.inference.inputs import Images
from uit_jax.inference.model import Model
from uit_jax.listing import pick_evenly, picked

TOLERANCE = 2e-3
"""How far a file may be off, as a share of the range of what comes out; whole numbers may be off by one."""

_IMAGES = 4  # three together, then one of another size where that is open


class Difference(NamedTuple):
    """How far a file was off.

    Attributes:
      largest: of all numbers.
      span: the range of these: 255 for whole numbers of 8 bits, 2 for images from -1 to 1, of codes the largest.
      images: that it was tried on.
    """

    largest: float
    span: float
    images: int

    @property
    def allowed(self) -> float:
        return max(TOLERANCE * self.span, 1.0 if self.span >= 255 else 0.0)

    def told(self) -> str:
        return f"largest difference from the model {self.largest:.3g} of {self.span:.4g}, on {self.images} images"


class Pictures(NamedTuple):
    """Images to try a file on, whole numbers [n, S, S, C] at the model's size: to translate, and of a style."""

    contents: np.ndarray
    references: np.ndarray


def pictures(model: Model, images: Images | None = None) -> Pictures:
    """Read some images: those that are given, or of the run's own. Raises UserError."""
    form = dict(size=model.image_size, **model.form)
    if images is not None:
        given = inputs.gather(images, "images")
        _, found = inputs.readable(given._replace(items=picked(given.items, _IMAGES)), "images", **form)
        found = found[np.arange(_IMAGES) % len(found)]
        return Pictures(found, found[::-1])
    config, sides = getattr(model, "config", None), model.method.sides
    try:
        if config is None:
            raise UserError("it has none")
        sources = data.open_sides(sides, config.data, size=model.image_size, seed=config.seed)
        found = [data.examples(each, pick_evenly(len(each), _IMAGES)) for each in sources.values()]
    except UserError as error:
        told = "the run's own images, on which a file is checked, cannot be read: name some by --images=PATH"
        raise UserError(f"{told} ({error})") from error
    contents, references = (each[np.arange(_IMAGES) % len(each)] for each in (found[0], found[-1]))
    return Pictures(contents, references[::-1])


def compare(function: Function, run: Callable[..., np.ndarray], model: Model, shown: Pictures) -> Difference:
    """Compare what a file makes of some images with what the model makes of them, on the processor.

    Raises:
      UserError: they are further apart than `TOLERANCE` allows.
    """
    largest, span = 0.0, 0.0
    with _on_processor():
        for arrays in _tries(function, model, shown):
            found, wanted = run(*arrays), function.run(*arrays)
            if wanted.dtype.kind == "f" and not np.isfinite(wanted).all():
                raise UserError(f"the model gives numbers that are not finite, of which no file can be right: {_OTHER}")
            if found.shape != wanted.shape or found.dtype != wanted.dtype:
                kinds = [f"{each.dtype} {each.shape}" for each in (found, wanted)]
                raise UserError(f"the file gives {kinds[0]}, and the model {kinds[1]}: {_FAULT}")
            off = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max()
            largest, span = np.maximum(largest, off), max(span, _span(function, wanted))
    difference = Difference(float(largest), span, len(shown.contents))
    if not difference.largest <= difference.allowed:
        raise UserError(f"{difference.told()}, where {difference.allowed:.3g} is allowed: {_FAULT}")
    return difference


_FAULT = "nothing is kept; give another --to, and tell us of it"
_OTHER = "nothing is kept; give another --checkpoint, or other --images"


def _span(function: Function, wanted: np.ndarray) -> float:
    if wanted.dtype.kind != "f":
        return float(np.iinfo(wanted.dtype).max)
    return 2.0 if len(function.output.shape) == 4 else max(1.0, float(np.abs(wanted).max()))


def _tries(function: Function, model: Model, shown: Pictures) -> Iterator[list[np.ndarray]]:
    """Yield inputs of three images, and of one, which is of another size where any will do."""
    multiple = model.method.multiple
    for rows, more in ((slice(3), (0, 0)), (slice(3, None), (multiple, 2 * multiple))):
        part = Pictures(shown.contents[rows], shown.references[rows])
        side = batched.drawn_size(*part.contents.shape[1:3], multiple)
        size = tuple(one + other for one, other in zip(side, more, strict=True))
        yield [_input(function, each.name, each.shape, each.dtype, model, part, size) for each in function.inputs]


def _input(
    function: Function, name: str, shape: Sequence, dtype: str, model: Model, shown: Pictures, size: tuple[int, int]
) -> np.ndarray:
    """Return what is to go in under a name."""
    if len(shape) == 4:
        images = shown.contents if name == "content" else shown.references
        sides = tuple(part if isinstance(part, int) else own for part, own in zip(shape[1:3], size, strict=True))
        images = _fitted(images, sides)
        return images if dtype != "float32" else (images / (np.iinfo(images.dtype).max / 2) - 1).astype(np.float32)
    count = len(shown.references)
    if name == "style":
        return batched.read(model.method, "style", model.variables, shown.references)
    most = {"domain": model.method.classes, "number": len(function.about.get("styles", ())) or 2**16}.get(name, 2**16)
    return (np.arange(count) * 7 % most).astype(dtype)


def _fitted(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut images to a height and width, or continue them by reflection."""
    images = images[:, : size[0], : size[1]]
    return batched.pad(images, size)


@contextlib.contextmanager
def _on_processor() -> Iterator[None]:
    """Compute on the processor, where products are not rounded to fewer digits."""
    try:
        (processor, *_) = jax.local_devices(backend="cpu")
    except RuntimeError:
        yield
        return
    with jax.default_device(processor):
        yield
