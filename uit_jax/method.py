"""What a method is: a frozen dataclass of hyper-parameters with pure functions, and the records it speaks in."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uit_jax import remat, settings
from uit_jax.errors import UserError
from uit_jax.optimizers import Optimizer
from uit_jax.settings import setting
from uit_jax.state import Learner, TrainState
from uit_jax.types import Array, Batch, Metrics, PyTree, Stage

LARGEST_SIDE = 2**14
"""The largest side of training images, pixels."""

DIRECTIONS = ("AtoB", "BtoA")
"""Which of two domains is translated into which, the domains being named as the user's data are."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """The part of a source that batches are drawn from.

    Attributes:
      kind: "all", "labelled", "unlabelled", or "partly_labelled", all images with the labels of some.
      labelled_share: of each class, the share of images whose labels are known: 0 none, 1 all.
    """

    kind: str = "all"
    labelled_share: float = 0.0


def portion(count: int, share: float) -> int:
    """Return how many of some things a share of them are, rounded down; hundredths of a hundred are whole numbers."""
    return math.floor(count * share + 1e-9)


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a step is, known before it is traced: one compiled program for each. A method adds fields of its own.

    Attributes:
      name: for people: progress, metrics, benchmarks.
      stream: the part of the data that the batches come from.
      batch_size: of the global batch; 0 for the run's own.
      batch_key: the setting that its own batch size comes from, for messages.
      load_size: the side to which images are resized when they are read, 0 for their own size; None for that of the
        training images.
      translates: whether what translates learns in it.
    """

    name: str
    stream: Stream = Stream()
    batch_size: int = 0
    batch_key: str = "batch_size"
    load_size: int | None = None
    translates: bool = True


class Side(NamedTuple):
    """A source of images that a method learns from: "image", or "a" and "b" of two domains.

    Attributes:
      name: under which a batch holds its images, uint8 or uint16 [B, H, W, C].
      channels: of its images.
      labelled: whether a batch holds the images' labels beside them, int32 [B] under "label", -1 where unknown.
      numbered: whether it also holds which images of the source these are, int32 [B] under "number", from 0 on.
    """

    name: str
    channels: int
    labelled: bool = False
    numbered: bool = False


