"""A network as a state_dict of torch, in and out: layouts, names, and what to say where the two do not fit.

Who knows a paper's names yields them in the order of the published code, each with the entry of our variables that it
stands for, or with the constant that it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.errors import UserError
from uit_jax.paths import PathLike
from uit_jax.state import Learner, TrainState
from uit_jax.types import PyTree

Tensors = Mapping[str, np.ndarray]


class Form(NamedTuple):
    """How an entry is laid out there and here."""

    theirs: Callable[[np.ndarray], np.ndarray]
    ours: Callable[[np.ndarray], np.ndarray]


SAME = Form(lambda value: value, lambda value: value)
CONV = Form(lambda value: value.transpose(3, 2, 0, 1), lambda value: value.transpose(2, 3, 1, 0))
TRANSPOSED = Form(lambda value: value.transpose(2, 3, 0, 1), lambda value: value.transpose(2, 3, 0, 1))
LINEAR = Form(lambda value: value.transpose(1, 0), lambda value: value.transpose(1, 0))
PER_MAP = Form(lambda value: value[None, :, None, None], lambda value: value[0, :, 0, 0])


class Entry(NamedTuple):
    """An entry of our variables: its path and its form."""

    path: tuple[str, ...]
    form: Form


Named = Iterator[tuple[str, Entry | np.ndarray]]

# What may be there though nothing here stands for it: constants, and statistics of norms that never read them.
BUFFERS = re.compile(r".*\.(filt|kernel|running_mean|running_var|num_batches_tracked)")


# --- the names of common layers ---


def with_path(path: PathLike, action: Callable, *arguments: Any, **options: Any) -> Any:
    """Do something with what a file held; errors begin with its name."""
    try:
        return action(*arguments, **options)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def layer(variables: PyTree, theirs: str, ours: str, form: Form = CONV) -> Named:
    """Yield weight and, if there is one, bias of a layer, whose path `ours` is joined by slashes."""
    path = ("params", *ours.split("/"))
    yield f"{theirs}.weight", Entry((*path, "kernel"), form)
    if "bias" in at(variables, path):
        yield f"{theirs}.bias", Entry((*path, "bias"), SAME)


def batch_norm(variables: PyTree, theirs: str, ours: str) -> Named:
    """Yield the entries of a batch norm if there is one."""
    path = tuple(ours.split("/"))
    if has(variables["params"], path):
        yield from affine(theirs, ours)
        yield f"{theirs}.running_mean", Entry(("batch_stats", *path, "mean"), SAME)
        yield f"{theirs}.running_var", Entry(("batch_stats", *path, "var"), SAME)
        yield f"{theirs}.num_batches_tracked", np.zeros((), np.int64)


def affine(theirs: str, ours: str) -> Named:
    """Yield scale and shift of a norm."""
    path = ("params", *ours.split("/"))
    yield f"{theirs}.weight", Entry((*path, "scale"), SAME)
    yield f"{theirs}.bias", Entry((*path, "bias"), SAME)


def has(tree: Mapping, path: Iterable[str]) -> bool:
    """Say whether anything lies at a path."""
    try:
        at(tree, path)
    except KeyError:
        return False
    return True


def at(tree: PyTree, path: Iterable[str]) -> PyTree:
    """Return what lies at a path. Raises KeyError."""
    for name in path:
        tree = tree[name]
    return tree


def numbered(tree: Mapping, prefix: str) -> int:
    """Count the names with a prefix."""
    return sum(name.startswith(prefix) for name in tree)


# --- in and out ---


def take(network: str, tensors: Tensors, named: Named, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape, or hold what no weight is; the line names them.
    """
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    entries = {name: entry for name, entry in named if isinstance(entry, Entry)}
    shapes = {
        name: form.theirs(np.broadcast_to(np.float32(0), at(like, path).shape)).shape
        for name, (path, form) in entries.items()
    }
    check(network, tensors, shapes)
    check_weights(network, {name: tensors[name] for name in shapes})
    values = {path: form.ours(np.asarray(tensors[name])) for name, (path, form) in entries.items()}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(values[tuple(entry.key for entry in path)], leaf.dtype), like
    )


