"""Whose weights a run begins with: those of another run, or of a published file (`init_from`)."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from uit_jax import checkpoint, convert
from uit_jax.convert.papers import is_whole
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.paths import as_path
from uit_jax.state import Learner, TrainState
from uit_jax.types import PyTree


class Origin(NamedTuple):
    """Networks to begin with.

    Attributes:
      told: where they come from.
      learners: by name; of their optimisers nothing is used.
      memory: by name, what belongs to these weights.
    """

    told: str
    learners: Mapping[str, Learner]
    memory: Mapping[str, PyTree]

    def begin(self, state: TrainState) -> TrainState:
        """Put the networks into a fresh state; its optimisers, and what it remembers besides, stay as they are."""
        learners = {name: _begun(state.learners[name], own) for name, own in self.learners.items()}
        state = state.with_learners(learners)
        return state.replace(memory={**state.memory, **_copied(self.memory)}) if self.memory else state

    def describe(self, state: TrainState) -> str:
        """Say in one line which networks come from there and which begin anew."""
        anew = [name for name in state.learners if name not in self.learners]
        return f"beginning with {', '.join(self.learners)} of {self.told}" + (f"; anew: {', '.join(anew)}" * bool(anew))


def read(spec: str, method: Method, shapes: TrainState) -> Origin:
    """Read the networks of `spec`: WORKDIR, WORKDIR:CHECKPOINT, or a file that `uit_jax.convert` reads.

    Args:
      method: of the run that begins with them.
      shapes: of its state.

    Raises:
      UserError: they cannot be read, none is the method's, or one has other shapes.
    """
    if PurePath(spec).suffix in convert.SUFFIXES:
        state = convert.import_file(spec, method, shapes)
        found = {name: own for name, own in state.learners.items() if is_whole(own)}
        return Origin(spec, found, {})
    workdir, which = _place(spec)
    try:
        _, _, state = checkpoint.restore_run(workdir, which)
    except UserError as error:
        raise UserError(f"init_from={spec}: {str(error).removeprefix(f'--workdir={workdir}: ')}") from error
    found = {name: own for name, own in state.learners.items() if name in shapes.learners}
    if not found:
        here, there = ", ".join(shapes.learners), ", ".join(state.learners)
        raise UserError(f"init_from={spec}: its networks ({there}) are none of this method's ({here})")
    for name, own in found.items():
        _check_shapes(spec, name, own.variables, shapes.learners[name].variables)
    kept = state.memory if isinstance(state.memory, Mapping) and isinstance(shapes.memory, Mapping) else {}
    memory = {name: kept[name] for name in method.inherited if name in kept and name in shapes.memory}
    return Origin(f"{workdir}, step {int(state.step)}", found, memory)


def _place(spec: str) -> tuple[str, str]:
    """Separate WORKDIR:CHECKPOINT; a folder that exists is one with its colon."""
    workdir, colon, which = spec.rpartition(":")
    return (workdir, which) if colon and "/" not in which and not as_path(spec).exists() else (spec, "latest")


def _check_shapes(spec: str, name: str, there: PyTree, here: PyTree) -> None:
    """Raise a UserError that names the first entry of a network that is not the same in both."""
    there, here = (dict(map(_entry, jax.tree_util.tree_leaves_with_path(tree))) for tree in (there, here))
    for path in {**here, **there}:
        if there.get(path) != here.get(path):
            was, now = (each.get(path, "not there") for each in (there, here))
            raise UserError(
                f"init_from={spec}: its {name} is another network: {path} is {was}, and {now} with these settings:"
                " give those it was trained with (`uit config` tells them)"
            )


def _entry(found: tuple[Any, Any]) -> tuple[str, tuple[int, ...]]:
    path, leaf = found
    return jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape)


def _begun(learner: Learner, own: Learner) -> Learner:
    ema = None if learner.ema is None else _copied(own.params if own.ema is None else own.ema)
    return learner.replace(params=_copied(own.params), stats=_copied(own.stats), ema=ema)


def _copied(tree: PyTree) -> PyTree:
    # A donated state may not hold one buffer twice.
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)