class Network(NamedTuple):
    """A network that learns.

    Attributes:
      module: a Flax module.
      optimizer: how it moves.
      inputs: examples of what it is called with, shapes alone counting.
      averaged: whether a running average of its weights is kept.
      options: keywords of that call.
    """

    module: Any
    optimizer: optax.GradientTransformation
    inputs: tuple[Any, ...]
    averaged: bool = False
    options: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One paper: its hyper-parameters are the fields, its functions pure methods of them.

    Equal methods hash equal, so that what was compiled for one serves the other. A variant is a subclass that overrides
    a default or a function. What a method must say: `kept`, `networks`, `views`, `update`, `translate`.

    Class attributes:
      kept: the learners whose weights inference needs.
      batch_multiple: a device's share of a batch must be a multiple of this, and so must each of its microbatches.
      followed: names of the evaluators worth running during training.
      best_metric: the score of theirs that the best checkpoint has most of, behind a minus least; "" for none.
      inherited: names of what of the memory belongs to the weights, and goes with them into another run.
      style_prior: of the variables, samples styles float32 [n, D], one for each of keys [n]; None where a style is of
        images alone.
      sampled_by_class: whether styles are of classes: whether it, and the read-out "style", also take the classes,
        int32 [n], or None for any.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    batch_multiple: ClassVar[int] = 1
    followed: ClassVar[tuple[str, ...]] = ()
    best_metric: ClassVar[str] = ""
    inherited: ClassVar[tuple[str, ...]] = ()
    style_prior: ClassVar[Callable[..., Array] | None] = None
    sampled_by_class: ClassVar[bool] = False

    image_size: int = setting(128, "side of the square training images, pixels", low=1, high=LARGEST_SIDE, owner="data")
    channels: int = setting(3, "channels of the images: 1, 3, or any number that the files have", low=1, owner="data")
    precision: str = setting(
        "float32", "of activations; weights, norms and losses stay float32", choices=("float32", "bf16"), owner=""
    )
    sync_statistics: bool = setting(
        True, "batch-norm and clustering statistics over the global batch, not each device's", owner=""
    )
    recompute: str = setting(
        "none",
        "what gradients compute anew, to save memory: nothing, all but convolutions (light), or whole networks (full)",
        choices=remat.KINDS,
        owner="",
    )
    microbatches: int = setting(
        1, "parts of a device's batch that pass through a network one after the other, to save memory", low=1, owner=""
    )

    def __post_init__(self):
        settings.check(self, "method")

    # --- what it needs ---

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sources that batches are drawn from."""
        return (Side("image", self.channels),)

    @property
    def classes(self) -> int:
        """How many classes a label may name; 1 where no label is read."""
        return 1

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        """Raise a UserError that begins with `name` where so many images of these classes cannot be learned from."""

    def check_files(self) -> None:
        """Raise a UserError where a file of weights that training reads, and inference does not, cannot be read."""

    def phase(self, step: int) -> Phase:
        """Return what a step is, counted from 0."""
        return Phase("train")

    @property
    def multiple(self) -> int:
        """Sides of an image handed to `translate` must be multiples of this, as a network says of its own input."""
        return max((getattr(self.networks[name].module, "multiple", 1) for name in self.kept), default=1)

    @property
    def share_multiple(self) -> int:
        """A device's share of a batch must be a multiple of this."""
        return self.batch_multiple * self.microbatches

    # --- what it learns ---

    @property
    def dtype(self):
        """What networks compute in."""
        return jnp.bfloat16 if self.precision == "bf16" else jnp.float32

    def call(self, network: Any, variables: PyTree, *inputs: PyTree, **options: Any) -> PyTree:
        """Apply a Flax module to a batch, its gradient in as little memory as `recompute` and `microbatches` say.

        Every array, of `inputs` and of what is returned, has the examples first. The module draws no random numbers.
        """
        # What has statistics of the batch has to see all of it.
        parts = self.microbatches if variables.keys() == {"params"} else 1
        function = functools.partial(network.apply, **options)
        return remat.call(function, variables, *inputs, kind=self.recompute, parts=parts)

    def example(self, channels: int = 0) -> jax.ShapeDtypeStruct:
        """Return what one training image looks like to a network: [1, S, S, C], by default of the method's channels."""
        return jax.ShapeDtypeStruct((1, self.image_size, self.image_size, channels or self.channels), jnp.float32)

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        """All that learns, by name."""
        raise NotImplementedError

    @functools.cached_property
    def optimizers(self) -> dict[str, optax.GradientTransformation]:
        """How each network moves."""
        return {name: network.optimizer for name, network in self.networks.items()}

    def rates(self, step: int) -> dict[str, float]:
        """Return the step sizes of an iteration, counted from 0, by the learners whose optimisers tell them."""
        told = {name: each for name, each in self.optimizers.items() if isinstance(each, Optimizer)}
        return {name: each.rate_at(step) for name, each in told.items()}

    def memory(self, key: Array, batch_size: int) -> PyTree:
        """Return what the state remembers besides its learners: queues, pools; `batch_size` is that of a global batch.

        Raises a UserError where these do not go together.
        """
        return ()

    def init(self, key: Array, batch_size: int) -> TrainState:
        """Sample all weights and begin the memory. Raises UserError where the batch size cannot be."""
        require(
            batch_size % self.share_multiple == 0,
            f"batch_size={batch_size} cannot be divided by {self.share_multiple}, as this method, or its microbatches,"
            f" have to: use a multiple of {self.share_multiple}",
        )
        key, *keys, memory_key = jax.random.split(key, len(self.networks) + 2)
        learners = {}
        for (name, network), own in zip(self.networks.items(), keys, strict=True):
            inputs = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), network.inputs)
            variables = network.module.init(own, *inputs, **network.options)
            learners[name] = Learner.create(variables, network.optimizer, averaged=network.averaged)
        return TrainState(jnp.zeros((), jnp.int32), key, learners, self.memory(memory_key, batch_size))

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make the random views of a batch of whole-number images that `update` reads."""
        raise NotImplementedError

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one training iteration."""
        raise NotImplementedError

    # --- what it offers ---

    def variables(self, state: TrainState) -> PyTree:
        """Return what inference needs, averaged weights where there are any, and nothing else."""
        learners = {name: state.learners[name] for name in self.kept}
        return {name: each.variables if each.ema is None else each.averaged for name, each in learners.items()}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Redraw `inputs["content"]`, [B, H, W, C], of any size that is a multiple of `multiple`.

        A method with styles reads them from `inputs["reference"]`, [B, H, W, C], or takes `inputs["style"]`, [B, D].
        """
        raise NotImplementedError

    @property
    def readouts(self) -> Mapping[str, Callable[[PyTree, Array], Any]]:
        """Functions `(variables, images) -> array` by name, for evaluators and pictures.

        "cluster" gives probabilities [B, K], "style" gives codes [B, D], "patch_codes" gives unit codes
        {layer: [B, h, w, D]} of the patches of an image.
        """
        return {}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """`translate` in parts that can be drawn in tiles; () where it cannot."""
        return ()

    def exchanged(self, variables: PyTree) -> "tuple[Method, PyTree] | None":
        """Return the same model with its two domains exchanged: what translated A to B translates B to A.

        None where it translates one way only.
        """
        return None


@functools.lru_cache(maxsize=32)
def training_step(method: Method) -> Callable[..., tuple[TrainState, Metrics]]:
    """Compose a method's views and update into the function that the trainer compiles: one for equal methods."""

    def step(state: TrainState, batch: Batch, *, phase: Phase, axis_name: str | None = None):
        key = jax.random.fold_in(state.key, state.step)
        with jax.named_scope("views"):
            views = method.views(key, batch, axis_name)
        return method.update(state, views, phase=phase, axis_name=axis_name)

    return step


