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

    Run one after the other with the usual instance norm and origin (0, 0), the stages are `translate`.

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


class Method(NamedTuple):
    """One paper as a record of pure functions that close over its networks and hyper-parameters.

    Attributes:
      init: `(key, batch) -> TrainState`; `batch` is what the data pipeline yields (arrays or
        `jax.ShapeDtypeStruct`s), of which only shapes are read.
      phase: `(step) -> str`, on the host; a static string, so that each phase is one compiled program.
      stream: `(phase) -> str`, the part of the data a phase draws its batches from:
        "all", "labelled", "unlabelled", or "partly_labelled", all images with the labels of some.
      batch_size: `(phase, batch_size) -> int`, the size of a phase's global batch, given the run's.
      views: `(key, batch, axis_name=None) -> batch`, uint8 images in, the random views `update` reads out.
      update: `(state, views, *, phase, axis_name=None) -> (state, metrics)`, one training iteration.
      variables: `(state) -> pytree`, what inference needs (averaged weights) and nothing else.
      translate: `(variables, inputs) -> images`; `inputs` holds "content" [B, H, W, C] and, for a method that
        reads styles, either "reference" [B, H, W, C] or "style" [B, D].
      readouts: named functions `(variables, images) -> array` for evaluators and pictures:
        "cluster" gives probabilities [B, K], "style" gives codes [B, D], "patch_codes" gives unit codes
        {layer: [B, h, w, D]} of the patches of an image.
      multiple: sides of an image handed to `translate` must be multiples of this.
      batch_multiple: a device's share of a batch must be a multiple of this.
      layout: what its batches hold: "single" {image, label}, or "pair" {a, b}, unpaired images of two domains.
      load_size: `(phase) -> int`, the side to which a phase's images are resized when they are read, 0 for their
        own size; None for the size of the training images.
      stages: `translate` in parts that can be drawn in tiles; () where it cannot.
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
    batch_multiple: int = 1
    layout: str = "single"
    load_size: Callable[[str], int] | None = None
    stages: tuple[Stage, ...] = ()
