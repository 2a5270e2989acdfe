"""A function as StableHLO, weights and a header in one .npz, which JAX and NumPy alone read.

    header     JSON, as bytes: what `Function.header` says, and "weights", how many arrays follow
    program    what `jax.export.deserialize` reads: (weights, *inputs) -> output, for CPU, CUDA and TPU
    weight_0   the first array of a list, and so on
"""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax import export

from uit_jax.exporting.functions import Function

PLATFORMS = ("cpu", "cuda", "tpu")


class SizesNeeded(Exception):
    """A function cannot be written down without the height and width of its images."""


def write(function: Function, path: Path) -> None:
    """Write a function to an .npz file."""
    exported, weights = exported_of(function)
    header = {**function.header(), "platforms": PLATFORMS, "weights": len(weights)}
    arrays = {f"weight_{number}": array for number, array in enumerate(weights)}
    header, program = json.dumps(header).encode(), exported.serialize()
    with path.open("wb") as file:
        np.savez(file, header=np.frombuffer(header, np.uint8), program=np.frombuffer(program, np.uint8), **arrays)


def opened(path: Path) -> Callable[..., np.ndarray]:
    """Read a file back: arrays -> array."""
    with np.load(path) as file:
        header = json.loads(file["header"].tobytes())
        program = export.deserialize(bytearray(file["program"].tobytes()))
        weights = [jax.device_put(file[f"weight_{number}"]) for number in range(header["weights"])]
    return lambda *arrays: np.asarray(program.call(weights, *arrays))


def exported_of(function: Function) -> tuple[export.Exported, list[np.ndarray]]:
    """Return a function for all platforms, (weights, *inputs) -> output, and the list of those weights that it reads.

    Raises:
      SizesNeeded: it is to take images of any size, and cannot.
    """
    leaves, tree = jax.tree.flatten(function.weights)

    def lowered(kept: list[int], inputs: list[jax.ShapeDtypeStruct]) -> export.Exported:
        def call(weights, *arrays):
            found = dict(zip(kept, weights, strict=True))
            rest = [found.get(number, np.zeros(leaf.shape, leaf.dtype)) for number, leaf in enumerate(leaves)]
            return function.call(jax.tree.unflatten(tree, rest), *arrays)

        given = [jax.ShapeDtypeStruct(leaves[number].shape, leaves[number].dtype) for number in kept]
        return export.export(jax.jit(call), platforms=PLATFORMS)(given, *inputs)

    # JAX tells what is read, the encoder not by a translation from codes, say, where all sizes are known.
    read = lowered(list(range(len(leaves))), function.smallest).module_kept_var_idx
    kept = [number for number in read if number < len(leaves)]
    try:
        exported = lowered(kept, function.like)
    # What went well with sizes fails without them in as many ways as a network can ask for one.
    except Exception as error:
        if not function.free:
            raise
        raise SizesNeeded(" ".join(str(error).split())[:160]) from error
    return exported, [np.asarray(leaves[number]) for number in kept]
