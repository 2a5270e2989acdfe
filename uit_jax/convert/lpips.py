"""LPIPS, in: torchvision's file of the network and lpips' own of its weights, or one file of both."""

import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from uit_jax import tensors
from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import Named, Tensors, layer, with_path
from uit_jax.errors import UserError
from uit_jax.nn.lpips import LPIPS, SLICES
from uit_jax.paths import PathLike
from uit_jax.types import PyTree

NETWORKS = {"alex": "AlexNet", "vgg": "VGG-16"}

# The names of either file, as those of a whole network of lpips say them, which has the weights twice.
_NAMES = (
    (re.compile(r"(?:net\.slice\d|features)\.(\d+)\.(weight|bias)"), r"features.\1.\2"),
    (re.compile(r"(?:lin|lins\.)(\d)\.model\.\d\.weight"), r"lin\1.model.1.weight"),
)
# Classes that are not asked for, and constants.
_LEFT_OUT = re.compile(r"classifier\..*|scaling_layer\..*")


def kind_of(names: Iterable[str]) -> str | None:
    """Return which network, "alex" or "vgg", the tensors of these names are of; None for any other."""
    found = {_renamed(name.removeprefix("module.")) for name in names}
    last = {kind: f"features.{slices[-1].layers[-1].number}.weight" for kind, slices in SLICES.items()}
    return next((kind for kind in ("vgg", "alex") if last[kind] in found), None)


def read(kind: str, *paths: PathLike) -> PyTree:
    """Read the variables of `LPIPS(kind)` from .pth, .pt, .safetensors or .npz files.

    Args:
      kind: "alex" or "vgg".
      paths: torchvision's file of the network and lpips' of the weights, in any order; or a single one that has both.

    Raises:
      UserError: a file cannot be read, or they hold another network; the line names what is missing or too much.
    """
    given = {}
    for path in paths:
        given |= tensors.read(path)
    return with_path(", ".join(map(str, paths)), take, kind, given)


def take(kind: str, given: Tensors) -> PyTree:
    """Turn the entries of all files together into the variables of `LPIPS(kind)`. Raises UserError; see `read`."""
    given = {_renamed(name.removeprefix("module.")): value for name, value in given.items()}
    given = {name: value for name, value in given.items() if not _LEFT_OUT.fullmatch(name)}
    network = NETWORKS[kind]
    for part, told in (("features.", f"torchvision's file of {network}"), ("lin", f"lpips' file v0.1/{kind}.pth")):
        if not any(name.startswith(part) for name in given):
            raise UserError(f"LPIPS in {network} needs {told} too: none of the tensors is called {part}*")
    image = jnp.zeros((1, 64, 64, 3))
    like = jax.eval_shape(LPIPS(kind).init, jax.random.key(0), image, image)
    return state_dicts.take(f"LPIPS in {network}", given, _names(kind, like), like)


def _renamed(name: str) -> str:
    for pattern, plain in _NAMES:
        name = pattern.sub(plain, name)
    return name


def _names(kind: str, variables: PyTree) -> Named:
    for index, (_, layers) in enumerate(SLICES[kind]):
        for number, *_ in layers:
            yield from layer(variables, f"features.{number}", f"conv_{number}")
        yield from layer(variables, f"lin{index}.model.1", f"weights_{index}")
