"""A model as files that others read: StableHLO, ONNX, a SavedModel of TensorFlow, or a folder for a hub."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from uit_jax import runs
from uit_jax.errors import UserError
from uit_jax.exporting import checking, functions
from uit_jax.exporting.checking import Difference
from uit_jax.exporting.functions import Function, Size
from uit_jax.exporting.stablehlo import SizesNeeded
from uit_jax.files import being_written, check_places, check_writable
from uit_jax.inference.inputs import Images
from uit_jax.inference.model import Model
from uit_jax.inference.styles import DomainStyles, Look
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.runs import Trained

__all__ = ["FORMATS", "Exported", "Format", "export"]

HUB = "hub-folder"


class Format(NamedTuple):
    """A kind of file.

    Attributes:
      module: what writes and reads it.
      suffix: of its name; "" for a folder.
      extra: the packages that it takes, by their extra.
      exact: whether it computes in float32, whatever the model was trained in.
      free: whether images may be of any size.
    """

    module: str
    suffix: str
    extra: str = ""
    exact: bool = False
    free: bool = True


FORMATS = {
    "stablehlo": Format("uit_jax.exporting.stablehlo", ".npz"),
    "onnx": Format("uit_jax.exporting.onnx_files", ".onnx", extra="export", exact=True, free=False),
    "savedmodel": Format("uit_jax.exporting.savedmodel", ""),
    HUB: Format("uit_jax.exporting.hub", ""),
}


class Exported(NamedTuple):
    """What was written.

    Attributes:
      path: the file or folder.
      function: what it does; None of a folder for a hub.
      difference: how far it was off the model on some images; None of a folder for a hub, which is read back bit for
        bit.
      notes: what is not as it was asked for.
    """

    path: Path
    function: Function | None = None
    difference: Difference | None = None
    notes: tuple[str, ...] = ()


def export(
    model: Model | PathLike,
    to: str,
    out: PathLike,
    *,
    function: str = "translate",
    style: str | None = None,
    look: Look | None = None,
    domains: DomainStyles | None = None,
    size: Size | str | None = None,
    floats: bool = False,
    images: Images | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model to a file, which is kept if it does what the model does.

    Args:
      model: a trained run, or its folder.
      to: "stablehlo", "onnx", "savedmodel" or "hub-folder".
      out: the file, .npz or .onnx, or the folder, which must not be there yet.
      function: "translate"; "encode", to style codes; "cluster", to probabilities of pseudo domains; "sample", seeds to
        style codes.
      style: what translates takes beside contents, where the method has styles: "reference", "code", or "domain",
        the number of a pseudo domain; by default a reference.
      look: styles that the file is to hold instead, as `Model.look` returns them; of several it takes the number.
      domains: the mean styles of pseudo domains, for "domain", as `Model.domain_styles` returns them, its default.
      size: (height, width) of contents, or "any"; by default any where the format can, else the model's.
      floats: whether images are float32 from -1 to 1, in and out, and not whole numbers.
      images: to compare file and model on; by default some of the run's own.
      overwrite: whether a file that is there may be replaced.

    Raises:
      UserError: the model has no such function, the format no form for it, the place cannot be written, there are no
        images to compare on, or file and model differ by more than `exporting.checking.TOLERANCE`.
    """
    kind, out = _format(to), as_path(out)
    _check_place(kind, to, out, overwrite)
    module = _module(kind, to)
    model = model if isinstance(model, Model) else runs.load(model)
    if isinstance(model, Trained) and out.absolute().is_relative_to((model.workdir / "checkpoints").absolute()):
        raise UserError(f"--out={out}: lies among the run's checkpoints, which it would spoil: name another place")
    if to == HUB:
        if not isinstance(model, Trained):
            raise UserError(f"--to={HUB}: takes a run that was read back by uit_jax.load")
        with being_written(out) as partial:
            module.write(model, partial)
        return Exported(out)
    shown = checking.pictures(model, images)
    own = (model.image_size,) * 2
    chosen = _size(size, kind, own)
    how = dict(style=style, look=look, domains=domains, floats=floats, exact=kind.exact)
    made = functions.build(model, function, size=chosen, **how)
    with being_written(out) as partial:
        made, notes = _written(module.write, made, partial, lambda: functions.build(model, function, size=own, **how))
        difference = checking.compare(made, module.opened(partial), model, shown)
    return Exported(out, made, difference, notes)


def _written(
    write: Callable[[Function, Path], None], made: Function, path: Path, fixed: Callable[[], Function]
) -> tuple[Function, tuple[str, ...]]:
    """Write a function, of images of one size where any is more than its networks can take; say so."""
    try:
        write(made, path)
        return made, ()
    except SizesNeeded as why:
        made = fixed()
        write(made, path)
        height, width = made.inputs[0].shape[1:3]
        return made, (f"of images of {height} x {width} px alone, as these networks need to know their size ({why})",)


def _format(to: str) -> Format:
    if to not in FORMATS:
        raise UserError(f"--to={to}: give one of {', '.join(FORMATS)}")
    return FORMATS[to]


def _module(kind: Format, to: str) -> Any:
    try:
        return importlib.import_module(kind.module)
    except ImportError as error:
        raise UserError(f"--to={to}: {error}: pip install 'uit-jax[{kind.extra}]'") from error


def _size(size: Size | str | None, kind: Format, own: tuple[int, int]) -> Size:
    """Return height and width of the contents; None for any."""
    if size == "any" and not kind.free:
        raise UserError("--image_size=any: ONNX takes images of one size here; give N or HEIGHTxWIDTH")
    if size in (None, "any"):
        return None if kind.free else own
    return tuple(size)


def _check_place(kind: Format, to: str, out: Path, overwrite: bool) -> None:
    """Make sure that a file or folder can be written without a loss. Raises UserError."""
    if kind.suffix:
        if out.suffix != kind.suffix or out.is_dir():
            raise UserError(f"--out={out}: give the name of a file that ends in {kind.suffix}")
        check_places({"--out": out}, overwrite=overwrite)
    elif is_remote(out):
        raise UserError(f"--out={out}: give a folder of this machine for --to={to}, and copy it from there")
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out={out} is there already: name another place, or remove it")
    check_writable(out.parent, "--out")