def phases(method: Method, steps: int, begin: int = 0) -> tuple[Phase, ...]:
    """Return the phases of a run of so many steps, in their order; with `begin`, from that step on.

    Of a very long run every step at its two ends and very many between them are looked at, not all.
    """
    some, every = 20_000, range(begin, steps)
    looked = [every[:some], every[-some:], every[:: max(1, len(every) // some)]]
    return tuple(dict.fromkeys(map(method.phase, sorted({*itertools.chain(*looked)}))))


def phase_size(phase: Phase, batch_size: int) -> int:
    """Return the size of a phase's global batch, given the run's."""
    return phase.batch_size or batch_size


def phase_key(phase: Phase) -> str:
    """Return the setting that the size of a phase's global batch comes from."""
    return phase.batch_key if phase.batch_size else "batch_size"


def load_size(method: Method, phase: Phase) -> int:
    """Return the side to which a phase's images are resized when they are read; 0 for their own size."""
    return method.image_size if phase.load_size is None else phase.load_size


def batch_shapes(
    method: Method, phase: Phase, batch_size: int, *, depth: int = 8
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return what the global batch of a phase looks like; images of their own size stand in at twice the training's."""
    size = phase_size(phase, batch_size)
    side = load_size(method, phase) or 2 * method.image_size
    kind, found = np.uint8 if depth == 8 else np.uint16, {}
    for each in method.sides:
        found[each.name] = jax.ShapeDtypeStruct((size, side, side, each.channels), kind)
        found |= {what: jax.ShapeDtypeStruct((size,), np.int32) for what in beside(each)}
    return found


def beside(side: Side) -> tuple[str, ...]:
    """Return what a batch holds of a side beside its images, int32 [B] each: "label", "number"."""
    return ("label",) * side.labelled + ("number",) * side.numbered


def require(condition: bool, message: str) -> None:
    """Raise a UserError with a message that names the key, unless a condition holds."""
    if not condition:
        raise UserError(message)
