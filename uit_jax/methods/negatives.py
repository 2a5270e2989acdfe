"""The patches that a contrastive loss compares and what each is told from (arXiv:2007.15651, Section 3 and Figure 4).

No method: what those have in common that compare patches of a translation with its input's.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives
from uit_jax.losses import contrastive
from uit_jax.memory import key_queue
from uit_jax.method import Network, PairMethod
from uit_jax.nn.patch_mlp import PatchMLP
from uit_jax.settings import setting
from uit_jax.state import TrainState
from uit_jax.types import Array, Batch, Metrics, PyTree

Layers = Mapping[int, Array]
"""An array for each compared layer of the generator."""
Sizes = Mapping[int, tuple[int, int]]
"""Height and width of each layer's features at the training size."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Which patches are compared, and by which codes."""

    layers: tuple[int, ...] = setting((0, 4, 8, 12, 16), "the generator's layers whose features are compared", low=0)
    count: int = setting(256, "places compared in each layer; 0: all", low=0)
    mlp: bool = setting(True, "whether an MLP makes codes of the features")
    dim: int = setting(256, "entries of the MLP's codes", low=1)
    temperature: float = setting(0.07, "of the contrastive loss", above=0)

    def rules(self):
        """Yield what cannot be."""
        if len(set(self.layers)) < len(self.layers):
            yield "layers", "names a layer twice"

    def places(self, height: int, width: int) -> int:
        """Return how many places are compared in a layer of a size."""
        return min(self.count or height * width, height * width)

    def sample(self, key: Array, sizes: Sizes, images: int) -> dict[int, Array]:
        """Sample the places that are compared, the same ones in every image.

        Returns:
          {layer: int32 [B, P]}, each as row * width + column.
        """
        sampled = {}
        for layer, own in zip(self.layers, jax.random.split(key, len(self.layers)), strict=True):
            height, width = sizes[layer]
            _, places = jax.lax.top_k(jax.random.uniform(own, (height * width,)), self.places(height, width))
            sampled[layer] = jnp.broadcast_to(places, (images, len(places)))
        return sampled

    def codes(self, params: PyTree | None, features: Layers, places: Layers | None = None) -> dict[int, Array]:
        """Return the unit codes {layer: [B, P, D]} of features {layer: [B, h, w, C]} at places, of all by default.

        `params` are the MLP's weights; None where the features themselves are the codes.
        """
        found = {}
        for layer, maps in features.items():
            flat = maps.reshape(maps.shape[0], -1, maps.shape[-1]).astype(jnp.float32)
            found[layer] = flat if places is None else jnp.take_along_axis(flat, places[layer][..., None], axis=1)
        if params is not None:
            found = PatchMLP(dim=self.dim).apply({"params": params}, found)
        return {layer: contrastive.normalize(code) for layer, code in found.items()}


def mirrored(places: Array, mirror: Array, width: int) -> Array:
    """Return where places [B, P] of maps of a width lie in those that `mirror` [B] has turned left to right."""
    row, column = jnp.divmod(places, width)
    return jnp.where(mirror[:, None], row * width + width - 1 - column, places)


