"""The guiding network of TUNIT (arXiv:2006.06500, Section 3.2): it sorts images into domains and encodes their style.

Domains are found by mutual information (IIC), styles by contrast with a queue of other images; where some images have
labels, these name the domains (Section 4.2). `guide_step` is its part of an iteration; `tunit.py` has the rest.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from uit_jax import collectives, optimizers
from uit_jax.losses import clustering, contrastive
from uit_jax.memory import key_queue, restarting_queue
from uit_jax.method import Method, Network, Phase, Side, portion, require
from uit_jax.methods.opposed import Opposed
from uit_jax.nn.guide import GuidingNetwork
from uit_jax.settings import Adam, changed, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class GuideShape:
    """The size of the guiding network."""

    width: int = setting(64, "first width", low=1)
    stages: tuple[int, ...] = setting((1, 1, 2, 2, 2), "convolutions before each of its poolings", low=1, high=1000)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Which images have labels, and when these are read (Section 4.2)."""

    share: float = setting(0.0, "of each class, the share of images with labels: 0 none, 1 all", low=0, high=1)
    steps: int = setting(
        20_000, "where some have labels, the first iterations, which see these alone", low=0, follows="steps"
    )
    cycle_steps: int = setting(1000, "the period after which such iterations then return, `share` of it long", low=1)

    @property
    def some(self) -> bool:
        return 0 < self.share < 1

    def read_at(self, step: int) -> bool:
        """Say whether an iteration reads labels."""
        if not self.some:
            return self.share == 1
        return step < self.steps or step % self.cycle_steps < portion(self.cycle_steps, self.share)


