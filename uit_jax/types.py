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


class Method(NamedTuple):
    """One paper as a record of pure functions that close over its networks and hyper-parameters.

    Attributes:
      init: `(key, batch) -> TrainState`; `batch` is what the data pipeline yields (arrays or
        `jax.ShapeDtypeStruct`s), of which only shapes are read.
      phase: `(step) -> str`, on the host; a static string, so that each phase is one compiled program.
      stream: `(phase) -> str`, the part of the data a phase draws its batches from:
        "all", "labelled" or "unlabelled".
      batch_size: `(phase, batch_size) -> int`, the size of a phase's global batch, given the run's.
      views: `(key, batch, axis_name=None) -> batch`, uint8 images in, the random views `update` reads out.
      update: `(state, views, *, phase, axis_name=None) -> (state, metrics)`, one training iteration.
      variables: `(state) -> pytree`, what inference needs (averaged weights) and nothing else.
      translate: `(variables, inputs) -> images`; `inputs` holds "content" [B, H, W, C] and either
        "reference" [B, H, W, C] or "style" [B, D].
      readouts: named functions `(variables, images) -> array` for evaluators and pictures:
        "cluster" gives probabilities [B, K], "style" gives codes [B, D].
      multiple: sides of an image handed to `translate` must be multiples of this.
    """

    init: Callable[..., Any]
    phase: Callable[[int], str]
    stream: Callable[[str], str]
    batch_size: Callable[[str, int], int]
    views: Callable[..., Batch]
    update: Callable[..., tuple[Any, Metrics]]
    variables: Callable[[Any], PyTree]
    translate: Callable[[PyTree, Mapping[str, Array]], Array]
    readouts: Mapping[str, Callable[[PyTree, Array], Array]]
    multiple: int = 1