@dataclasses.dataclass(frozen=True)
class Negatives:
    """What a patch is told from: other patches of its image (the paper's choice), of the batch, or of a queue.

    With a queue the keys come from running averages of generator and MLP, as in MoCo (arXiv:1911.05722).
    """

    kind: str = setting(
        "internal",
        "what a patch is told from: other patches of its image, of all images of the batch, of a queue (external), or"
        " of its image and a queue",
        choices=("internal", "minibatch", "external", "both"),
    )
    queue_size: int = setting(16_384, "patches of earlier images in the queue of each layer", low=1)
    key_average: float = setting(0.999, "decay of the averages that encode the queue's keys", low=0, below=1)

    @property
    def queued(self) -> bool:
        """Whether patches of earlier images are among them."""
        return self.kind in ("external", "both")

    def loss(
        self,
        queries: Layers,
        keys: Layers,
        queues: Mapping[str, key_queue.KeyQueue] | None,
        temperature: float,
        *,
        train_keys: bool = False,
        axis_name: str | None = None,
    ) -> Array:
        """Return PatchNCE averaged over the layers (Eq. 3).

        Args:
          queries, keys: unit codes {layer: [B, P, D]} of the same places of translations and of their inputs.
          queues: of each layer; None without any.
          temperature: the divisor of all dot products.
          train_keys: whether gradients flow into the keys.
          axis_name: the device axis.
        """
        losses = []
        for layer, query in queries.items():
            key, flat = keys[layer], (-1, query.shape[-1])
            queue = key_queue.negatives(queues[str(layer)]) if self.queued else None
            if self.kind == "external":
                losses.append(contrastive.info_nce(query.reshape(flat), key.reshape(flat), queue, temperature))
                continue
            everyone = collectives.gather(key, axis_name).reshape(flat) if self.kind == "minibatch" else None
            options = dict(candidates=everyone, negatives=queue, train_keys=train_keys)
            losses.append(contrastive.patch_nce(query, key, temperature, **options))
        return sum(losses) / len(losses)

    def create(self, key: Array, patches: Patches, generator, sizes: Sizes, images: int) -> PyTree:
        """Begin the queues of one side, {layer: KeyQueue}, for a generator and a global batch of so many images.

        Raises:
          UserError: a queue holds less than a batch.
        """
        channels, queues = generator.tap_channels(), {}
        for layer, own in zip(patches.layers, jax.random.split(key, len(patches.layers)), strict=True):
            keys = images * patches.places(*sizes[layer])
            key_queue.check_batch(self.queue_size, keys, "method.negatives.queue_size")
            dim = patches.dim if patches.mlp else channels[layer]
            queues[str(layer)] = key_queue.create(own, self.queue_size, dim)
        return queues

    def push(self, queues: PyTree, keys: Layers, axis_name: str | None) -> PyTree:
        """Return the queues of one side with the global batch's keys in them."""
        return {
            layer: key_queue.push(queue, keys[int(layer)].reshape(-1, queue.keys.shape[-1]), axis_name)
            for layer, queue in queues.items()
        }


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
    average: float = setting(0.0, "decay of the generator's average, which inference then uses; 0: none", low=0, below=1)

    train_keys = False
    """Whether gradients of the contrastive loss flow into the keys."""

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        for layer in self.patches.layers:
            if layer not in self.sizes:
                known = ", ".join(map(str, self.sizes))
                yield "patches.layers", f"names {layer}: the generator has no such layer to compare; it has {known}"
        if self.queued and self.average:
            kind = self.negatives.kind
            yield "average", f"must be 0 with method.negatives.kind={kind!r}, whose keys come from an average of their own"

    @property
    def compared(self) -> dict[str, str]:
        """The sides whose patches are compared, with the names of their terms."""
        if not self.nce_weight:
            return {}
        return {"a": "nce", "b": "nce_identity"} if self.identity else {"a": "nce"}

    @property
    def queued(self) -> bool:
        """Whether keys come from averaged networks, and stay as negatives of later ones."""
        return self.negatives.queued and self.nce_weight > 0

    @property
    def averaged(self) -> bool:
        """Whether there is a running average of the generator."""
        return self.queued or self.average > 0

    @functools.cached_property
    def generator_module(self):
        """The generator."""
        raise NotImplementedError

    def encode(self, variables: PyTree, images: Array, axis_name: str | None = None) -> dict[int, Array]:
        """Return the features {layer: [B, h, w, C]} of images of either domain in a generator's compared layers."""
        raise NotImplementedError

    @functools.cached_property
    def sizes(self) -> Sizes:
        """The layers that can be compared, with height and width of their features at the training size."""
        return self.generator_module.tap_sizes(self.image_size, self.image_size)

    def patch_networks(self, optimizer, **weights) -> dict[str, Network]:
        """Return the MLP that makes codes, where there is one; `weights` are its initializer's."""
        if not (self.compared and self.patches.mlp):
            return {}
        channels = self.generator_module.tap_channels()
        like = {layer: jax.ShapeDtypeStruct((1, 1, channels[layer]), jnp.float32) for layer in self.patches.layers}
        return {"patches": Network(PatchMLP(self.patches.dim, **weights), optimizer, (like,), averaged=self.queued)}

    def queues(self, key: Array, images: int) -> PyTree:
        """Begin the memory for a global batch of so many images; () without queues."""
        if not self.queued:
            return ()
        keys = dict(zip(self.compared, jax.random.split(key, len(self.compared)), strict=True))
        rest = (self.patches, self.generator_module, self.sizes, images)
        return {"queues": {side: self.negatives.create(own, *rest) for side, own in keys.items()}}

    def codes(self, variables: PyTree, features: Layers, places: Layers | None = None, owner: str = ""):
        """Return the unit codes {layer: [B, P, D]} of features at places, of all by default."""
        return self.patches.codes(variables.get(f"{owner}patches", {}).get("params"), features, places)

    # --- the contrastive loss ---

    def queued_keys(self, state: TrainState, views: Batch, axis_name: str | None) -> dict[str, dict[int, Array]]:
        """Return the codes of the inputs' patches by the averaged networks, by side; {} without queues."""
        if not self.queued:
            return {}
        variables = {name: learner.averaged for name, learner in state.learners.items() if learner.ema is not None}
        features = {side: self.encode(variables["generator"], views[side], axis_name) for side in self.compared}
        return {side: self.codes(variables, features[side], views[f"places_{side}"]) for side in self.compared}

    def queries(self, variables: PyTree, output: Array, side: str, views: Batch, axis_name: str | None) -> Layers:
        """Return the codes of an output's patches."""
        features = self.encode(variables["generator"], output, axis_name)
        return self.codes(variables, features, views[f"places_{side}"])

    def contrast(
        self, variables: PyTree, made: Mapping[str, tuple], views: Batch, keys, memory: PyTree, axis_name: str | None
    ) -> tuple[Array | float, Metrics]:
        """Let every patch of the outputs be found at its place in the inputs, among other patches (Eq. 3 and 4).

        Args:
          variables: of the networks that learn from it.
          made: of each side, its output and its input's features.
          views: has the places, places_a and places_b.
          keys, memory: the `queued_keys` and the queues.

        Returns:
          The mean over the sides, and each side's term.
        """
        terms = {}
        for side, name in self.compared.items():
            output, features = made[side]
            query = self.queries(variables, output, side, views, axis_name)
            key = keys[side] if keys else self.codes(variables, features, views[f"places_{side}"])
            queues = memory["queues"][side] if keys else None
            options = dict(train_keys=self.train_keys, axis_name=axis_name)
            terms[name] = self.negatives.loss(query, key, queues, self.patches.temperature, **options)
        return sum(terms.values()) / max(1, len(terms)), terms

    def remember(self, state: TrainState, keys, axis_name: str | None) -> TrainState:
        """Move the averages and queue the new keys."""
        decay = self.negatives.key_average if self.queued else self.average
        averaged = {name: learner for name, learner in state.learners.items() if learner.ema is not None}
        state = state.with_learners({name: learner.average(decay) for name, learner in averaged.items()})
        if not keys:
            return state
        queues = state.memory["queues"]
        return state.replace(
            memory={"queues": {side: self.negatives.push(queues[side], keys[side], axis_name) for side in queues}}
        )

    # --- what a trained model offers ---

    def variables(self, state: TrainState) -> PyTree:
        generator = state.learners["generator"]
        found = {"generator": generator.averaged if self.average else generator.variables}
        return found | {name: state.learners[name].variables for name in ("patches",) if name in state.learners}

    def read_codes(self, variables: PyTree, images: Array) -> dict[int, Array]:
        images = augment.match_channels(images, self.channels)
        features = self.generator_module.apply(variables["generator"], images, self.patches.layers, method="features")
        codes = self.codes(variables, features)
        return {layer: code.reshape(*features[layer].shape[:3], -1) for layer, code in codes.items()}

    @property
    def readouts(self):
        return {"patch_codes": self.read_codes}


def by_side(tree: PyTree, sides: tuple[str, ...]) -> dict[str, PyTree]:
    """Divide arrays of the sides' examples one after the other, [sides * B, ...], by side."""
    parts = len(sides)
    return {
        side: jax.tree.map(lambda rows, index=index: jnp.split(rows, parts)[index], tree)
        for index, side in enumerate(sides)
    }


def join(state: TrainState, params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Return the variables of learners whose weights are given: with the statistics that they have in a state."""
    return {name: {"params": own, **state.learners[name].stats} for name, own in params.items()}
