"""The FID's Inception-v3, in: pytorch-fid's file and whatever has its names, such as torch-fidelity's.

A file that torchvision made of another Inception-v3 is refused: it has other classes.
"""

import jax
import jax.numpy as jnp

from uit_jax import tensors
from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import LINEAR, Named, Tensors, batch_norm, layer, with_path
from uit_jax.nn.inception import Inception
from uit_jax.paths import PathLike
from uit_jax.types import PyTree


def read(path: PathLike) -> PyTree:
    """Read the variables of `Inception` from a .pth, .pt, .safetensors or .npz file.

    Raises:
      UserError: the file cannot be read, or holds another network; the line names what is missing or too much.
    """
    return with_path(path, take, tensors.read(path))


def take(given: Tensors) -> PyTree:
    """Turn a state_dict into the variables of `Inception`. Raises UserError; see `read`."""
    like = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 75, 75, 3)))
    return state_dicts.take("Inception-v3", given, _names(like), like)


def _names(variables: PyTree) -> Named:
    for path in _layers(variables["params"]):
        theirs, ours = ".".join(path), "/".join(path)
        yield from layer(variables, f"{theirs}.conv", f"{ours}/conv")
        yield from batch_norm(variables, f"{theirs}.bn", f"{ours}/bn")
    yield from layer(variables, "fc", "fc", LINEAR)


def _layers(params: PyTree, path: tuple[str, ...] = ()):
    """Yield the paths of all convolutions with a batch norm."""
    for name, inside in params.items():
        if "bn" in inside:
            yield *path, name
        elif name != "fc":
            yield from _layers(inside, (*path, name))
