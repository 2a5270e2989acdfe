"""A StableHLO file run as docs/export.md shows it, in a process that has neither this library nor Flax."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from uit_jax.exporting.functions import shape_at

ROOT = Path(__file__).parents[2]
_BLOCKED = ("flax", "uit_jax", "optax", "orbax", "tensorflow")


def example() -> str:
    """Return the loader of the page."""
    return re.search(r"```python\n(import json\n.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)[1]


def call(file: Path, arrays: list[np.ndarray], folder: Path) -> np.ndarray:
    """Give arrays to a file in such a process, and return what comes out."""
    np.savez(folder / "given.npz", *arrays)
    code = "\n".join(
        [
            "import sys",
            f"sys.modules.update(dict.fromkeys({_BLOCKED!r}))",
            example(),
            "given = np.load('given.npz')",
            f"function, header = load({str(file)!r})",
            "np.save('found.npy', function(*given.values()))",
            f"assert not [name for name in sys.modules if name.split('.')[0] in {_BLOCKED!r} and sys.modules[name]]",
        ]
    )
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "found.npy")


def off(file: Path, function, folder: Path) -> float:
    """Return how far a file is off its function there, of the range of what comes out, on random inputs."""
    rng = np.random.default_rng(0)

    def draw(each):
        shape = shape_at(each.shape, b=2, h=5, w=4)
        if each.dtype == "float32":
            return rng.uniform(-1, 1, shape).astype(np.float32)
        return rng.integers(0, 256 if len(shape) == 4 else 2, shape).astype(each.dtype)

    arrays = [draw(each) for each in function.inputs]
    found, wanted = call(file, arrays, folder), function.run(*arrays)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype and np.ptp(wanted.astype(float)) > 0
    span = np.iinfo(wanted.dtype).max if wanted.dtype.kind != "f" else max(1.0, np.abs(wanted).max())
    return np.abs(found.astype(float) - wanted.astype(float)).max() / span