def give(named: Named, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the constants that the published code expects to find."""
    return {
        name: np.ascontiguousarray(entry.form.theirs(np.asarray(at(variables, entry.path))))
        if isinstance(entry, Entry)
        else entry
        for name, entry in named
    }


def started(learner: Learner, variables: PyTree, averaged: PyTree | None = None) -> Learner:
    """Put variables into a learner; its average, if it keeps one, begins at `averaged`, by default at these."""
    stats = {name: value for name, value in variables.items() if name != "params"}
    ema = None if learner.ema is None else (averaged or variables)["params"]
    return learner.replace(params=variables["params"], stats=stats, ema=ema)


def begun(
    state: TrainState,
    found: Mapping[str, Tensors],
    names: Mapping[str, str],
    read: Callable[[str, Tensors, PyTree], PyTree],
) -> TrainState:
    """Put networks into a state, all else staying as it is.

    Args:
      found: their state_dicts.
      names: network -> its learner.
      read: (network, state_dict, variables that it is to have the shapes of) -> variables.
    """
    learners = {}
    for network, given in found.items():
        learner = state.learners[names[network]]
        learners[names[network]] = started(learner, read(network, given, learner.variables))
    return state.with_learners(learners)


def sort(
    paper: str, networks: Iterable[str], tensors: Tensors, roots: Mapping[str, str]
) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: name -> its state_dict; `module.` of distributed training is dropped.

    Args:
      paper, networks: whose networks these are, and their names, of which one stands before each tensor's in a file of
        several: `G.`, `net_G.`, `G_state_dict.`.
      roots: of a file of one network, which one it is by the first part of a tensor's name; others are left out.

    Raises:
      UserError: there is no such network among them.
    """
    # Longer names first: `G_EMA` begins with `G`.
    known = "|".join(sorted(networks, key=len, reverse=True))
    owned = re.compile(rf"(?:net_?)?({known})(?:_state_dict)?\.(.+)")
    found = {}
    for full, value in tensors.items():
        match = owned.fullmatch(full)
        name = (match[2] if match else full).removeprefix("module.")
        if network := match[1] if match else roots.get(name.split(".")[0]):
            found.setdefault(network, {})[name] = value
    if not found:
        holds = some(tensors, 3) if tensors else "nothing"
        raise UserError(f"no network of {paper} ({', '.join(networks)}) found; the file holds {holds}")
    return found


def check(network: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that tensors have the names and shapes that a network wants; buffers may be there.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes and not BUFFERS.fullmatch(name)]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(shape)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {some(keys)}" for kind, keys in faults.items() if keys)
        raise UserError(f"the checkpoint's {network} does not fit this model's settings; keys {listed}")


def left_out(network: str) -> UserError:
    """Return the error for a network that a model of these settings has not."""
    return UserError(f"the checkpoint holds {network}, which this model's settings leave out: drop it")


def check_weights(network: str, tensors: Tensors) -> None:
    """Raise a UserError that names the first tensor that holds what no weight is: no real numbers, NaN or infinity."""
    for name, value in tensors.items():
        if value.dtype.kind not in "biuf":
            raise UserError(f"the checkpoint's {network} is damaged: {name} holds {value.dtype}, not real numbers")
        if not np.isfinite(value).all():
            raise UserError(f"the checkpoint's {network} is damaged: {name} holds NaN or infinity")


def some(keys: Iterable[str], count: int = 5) -> str:
    """Join the first few of many names, and say how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


# --- settings, read from shapes ---


def read_settings(paper: str, readers: Mapping[str, Callable[[Tensors], dict]], found: Mapping[str, Tensors]) -> dict:
    """Merge what readers, by network, say of those that are there: nested settings.

    Raises:
      UserError: a network is none of the paper's.
    """
    read = {}
    for network, reader in readers.items():
        if network in found:
            try:
                read = merged(read, reader(found[network]))
            except UserError:
                raise
            except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
                # Only a KeyError names what was looked for.
                lacks = f"{error} is" if isinstance(error, KeyError) else "one or more of its tensors are"
                keys = some(found[network], 3)
                raise UserError(
                    f"the checkpoint's {network} is none of {paper}'s: {lacks} not among its keys {keys}"
                ) from error
    return read


def merged(settings: Mapping, others: Mapping) -> dict:
    """Put further nested settings over some."""
    found = dict(settings)
    for name, value in others.items():
        found[name] = merged(found.get(name, {}), value) if isinstance(value, Mapping) else value
    return found


def places(tensors: Tensors, pattern: str) -> list[int]:
    """Return the sorted numbers that a pattern finds in the names of weights of convolutions."""
    matches = ((re.fullmatch(pattern, name), value) for name, value in tensors.items())
    return sorted(int(match[1]) for match, value in matches if match and value.ndim == 4)
