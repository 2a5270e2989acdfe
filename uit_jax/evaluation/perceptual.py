"""LPIPS by weights that are given: the distances of all pairs among some images."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from uit_jax.augment import normalize
from uit_jax.convert import lpips as weights_file
from uit_jax.errors import UserError
from uit_jax.evaluation.networks import sha256
from uit_jax.nn.lpips import LPIPS
from uit_jax.types import Array, PyTree

VARIABLE = "UIT_LPIPS"
"""The environment variable that names the files of the weights, as PATH names folders."""


@dataclasses.dataclass(frozen=True, eq=False)
class Perceptual:
    """LPIPS v0.1 with its weights.

    Attributes:
      kind: "alex" or "vgg".
      files: where the weights are from, and the SHA-256 of each.
      variables: the weights.
    """

    kind: str
    files: dict[str, str]
    variables: PyTree = dataclasses.field(repr=False)

    def among(self, images: np.ndarray) -> np.ndarray:
        """Return the distance of every pair of images uint8 or uint16 [n, S, S, 3]: float32 [n (n - 1) / 2]."""
        return np.asarray(_among(self.kind)(self.variables, images))

    def record(self) -> dict[str, Any]:
        """Return all that tells it from another one, as a result has it."""
        return {"name": f"LPIPS v0.1, {self.kind}", "sha256": self.files}


def opened(*paths: os.PathLike | str, kind: str = "alex") -> Perceptual | None:
    """Read LPIPS from files, by default those that `UIT_LPIPS` names; None where there are none. Raises UserError."""
    paths = paths or tuple(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)))
    if not paths:
        return None
    if kind not in weights_file.NETWORKS:
        raise UserError(f"--lpips_network={kind}: there are {', '.join(weights_file.NETWORKS)}")
    variables = weights_file.read(kind, *paths)
    return Perceptual(kind, {Path(path).name: sha256(path) for path in paths}, jax.device_put(variables))


@functools.lru_cache(maxsize=2)
def _among(kind: str):
    network = LPIPS(kind)

    @jax.jit
    def among(variables: PyTree, images: Array) -> Array:
        features = network.apply(variables, normalize(images), method="features")
        first, second = np.triu_indices(len(images), 1)
        pairs = ([maps[rows] for maps in features] for rows in (first, second))
        return network.apply(variables, *pairs, method="compare")

    return among
