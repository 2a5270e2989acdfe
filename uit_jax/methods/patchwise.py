"""What methods have in common that compare patches of a translation with its input's (arXiv:2007.15651, Section 3).

No method: `PatchMethod` has the loss on patches, its memory and what follows from these; networks and iteration are a
subclass's.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from uit_jax import augment, optimizers
from uit_jax.losses import contrastive
from uit_jax.memory import key_queue
from uit_jax.method import Network, require
from uit_jax.methods.negatives import Negatives, Patches
from uit_jax.methods.pairs import PairMethod
from uit_jax.nn.norms import instance_norm
from uit_jax.nn.patch_mlp import PatchMLP, at_places
from uit_jax.settings import Adam, LinearDecay, setting
from uit_jax.state import TrainState
from uit_jax.types import Array, Batch, Metrics, PyTree, Stage

Layers = Mapping[int, Array]
"""An array for each compared layer of the generator: features [B, h, w, C], places int32 [B, P], codes [B, P, D]."""


class Recalled(NamedTuple):
    """Of a side's inputs the keys by the averaged networks, and the queues that these are to enter."""

    keys: Layers
    queues: Mapping[str, key_queue.KeyQueue]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchMethod(PairMethod):
    """A translator from A to B that keeps the content by comparing patches.

    A subclass says what its generator is and how features are read with it: `generator_module` and `encode`.
    """

    patches: Patches = Patches()
    negatives: Negatives = Negatives()
    adversarial_weight: float = setting(1.0, "of deceiving the discriminator (Eq. 5)", low=0)
    nce_weight: float = setting(1.0, "of the contrastive loss (Eq. 5); 0 leaves it out", low=0)
    identity: bool = setting(True, "also compare images of B with their own translation; the two terms are averaged")
    average: float = setting(
        0.0, "decay of the generator's average, which is then what translates", low=0, below=1, follows="average"
    )

    adam: Adam = Adam(2e-4, b1=0.5, b2=0.999)
    schedule: LinearDecay = LinearDecay(266_800, 266_800)

    train_keys = False
    """Whether gradients of the contrastive loss flow into the keys."""

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        for layer in self.patches.layers:
            there = ", ".join(map(str, self.sizes))
            message = f"the generator has no layer {layer} to compare; it has {there}"
            require(layer in self.sizes, f"method.patches.layers={self.patches.layers}: {message}")
        if self.queued and self.average:
            why = f"with method.negatives.kind={self.negatives.kind!r}, whose keys come from an average of their own"
            yield "average", f"must be 0 {why}"

    @property
    def compared(self) -> dict[str, str]:
        """The sides whose patches are compared, with the names of their terms."""
        names = {"a": "nce", "b": "nce_identity"} if self.identity else {"a": "nce"}
        return names if self.nce_weight else {}

    @property
    def queued(self) -> bool:
        """Whether keys come from averaged networks, and stay as negatives of later ones."""
        return self.negatives.queued and self.nce_weight > 0

    # --- the networks as functions of their variables ---

    @functools.cached_property
    def generator_module(self):
        """The generator."""
        raise NotImplementedError

    @functools.cached_property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """The layers that can be compared, with height and width of their features at the training size."""
        return self.generator_module.tap_sizes(self.image_size, self.image_size)

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """How all networks move."""
        rate = optimizers.linear_decay(self.adam.learning_rate, **vars(self.schedule))
        return optimizers.adam(**{**vars(self.adam), "learning_rate": rate})

    def players(self, *inputs: PyTree, **weights) -> dict[str, Network]:
        """Return the generator and, where there is one, the MLP that makes codes; `weights` are its initializer's."""
        averaged = self.queued or self.average > 0
        found = {"generator": Network(self.generator_module, self.optimizer, inputs, averaged)}
        if self.compared and self.patches.mlp:
            channels = self.generator_module.tap_channels()
            like = {layer: jax.ShapeDtypeStruct((1, 1, channels[layer]), jnp.float32) for layer in self.patches.layers}
            found["patches"] = Network(PatchMLP(self.patches.dim, **weights), self.optimizer, (like,), self.queued)
        return found

    def encode(self, variables: PyTree, images: Array, places: Layers, axis_name: str | None = None) -> Layers:
        """Return the features of images of either domain at places, in a generator's compared layers."""
        raise NotImplementedError

    def codes(self, variables: PyTree, features: Layers, mlp: str = "patches") -> Layers:
        """Return the unit codes of features of patches, by the MLP of a name if there is one."""
        features = PatchMLP(self.patches.dim).apply(variables[mlp], features) if mlp in variables else features
        return {layer: contrastive.normalize(code) for layer, code in features.items()}

    # --- the contrastive loss ---

    def places_of(self, sides: tuple[str, ...], views: Batch) -> Layers:
        """Return the places of sides one after the other; A's stand in for those of one that is not compared."""
        own = [views.get(f"places_{side}", views["places_a"]) for side in sides]
        return jax.tree.map(lambda *rows: jnp.concatenate(rows), *own)

    def queries(self, variables: PyTree, output: Array, side: str, views: Batch, axis_name: str | None) -> Layers:
        """Return the codes of an output's patches."""
        return self.codes(variables, self.encode(variables["generator"], output, views[f"places_{side}"], axis_name))

    def contrast(
        self,
        variables: PyTree,
        made: Mapping[str, tuple[Array, Layers]],
        views: Batch,
        recalled: Mapping[str, Recalled],
        axis_name: str | None,
    ) -> tuple[Array | float, Metrics]:
        """Let every patch of the outputs be found at its place in the inputs, among other patches (Eq. 3 and 4).

        Args:
          variables: of the networks that learn from it.
          made: of each side, the output, and the input's features at the places.
          views: has the places, as "places_a" and "places_b".
          recalled: what `recall` returns.

        Returns:
          The mean over the sides, and each side's term: the mean over the layers.
        """
        terms = {}
        for side, name in self.compared.items():
            output, features = made[side]
            queries = self.queries(variables, output, side, views, axis_name)
            own = Recalled(self.codes(variables, features), {})
            keys, queues = recalled.get(side, own)
            loss = functools.partial(self.negatives.loss, train_keys=self.train_keys, axis_name=axis_name)
            losses = [
                loss(query, keys[layer], queues.get(str(layer)), self.patches.temperature)
                for layer, query in queries.items()
            ]
            terms[name] = sum(losses) / len(losses)
        return sum(terms.values()) / max(1, len(terms)), terms

    # --- what is remembered ---

    def queues(self, key: Array, images: int) -> PyTree:
        """Begin the memory for a global batch of so many images; () without queues."""
        if not self.queued:
            return ()
        channels, size, queues = self.generator_module.tap_channels(), self.negatives.queue_size, {}
        for number, side in enumerate(self.compared):
            keys = jax.random.split(jax.random.fold_in(key, number), len(self.patches.layers))
            queues[side] = {}
            for layer, own in zip(self.patches.layers, keys, strict=True):
                pushed = images * self.patches.places(self.sizes[layer])
                key_queue.check_batch(size, pushed, "method.negatives.queue_size")
                dim = self.patches.dim if self.patches.mlp else channels[layer]
                queues[side][str(layer)] = key_queue.create(own, size, dim)
        return {"queues": queues}

    def recall(self, state: TrainState, views: Batch, axis_name: str | None) -> dict[str, Recalled]:
        """Encode the inputs' patches by the averaged networks, by side; {} without queues."""
        variables = {name: learner.averaged for name, learner in state.learners.items() if learner.ema is not None}
        found = {}
        for side in self.compared if self.queued else ():
            features = self.encode(variables["generator"], views[side], views[f"places_{side}"], axis_name)
            found[side] = Recalled(self.codes(variables, features), state.memory["queues"][side])
        return found

    def remember(self, state: TrainState, recalled: Mapping[str, Recalled], axis_name: str | None) -> TrainState:
        """Move the averages and queue the new keys."""
        decay = self.negatives.key_average if self.queued else self.average
        state = state.average(**{name: decay for name, each in state.learners.items() if each.ema is not None})
        if not self.queued:
            return state
        pushed = {side: {} for side in recalled}
        for side, (keys, queues) in recalled.items():
            for layer, queue in queues.items():
                flat = keys[int(layer)].reshape(-1, queue.keys.shape[-1])
                pushed[side][layer] = key_queue.push(queue, flat, axis_name)
        return state.replace(memory={"queues": pushed})

    # --- the data ---

    def sample_places(self, key: Array, images: int) -> dict[int, Array]:
        """Sample the places that are compared, the same ones in every image: {layer: int32 [B, P]}."""
        sampled = {}
        for layer, own in zip(self.patches.layers, jax.random.split(key, len(self.patches.layers)), strict=True):
            places = augment.sample_places(own, self.sizes[layer], self.patches.places(self.sizes[layer]))
            sampled[layer] = jnp.broadcast_to(places, (images, len(places)))
        return sampled

    # --- what a trained model offers ---

    def variables(self, state: TrainState) -> PyTree:
        learners = {name: state.learners[name] for name in ("generator", "patches") if name in state.learners}
        found = {name: learner.variables for name, learner in learners.items()}
        return found | ({"generator": learners["generator"].averaged} if self.average else {})

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] [B, H, W, C] of any size from A to B."""
        maps, origin = inputs["content"], jnp.zeros(2, jnp.int32)
        for stage in self.stages:
            maps = stage.run(variables, maps, instance_norm, origin)
        return maps

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage.of("generator") for stage in self.generator_module.stages())

    def read_codes(self, variables: PyTree, images: Array) -> dict[int, Array]:
        images = augment.match_channels(images, self.channels)
        features = self.generator_module.apply(variables["generator"], images, self.patches.layers, method="features")
        codes = self.codes(variables, at_places(features))
        return {layer: code.reshape(*features[layer].shape[:3], -1) for layer, code in codes.items()}

    @property
    def readouts(self):
        return {"patch_codes": self.read_codes}


def by_side(tree: PyTree, sides: tuple[str, ...]) -> dict[str, PyTree]:
    """Divide arrays of the sides' examples one after the other, [sides * B, ...], by side."""
    leaves, shape = jax.tree.flatten(tree)
    parts = zip(*(jnp.split(leaf, len(sides)) for leaf in leaves), strict=True)
    return {side: jax.tree.unflatten(shape, part) for side, part in zip(sides, parts, strict=True)}


def join(state: TrainState, params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Return the variables of learners whose weights are given: with the statistics that they have in a state."""
    return {name: {"params": own, **state.learners[name].stats} for name, own in params.items()}
