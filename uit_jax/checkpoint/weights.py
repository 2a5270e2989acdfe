"""A folder of the weights that translate, and no training: config.json and model.safetensors, as exports leave it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from uit_jax import config as config_module
from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.paths import PathLike, as_path
from uit_jax.types import PyTree

WEIGHTS = "model.safetensors"
_STEP = "step"


def are_alone(workdir: PathLike) -> bool:
    """Say whether a folder holds weights alone, and no checkpoint."""
    return (as_path(workdir) / WEIGHTS).is_file() and not (as_path(workdir) / "checkpoints").is_dir()


def check_trainable(workdir: PathLike) -> None:
    """Raise a UserError where a folder holds weights alone, which training would hide behind its own."""
    if are_alone(workdir):
        raise UserError(
            f"--workdir={workdir}: holds the weights that translate alone, of which none can be trained further:"
            " name the run they are of, or another folder to begin anew"
        )


def save(folder: Path, variables: PyTree, step: int) -> None:
    """Write the variables of a method, as `Method.variables` returns them, and how long it was trained."""
    values = {name: np.asarray(leaf) for name, leaf in _named(jax.device_get(variables)).items()}
    tensors.write(folder / WEIGHTS, {_STEP: np.asarray(step, np.int64), **values})


def restore(workdir: PathLike, which: str | int = "latest") -> tuple[Any, Method, PyTree, int]:
    """Read such a folder: (config, method, variables, step).

    Raises:
      UserError: it holds other weights than its settings ask for, or no such step.
    """
    path = as_path(workdir) / WEIGHTS
    if (config := config_module.saved(workdir)) is None:
        raise UserError(f"--workdir={workdir}: holds {WEIGHTS}, but no config.json beside it")
    method = config_module.method_of(config)
    found = tensors.read(path)
    step = np.asarray(found.pop(_STEP, -1))
    if step.shape or step.dtype.kind not in "iu" or step < 0:
        raise UserError(f"{path}: names no step of training: fetch it anew")
    step = int(step)
    if str(which) not in ("latest", str(step)):
        raise UserError(f"--workdir={workdir}: holds the weights of step {step} alone, and no checkpoint {which}")
    like = jax.eval_shape(lambda: method.variables(config_module.initial_state(config, method)))
    wanted = _named(like)
    for name in sorted({*wanted, *found}):
        kinds = [f"{each[name].dtype} {each[name].shape}" if name in each else "not there" for each in (found, wanted)]
        if kinds[0] != kinds[1]:
            told = f"{name} is {kinds[0]}, and {kinds[1]} by its settings"
            raise UserError(f"{path}: is not of the config.json beside it: {told}: fetch both anew")
    leaves = [found[name] for name in wanted]
    return config, method, jax.tree.unflatten(jax.tree.structure(like), leaves), step


def _named(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by their places, joined by dots."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}
