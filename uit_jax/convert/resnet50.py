"""ResNet-50, in: MoCo v2's published checkpoints, of whose networks the query's encoder is taken, and torchvision's.

Of both the layers behind the means are left out: MoCo's head, torchvision's classes.
"""

import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from uit_jax import tensors
from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import Named, Tensors, batch_norm, layer, with_path
from uit_jax.nn.resnet50 import STAGES, ResNet50
from uit_jax.paths import PathLike
from uit_jax.types import PyTree

OWN = re.compile(rf"(?:state_dict\.)?(?:module\.)?(?:encoder_q\.)?((?:conv1|bn1|{'|'.join(STAGES)})\..+)")
"""The names of its tensors, and what there may be before them."""


def is_one(names: Iterable[str]) -> bool:
    """Say whether a file with tensors of these names holds a ResNet of such blocks."""
    return any((match := OWN.fullmatch(name)) and match[1] == "layer4.2.conv3.weight" for name in names)


def read(path: PathLike) -> PyTree:
    """Read the variables of `ResNet50` from a .pth, .pt, .ckpt, .safetensors or .npz file.

    Raises:
      UserError: the file cannot be read, or holds another network; the line names what is missing or too much.
    """
    return with_path(path, take, tensors.read(path))


def take(given: Tensors) -> PyTree:
    """Turn a state_dict into the variables of `ResNet50`. Raises UserError; see `read`."""
    like = jax.eval_shape(ResNet50().init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    own = {match[1]: value for name, value in given.items() if (match := OWN.fullmatch(name))}
    return state_dicts.take("ResNet-50", own, _names(like), like)


def _names(variables: PyTree) -> Named:
    yield from _layer(variables, "conv1", "bn1", "stem")
    for stage, (_, blocks) in STAGES.items():
        for index in range(blocks):
            theirs, ours = f"{stage}.{index}", f"{stage}_{index}"
            for place in (1, 2, 3):
                yield from _layer(variables, f"{theirs}.conv{place}", f"{theirs}.bn{place}", f"{ours}/layer_{place}")
            if "shortcut" in variables["params"][ours]:
                yield from _layer(variables, f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}/shortcut")


def _layer(variables: PyTree, conv: str, norm: str, ours: str) -> Named:
    yield from layer(variables, conv, f"{ours}/conv")
    yield from batch_norm(variables, norm, f"{ours}/bn")