@dataclasses.dataclass(frozen=True)
class GuidedPhase(Phase):
    """What an iteration does.

    Attributes:
      translates: whether generator and discriminator learn too, after the guiding network's step.
      labelled: whether the domains are the images' labels.
    """

    batch_key: str = "method.guide_batch_size"
    translates: bool = False
    labelled: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guided(Opposed):
    """A translator whose domains and styles a guiding network finds; the hyper-parameters of that network."""

    followed: ClassVar[tuple[str, ...]] = ("clusters",)
    best_metric: ClassVar[str] = "cluster_accuracy"
    inherited: ClassVar[tuple[str, ...]] = ("head", "head_scores", "domains")

    image_size: int = changed(Method, "image_size", 128, low=8, power_of_two=True)
    domains: int = setting(10, "pseudo domains", low=1, high=1000)
    style_dim: int = setting(128, "entries of a style code", low=1)
    labels: Labels = Labels()
    guide: GuideShape = GuideShape()
    guide_steps: int = setting(
        65_000, "iterations of the guiding network alone (none if all labels are given)", low=0, follows="steps"
    )
    guide_batch_size: int = setting(0, "global batch of these, which are cheap; 0 for the run's own", low=0)
    joint_training: str = setting(
        "joint",
        "what the guiding network learns once the generator trains: all (Table 1, G), nothing (F), or style codes"
        " alone, for domains found before by IIC without the contrastive loss (E)",
        choices=("joint", "frozen", "frozen_domains"),
    )
    contrastive_weight: float = setting(1.0, "of the guiding network's style loss (Eq. 2)", low=0)
    clustering_weight: float = setting(5.0, "of its mutual information (Eq. 1)", low=0)
    joint_guide_weight: float = setting(0.1, "scale of these losses while the generator trains", low=0)
    marginal_weights: tuple[float, ...] = setting(
        (1.0,),
        "IIC's lambda of each clustering head; the heads train side by side, and the one with the largest mutual"
        " information names the domains (the paper has one)",
        low=0,
    )
    temperature: float = setting(0.07, "of the style losses", above=0)
    normalize_style: bool = setting(False, "whether style codes have length 1 (the paper's have not)")
    queue_size: int = setting(1024, "negative style codes in the queue", low=1)
    key_average: float = setting(
        0.999, "decay of the averaged guiding network, which encodes the keys", low=0, high=1, follows="average"
    )
    guide_adam: Adam = Adam(1e-4, weight_decay=1e-3)
    joint_guide_rate: float = setting(1e-4, "the guiding network's step size once the generator trains", above=0)
    reference_quirks: bool = setting(
        False,
        "what the published code does by mistake: the queue restarts from its first batch every 1000 iterations; where"
        " some images have labels, the others' domains come from before the guiding network's step",
    )

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.image_size < 2 ** len(self.guide.stages):
            yield "image_size", f"is too small for the {len(self.guide.stages)} poolings of method.guide.stages"
        if self.reference_quirks and self.guide_batch_size:
            yield "guide_batch_size", "must be 0 with method.reference_quirks, which keep the keys of one batch size"

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side("image", self.channels, labelled=True),)

    @property
    def classes(self) -> int:
        return self.domains

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        sorted_into = f"method.domains={self.domains} pseudo domains: set it to {count} at most"
        require(self.domains <= count, f"{name}: {count} images cannot be sorted into {sorted_into}")
        if self.labels.share > 0:
            require(len(classes) > 0, f"{name} has no labels, but method.labels.share is above 0")
            require(len(classes) <= self.domains, f"{name} has {len(classes)} classes: set method.domains to as many")

    @property
    def alone_steps(self) -> int:
        """Iterations of the guiding network alone; where all labels are given, there is nothing to find first."""
        return 0 if self.labels.share == 1 else self.guide_steps

    @property
    def heads(self) -> int:
        return len(self.marginal_weights)

    # --- the network, and as functions of its weights ---

    @functools.cached_property
    def guiding_network(self) -> Network:
        shape, adam = dataclasses.asdict(self.guide), dataclasses.asdict(self.guide_adam)
        module = GuidingNetwork(self.heads * self.domains, self.style_dim, **shape, dtype=self.dtype)
        change = {self.alone_steps: self.joint_guide_rate / self.guide_adam.learning_rate}
        adam["learning_rate"] = optax.piecewise_constant_schedule(self.guide_adam.learning_rate, change)
        return Network(module, optimizers.adam(**adam), (self.example(),), averaged=True, options={"train": True})

    def memory(self, key: Array, batch_size: int) -> dict[str, PyTree]:
        key_queue.check_batch(self.queue_size, max(batch_size, self.guide_batch_size))
        # Fresh codes of the guiding network are short: its heads start at 0.01.
        scale = 1.0 if self.normalize_style else 0.1
        queue = key_queue.create(key, self.queue_size, self.style_dim, scale=scale)
        queue = restarting_queue.create(queue, batch_size) if self.reference_quirks else queue
        return {"queue": queue, "head_scores": jnp.zeros(self.heads), "head": jnp.zeros((), jnp.int32)}

    def init(self, key: Array, batch_size: int) -> TrainState:
        state = super().init(key, batch_size)
        if self.joint_training == "frozen_domains":
            domains = jax.tree.map(jnp.copy, state.learners["guide"].variables)
            state = state.replace(memory={**state.memory, "domains": domains})
        return state

    def statistics(self, axis_name: str | None) -> str | None:
        """Return the axis over which batch-norm and clustering statistics are taken."""
        return axis_name if self.sync_statistics else None

    def look(self, variables: PyTree, images: Array, axis_name: str | None = None, *, train: bool = True):
        """Return every head's logits [B, heads, K], style codes [B, D] and, in training, the new batch statistics."""
        network = self.guiding_network.module.clone(axis_name=self.statistics(axis_name))
        if train:
            (logits, style), stats = self.call(network, variables, images, train=True, mutable=["batch_stats"])
        else:
            (logits, style), stats = network.apply(variables, images, train=False), {}
        style = contrastive.normalize(style) if self.normalize_style else style
        return logits.reshape(-1, self.heads, self.domains), style, stats

    def keys_of(self, state: TrainState, images: Array, axis_name: str | None) -> Array:
        """Encode images with the averaged guiding network, which like MoCo's normalises by its own batch."""
        return jax.lax.stop_gradient(self.look(state.learners["guide"].averaged, images, axis_name)[1])

    # --- its part of an iteration ---

    def prepare(self, state: TrainState, views: Batch, phase: GuidedPhase, axis_name: str | None):
        """Add to the views what the losses read besides, and return them and the queue at the beginning of a step.

        Added are key [B, D], of the second views; queue [N, D], negatives; valid [N], those that count; and domain
        int32 [B], where it is known.
        """
        keys, queue = self.keys_of(state, views["x_aug"], axis_name), state.memory["queue"]
        added = {"key": keys}
        if self.reference_quirks:
            queue = restarting_queue.begin(queue, keys, state.step, axis_name)
            added["valid"] = restarting_queue.valid(queue, state.step)
        if phase.labelled:
            added["domain"] = views["label"]
        return {**views, **added, "queue": key_queue.negatives(queue)}, queue

    def guide_step(self, state: TrainState, views: Batch, phase: GuidedPhase, axis_name: str | None):
        """Let the guiding network sort images into domains (Eq. 1) and tell their styles (Eq. 2).

        Returns the state, the terms, and the domains int32 [B] from before the step.
        """
        learner, head = state.learners["guide"], state.memory["head"]

        def loss_fn(params):
            logits, style, stats = self.look({"params": params["guide"], **learner.stats}, views["x"], axis_name)
            others, _, stats = self.look({"params": params["guide"], **stats}, views["x_aug"], axis_name)
            terms = {"contrastive": self.contrast(style, views["key"], views)}
            terms |= self.sort(logits, others, views, phase, axis_name)
            loss = self.clustering_weight * terms.get("clustering", 0.0)
            if phase.translates or self.joint_training != "frozen_domains":
                loss += self.contrastive_weight * terms["contrastive"]
            # The published code scales the unlabelled iterations of a semi-supervised run from the start.
            if phase.translates or (self.labels.some and not phase.labelled):
                loss *= self.joint_guide_weight
            return loss, ((terms, logits, others), {"guide": stats})

        learners, (terms, logits, others) = descend({"guide": learner}, self.optimizers, loss_fn, axis_name=axis_name)
        state = state.with_learners(learners)
        if not phase.translates:
            scores = clustering.iic_of_heads(logits, others, jnp.ones(self.heads), axis_name=self.statistics(axis_name))
            scores = 0.98 * state.memory["head_scores"] + 0.02 * collectives.mean(scores, axis_name)
            state = state.replace(memory={**state.memory, "head_scores": scores, "head": scores.argmin()})
        return state, named("guide", terms), logits[:, head].argmax(-1)

    def sort(self, logits: Array, others: Array, views: Batch, phase: GuidedPhase, axis_name: str | None) -> Metrics:
        """Have two views of an image agree on its domain (Eq. 1), or both on its label where some images have one."""
        if phase.labelled and self.labels.some:
            by_head = jax.vmap(clustering.cross_entropy, (1, None))
            return {"clustering": (by_head(logits, views["domain"]) + by_head(others, views["domain"])).mean()}
        if phase.labelled or (phase.translates and self.joint_training == "frozen_domains"):
            return {}
        weights, axis_name = jnp.array(self.marginal_weights), self.statistics(axis_name)
        return {"clustering": clustering.iic_of_heads(logits, others, weights, axis_name=axis_name).mean()}

    def contrast(self, style: Array, keys: Array, views: Batch) -> Array:
        """Tell each style code's key from the queue's."""
        return contrastive.info_nce(style, keys, views["queue"], self.temperature, valid=views.get("valid"))

    def domains_of(self, logits: Array, state: TrainState, views: Batch) -> Array:
        """Return the domains int32 [B] of images: the known ones, or what the best head says."""
        if "domain" in views:
            return views["domain"]
        if self.joint_training == "frozen_domains":
            logits, _, _ = self.look(state.memory["domains"], views["x"], train=False)
        return logits[:, state.memory["head"]].argmax(-1)

    def remember(self, state: TrainState, queue: PyTree, keys: Array, phase: GuidedPhase, axis_name: str | None):
        """Move the average, queue the keys and, while it learns alone, keep the network that sorts (Table 1, E)."""
        memory = {**state.memory, "queue": key_queue.push(queue, keys, axis_name)}
        if "domains" in memory and not phase.translates:
            memory["domains"] = state.learners["guide"].variables
        return state.average(guide=self.key_average).replace(memory=memory)

    # --- what it offers ---

    def variables(self, state: TrainState) -> PyTree:
        kept = {name: state.memory[name] for name in ("head", "domains") if name in state.memory}
        return super().variables(state) | kept

    def read_style(self, variables: PyTree, images: Array) -> Array:
        return self.look(variables["guide"], images, train=False)[1]

    def read_cluster(self, variables: PyTree, images: Array) -> Array:
        logits, _, _ = self.look(variables.get("domains", variables["guide"]), images, train=False)
        return jax.nn.softmax(logits[:, variables["head"]])

    @property
    def readouts(self):
        clusters = {"cluster": self.read_cluster}
        return {"style": self.read_style} | (clusters if self.labels.share < 1 else {})
