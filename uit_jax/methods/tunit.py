"""TUNIT: Rethinking the Truly Unsupervised Image-to-Image Translation (Baek et al., arXiv:2006.06500).

A guiding network sorts unlabelled images into pseudo domains and encodes their style; a generator redraws the
content of one image in the style of another; a discriminator judges every image within its pseudo domain.
`update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, clustering, contrastive, reconstruction
from uit_jax.memory import key_queue, restarting_queue
from uit_jax.method import Method, Network, Phase, Side, Stream, require
from uit_jax.nn.funit import Discriminator
from uit_jax.nn.guide import GuidingNetwork
from uit_jax.nn.munit import Generator
from uit_jax.settings import R1, Adam, AreaView, changed, setting
from uit_jax.state import Learners, TrainState, descend, named, play
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class GuideShape:
    """The size of the guiding network."""

    width: int = setting(64, "first width", low=1)
    stages: tuple[int, ...] = setting((1, 1, 2, 2, 2), "convolutions before each of its poolings", low=1)


@dataclasses.dataclass(frozen=True)
class GeneratorShape:
    """The size of the generator."""

    width: int = setting(0, "first width; 0 for 64 below 256 px and 32 from there on", low=0)
    bottleneck: int = setting(16, "side of the content code", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of it", low=1)
    mlp_width: int = setting(256, "width of the perceptron that reads the style", low=1)


@dataclasses.dataclass(frozen=True)
class DiscriminatorShape:
    """The size of the discriminator."""

    width: int = setting(0, "first width; 0 for 64 below 256 px and 32 from there on", low=0)
    max_width: int = setting(1024, "largest width", low=1)
    blocks: int = setting(2, "residual blocks of a stage", low=1)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Which images have labels, and when these are read (Section 4.2)."""

    share: float = setting(0.0, "of each class, the share of images with labels: 0 none, 1 all", low=0, high=1)
    steps: int = setting(20_000, "where some have labels, the first iterations, which see these alone", low=0)
    cycle_steps: int = setting(1000, "the period after which such iterations then return, `share` of it long", low=1)

    @property
    def some(self) -> bool:
        return 0 < self.share < 1

    def read_at(self, step: int) -> bool:
        """Say whether an iteration reads labels."""
        if not self.some:
            return self.share == 1
        return step < self.steps or step % self.cycle_steps < int(self.cycle_steps * self.share)


