"""The types that carry the program, and the legend of every array's axes.

Axis legend (docstrings write shapes with these letters):

    B  examples of a batch (the device's share of it inside a step)
    H, W, C  rows, columns, channels of an image; images are NHWC
    K  pseudo domains (clusters)      D  entries of a style code
    N  keys in a queue                S  side of a square training image

Images inside the program are float32 in [-1, 1]; uint8 in [0, 255] outside it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Array = jax.Array
Batch = Mapping[str, Array]
Metrics = dict[str, Array]
PyTree = Any


class Stage(NamedTuple):
    """One part of a fully convolutional translator, so that images which do not fit whole can be drawn in tiles.

    Run one after the other with the usual instance norm and origin (0, 0), the stages are the whole.

    Attributes:
      run: `(variables, maps [1, h, w, C], normalize, origin) -> maps [1, h * scale, w * scale, C']`; `normalize`
        stands in for every instance norm of the part, in the order of execution; `origin` is the place, int32 (row,
        column), of the maps' first pixel in the whole input of the stage.
      scale: side of the output in sides of the input.
      halo: the input pixels around a tile on which the outputs inside it depend.
    """

    run: Callable[..., Array]
    scale: float
    halo: int

    def of(self, network: str) -> "Stage":
        """Return the stage as one of a method whose variables hold those of the network under this name."""

        def run(variables, maps, normalize, origin):
            return self.run(variables[network], maps, normalize, origin)

        return self._replace(run=run)