@dataclasses.dataclass(frozen=True)
class TUNITPhase(Phase):
    """What an iteration does.

    Attributes:
      translates: whether generator and discriminator learn too, after the guiding network's step.
      labelled: whether the domains are the images' labels.
      penalised: whether the discriminator has the gradient penalty.
    """

    translates: bool = False
    labelled: bool = False
    penalised: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TUNIT(Method):
    """TUNIT's hyper-parameters; the defaults are the paper's at 128 px."""

    kept: ClassVar[tuple[str, ...]] = ("guide", "generator")
    followed: ClassVar[tuple[str, ...]] = ("clusters",)
    best_metric: ClassVar[str] = "cluster_accuracy"

    image_size: int = changed(Method, "image_size", 128, low=8, power_of_two=True)
    domains: int = setting(10, "pseudo domains", low=1, high=1000)
    style_dim: int = setting(128, "entries of a style code", low=1)
    labels: Labels = Labels()
    joint_training: str = setting(
        "joint",
        "what the guiding network learns once the generator trains: all (Table 1, G), nothing (F), or style codes"
        " alone, for domains found before by IIC without the contrastive loss (E)",
        choices=("joint", "frozen", "frozen_domains"),
    )
    adversarial_feedback: bool = setting(True, "whether the adversarial loss reaches the guiding network (Section 4.1)")
    guide: GuideShape = GuideShape()
    generator: GeneratorShape = GeneratorShape()
    discriminator: DiscriminatorShape = DiscriminatorShape()
    guide_steps: int = setting(65_000, "iterations of the guiding network alone (none if all labels are given)", low=0)
    guide_batch_size: int = setting(0, "global batch of these, which are cheap; 0 for the run's own", low=0)
    average_start: int = setting(66_000, "iteration from which the generator is averaged, not copied", low=0)
    contrastive_weight: float = setting(1.0, "of the guiding network's style loss (Eq. 2)", low=0)
    clustering_weight: float = setting(5.0, "of its mutual information (Eq. 1)", low=0)
    marginal_weights: tuple[float, ...] = setting(
        (1.0,),
        "IIC's lambda of each clustering head; the heads train side by side, and the one with the largest mutual"
        " information names the domains (the paper has one)",
        low=0,
    )
    joint_guide_weight: float = setting(0.1, "scale of those losses while the generator trains", low=0)
    adversarial_weight: float = setting(1.0, "of the generator's adversarial loss (Eq. 6)", low=0)
    reconstruction_weight: float = setting(0.1, "of its reconstruction (Eq. 6)", low=0)
    style_weight: float = setting(0.01, "of its style loss (Eq. 6)", low=0)
    r1: R1 = R1(weight=10.0, every=1)
    temperature: float = setting(0.07, "of the style losses", above=0)
    normalize_style: bool = setting(False, "whether style codes have length 1 (the paper's have not)")
    queue_size: int = setting(1024, "negative style codes in the queue", low=1)
    key_average: float = setting(0.999, "decay of the averaged guiding network, which encodes the keys", low=0, high=1)
    generator_average: float = setting(0.999, "decay of the averaged generator", low=0, high=1)
    guide_adam: Adam = Adam(1e-4, weight_decay=1e-3)
    joint_guide_rate: float = setting(1e-4, "the guiding network's step size once the generator trains", above=0)
    optimizer: str = setting("rmsprop", "of generator and discriminator", choices=("adam", "rmsprop"))
    adam: Adam = Adam(1e-4, b1=0.5, b2=0.99, weight_decay=1e-4)
    view: AreaView = AreaView()
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)
    reference_quirks: bool = setting(
        False,
        "what the published code does by mistake: the queue restarts from its first batch every 1000 iterations; where"
        " some images have labels, the others' domains come from before the guiding network's step",
    )

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.generator.bottleneck > self.image_size:
            yield "image_size", f"must be method.generator.bottleneck={self.generator.bottleneck} at least"
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

    def check_classes(self, name: str, classes: tuple[str, ...]) -> None:
        if self.labels.share > 0:
            require(len(classes) > 0, f"{name} has no labels, but method.labels.share is above 0")
            require(len(classes) <= self.domains, f"{name} has {len(classes)} classes: set method.domains to as many")

    @property
    def alone_steps(self) -> int:
        """Iterations of the guiding network alone; where all labels are given, there is nothing to find first."""
        return 0 if self.labels.share == 1 else self.guide_steps

    def phase(self, step: int) -> Phase:
        translates, labelled = step >= self.alone_steps, self.labels.read_at(step)
        penalised = translates and self.r1.on(step)
        name = "guide" if not translates else "joint" if penalised else "joint_lazy"
        kind = "all" if not self.labels.some else "labelled" if labelled else "unlabelled"
        return TUNITPhase(
            name + ("_labelled" if labelled else ""),
            Stream(kind, self.labels.share),
            batch_size=0 if translates else self.guide_batch_size,
            translates=translates,
            labelled=labelled,
            penalised=penalised,
        )

    # --- the networks, and as functions of their weights ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        default = 64 if self.image_size < 256 else 32
        shapes = [dataclasses.asdict(each) for each in (self.guide, self.generator, self.discriminator)]
        guide, generator, discriminator = (each | {"width": each["width"] or default} for each in shapes)
        guide = GuidingNetwork(self.heads * self.domains, self.style_dim, **guide, dtype=self.dtype)
        generator = Generator(self.image_size, self.channels, **generator, dtype=self.dtype)
        discriminator = Discriminator(self.image_size, self.domains, **discriminator, dtype=self.dtype)
        adam, rate = dataclasses.asdict(self.guide_adam), self.guide_adam.learning_rate
        rates = optax.piecewise_constant_schedule(rate, {self.alone_steps: self.joint_guide_rate / rate})
        alone = optimizers.adam(**adam | {"learning_rate": rates})
        game = optimizers.build(self.optimizer, **dataclasses.asdict(self.adam))
        image, style = self.example(), jax.ShapeDtypeStruct((1, self.style_dim), jnp.float32)
        return {
            "guide": Network(guide, alone, (image,), averaged=True, options={"train": True}),
            "generator": Network(generator, game, (image, style), averaged=True),
            "discriminator": Network(discriminator, game, (image,)),
        }

    @property
    def heads(self) -> int:
        return len(self.marginal_weights)

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
        network = self.networks["guide"].module.clone(axis_name=self.statistics(axis_name))
        if train:
            (logits, style), stats = network.apply(variables, images, train=True, mutable=["batch_stats"])
        else:
            (logits, style), stats = network.apply(variables, images, train=False), {}
        style = contrastive.normalize(style) if self.normalize_style else style
        return logits.reshape(-1, self.heads, self.domains), style, stats

    def keys_of(self, state: TrainState, images: Array, axis_name: str | None) -> Array:
        """Encode images with the averaged guiding network, which like MoCo's normalises by its own batch."""
        return jax.lax.stop_gradient(self.look(state.learners["guide"].averaged, images, axis_name)[1])

    def generate(self, params: PyTree, *inputs: Array, part: str) -> Array:
        """Return content codes of images (`part` "encode"), or images of content and style codes ("decode")."""
        return self.networks["generator"].module.apply({"params": params}, *inputs, method=part)

    def discriminate(self, params: PyTree, images: Array, domains: Array) -> Array:
        """Return the logits [B] of images within their domains."""
        return adversarial.select(self.networks["discriminator"].module.apply({"params": params}, images), domains)

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: TUNITPhase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the guiding network, then the discriminator, then generator and guiding network (Eq. 6).

        `views` is what the method of that name makes; what else the losses read is added to it.
        """
        keys, queue, terms = self.keys_of(state, views["x_aug"], axis_name), state.memory["queue"], {}
        views = {**views, "key": keys}
        if self.reference_quirks:
            queue = restarting_queue.begin(queue, keys, state.step, axis_name)
            views["valid"] = restarting_queue.valid(queue, state.step)
        views["queue"] = key_queue.negatives(queue)
        if phase.labelled:
            views["domain"] = views["label"]
        if not phase.translates or self.joint_training != "frozen":
            state, terms, before = self.guide_step(state, views, phase, axis_name)
            if self.reference_quirks and self.labels.some and self.joint_training == "joint":
                views = {"domain": before, **views}
        if phase.translates:
            views["key_ref"] = collectives.take(self.keys_of(state, views["x"], axis_name), views["perm"], axis_name)
            state, _, played = play(
                state,
                self.optimizers,
                players=("generator",) if self.joint_training == "frozen" else ("generator", "guide"),
                opponents=("discriminator",),
                make=functools.partial(self.make, state, views, axis_name),
                oppose=functools.partial(self.oppose, views, phase, axis_name),
                deceive=functools.partial(self.deceive, views),
                axis_name=axis_name,
            )
            terms |= played
        state = self.remember(state, key_queue.push(queue, keys, axis_name), phase)
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def guide_step(self, state: TrainState, views: Batch, phase: TUNITPhase, axis_name: str | None):
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

    def sort(self, logits: Array, others: Array, views: Batch, phase: TUNITPhase, axis_name: str | None) -> Metrics:
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

    def make(self, state: TrainState, views: Batch, axis_name: str | None, params: PyTree):
        """Redraw each image in the style of its reference, and in its own.

        Returns:
          images: both, float32 [2 B, S, S, C], and `judged`, the same for the adversarial loss; style [B, D], of the
          translations; domains int32 [2 B], of the references and of the images. And the guide's new statistics.
        """
        learner, x, both = state.learners["guide"], views["x"], functools.partial(self.both, views, axis_name)
        guide = {"params": params.get("guide", learner.params)}
        logits, style, stats = self.look({**guide, **learner.stats}, x, axis_name)
        content, style = self.generate(params["generator"], x, part="encode"), both(style)
        content = jnp.concatenate([content, content])
        images = judged = self.generate(params["generator"], content, style, part="decode")
        if not self.adversarial_feedback:
            # The same images, through which the discriminator teaches the generator alone.
            judged = self.generate(params["generator"], content, jax.lax.stop_gradient(style), part="decode")
        _, read, _ = self.look({**guide, **stats}, images[: len(x)], axis_name)
        domains = views.get("domain")
        if domains is None:
            if self.joint_training == "frozen_domains":
                logits, _, _ = self.look(state.memory["domains"], x, train=False)
            domains = logits[:, state.memory["head"]].argmax(-1)
        made = {"images": images, "judged": judged, "style": read, "domains": both(domains)}
        return made, {"guide": stats} if "guide" in params else {}

    @staticmethod
    def both(views: Batch, axis_name: str | None, array: Array) -> Array:
        """Put what the references have, which are a permutation of the batch, before what the images have [B, ...]."""
        return jnp.concatenate([collectives.take(array, views["perm"], axis_name), array])

    def oppose(self, views: Batch, phase: TUNITPhase, axis_name: str | None, params: PyTree, made: Batch):
        """Tell reference images from translations within the reference's domain (Eq. 3, hinge form)."""
        params, size, terms = params["discriminator"], len(views["x"]), {}
        reference, domains = collectives.take(views["x"], views["perm"], axis_name), made["domains"][:size]
        if phase.penalised:
            terms["r1"], real = adversarial.r1(lambda x: self.discriminate(params, x, domains), reference)
        else:
            real = self.discriminate(params, reference, domains)
        terms["real"] = adversarial.hinge_real(real)
        terms["fake"] = adversarial.hinge_fake(self.discriminate(params, made["images"][:size], domains))
        loss = terms["real"] + terms["fake"] + self.r1.weight * self.r1.every * terms.get("r1", 0.0)
        return loss, (terms, {})

    def deceive(self, views: Batch, params: PyTree, made: Batch, opponents: Learners):
        """Pass for real, come back to the image with its own style, and keep the reference's style (Eq. 3 to 6)."""
        judged = self.discriminate(opponents["discriminator"].params, made["judged"], made["domains"])
        terms = {
            "adversarial": 2 * adversarial.hinge_generator(judged),
            "reconstruction": reconstruction.l1(made["images"][len(views["x"]) :], views["x"]),
            "style": self.contrast(made["style"], views["key_ref"], views),
        }
        loss = self.reconstruction_weight * terms["reconstruction"] + self.style_weight * terms["style"]
        return loss + self.adversarial_weight * terms["adversarial"], terms

    def remember(self, state: TrainState, queue: PyTree, phase: TUNITPhase) -> TrainState:
        """Move the averages and, before the generator trains, keep the network that knows the domains (Table 1, E)."""
        memory = {**state.memory, "queue": queue}
        if "domains" in memory and not phase.translates:
            memory["domains"] = state.learners["guide"].variables
        state = state.average(guide=self.key_average).replace(memory=memory)
        if not phase.translates:
            return state
        return state.average(generator=jnp.where(state.step < self.average_start, 0.0, self.generator_average))

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make two views of every image uint8 [B, S, S, C] and sample its reference.

        Returns:
          x, x_aug: float32 [B, S, S, C]; perm: int32 [B], the place in the global batch of each image's reference;
          label: int32 [B].
        """
        images, size = batch["image"], len(batch["image"])
        plain_key, strong_key, perm_key = jax.random.split(key, 3)
        plain, strong = (collectives.example_keys(part, size, axis_name) for part in (plain_key, strong_key))
        perm = jax.random.permutation(perm_key, collectives.global_size(size, axis_name))
        return {
            "x": augment.plain_view(plain, images, flip=self.flip),
            "x_aug": augment.strong_view(strong, images, flip=self.flip, **dataclasses.asdict(self.view)),
            "perm": collectives.share(perm, size, axis_name),
            "label": batch["label"],
        }

    def variables(self, state: TrainState) -> PyTree:
        kept = {name: state.memory[name] for name in ("head", "domains") if name in state.memory}
        return super().variables(state) | kept

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Redraw inputs["content"] in the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        return self.networks["generator"].module.apply(variables["generator"], inputs["content"], style)

    def read_style(self, variables: PyTree, images: Array) -> Array:
        return self.look(variables["guide"], images, train=False)[1]

    def read_cluster(self, variables: PyTree, images: Array) -> Array:
        logits, _, _ = self.look(variables.get("domains", variables["guide"]), images, train=False)
        return jax.nn.softmax(logits[:, variables["head"]])

    @property
    def readouts(self):
        clusters = {"cluster": self.read_cluster}
        return {"style": self.read_style} | (clusters if self.labels.share < 1 else {})
