"""TUNIT: Rethinking the Truly Unsupervised Image-to-Image Translation (Baek et al., arXiv:2006.06500).

A guiding network (`guiding.py`) sorts unlabelled images into pseudo domains and encodes their style; a generator
redraws the content of one image in the style of another; a discriminator judges every image within its pseudo domain.
`update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Network, Phase, Stream
from uit_jax.methods.guiding import Guided, GuidedPhase
from uit_jax.nn.funit import Discriminator
from uit_jax.nn.munit import Generator
from uit_jax.settings import R1, Adam, AreaView, setting
from uit_jax.state import Learners, TrainState, play
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class GeneratorShape:
    """The size of the generator."""

    width: int = setting(0, "first width; 0 for 64 below 256 px and 32 from there on", low=0)
    bottleneck: int = setting(16, "side of the content code", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of it", low=1, high=1000)
    mlp_width: int = setting(256, "width of the perceptron that reads the style", low=1)


@dataclasses.dataclass(frozen=True)
class DiscriminatorShape:
    """The size of the discriminator."""

    width: int = setting(0, "first width; 0 for 64 below 256 px and 32 from there on", low=0)
    max_width: int = setting(1024, "largest width", low=1)
    blocks: int = setting(2, "residual blocks of a stage", low=1, high=1000)


@dataclasses.dataclass(frozen=True)
class TUNITPhase(GuidedPhase):
    """What an iteration does, and whether the discriminator has the gradient penalty."""

    penalised: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TUNIT(Guided):
    """TUNIT's hyper-parameters; the defaults are the paper's at 128 px."""

    kept: ClassVar[tuple[str, ...]] = ("guide", "generator")

    adversarial_feedback: bool = setting(True, "whether the adversarial loss reaches the guiding network (Section 4.1)")
    generator: GeneratorShape = GeneratorShape()
    discriminator: DiscriminatorShape = DiscriminatorShape()
    average_start: int = setting(
        66_000, "iteration from which the generator is averaged, not copied", low=0, follows="steps"
    )
    adversarial_weight: float = setting(1.0, "of the generator's adversarial loss (Eq. 6)", low=0)
    reconstruction_weight: float = setting(0.1, "of its reconstruction (Eq. 6)", low=0)
    style_weight: float = setting(0.01, "of its style loss (Eq. 6)", low=0)
    r1: R1 = R1(weight=10.0, every=1)
    generator_average: float = setting(0.999, "decay of the averaged generator", low=0, high=1, follows="average")
    optimizer: str = setting("rmsprop", "of generator and discriminator", choices=("adam", "rmsprop"))
    adam: Adam = Adam(1e-4, b1=0.5, b2=0.99, weight_decay=1e-4)
    view: AreaView = AreaView()
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.generator.bottleneck > self.image_size:
            yield "image_size", f"must be method.generator.bottleneck={self.generator.bottleneck} at least"

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
        shapes = [dataclasses.asdict(each) for each in (self.generator, self.discriminator)]
        generator, discriminator = (each | {"width": each["width"] or default} for each in shapes)
        generator = Generator(self.image_size, self.channels, **generator, dtype=self.dtype)
        discriminator = Discriminator(self.image_size, self.domains, **discriminator, dtype=self.dtype)
        optimizer = optimizers.build(self.optimizer, **dataclasses.asdict(self.adam))
        image, style = self.example(), jax.ShapeDtypeStruct((1, self.style_dim), jnp.float32)
        return {
            "guide": self.guiding_network,
            "generator": Network(generator, optimizer, (image, style), averaged=True),
            "discriminator": Network(discriminator, optimizer, (image,)),
        }

    def generate(self, params: PyTree, *inputs: Array, part: str) -> Array:
        """Return content codes of images (`part` "encode"), or images of content and style codes ("decode")."""
        return self.call(self.networks["generator"].module, {"params": params}, *inputs, method=part)

    def discriminate(self, params: PyTree, images: Array, domains: Array) -> Array:
        """Return the logits [B] of images within their domains."""
        logits = self.call(self.networks["discriminator"].module, {"params": params}, images)
        return adversarial.select(logits, domains)

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: TUNITPhase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the guiding network, then the discriminator, then generator and guiding network (Eq. 6).

        `views` is what the method of that name makes.
        """
        views, queue = self.prepare(state, views, phase, axis_name)
        terms = {}
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
                oppose=functools.partial(self.oppose, views, phase),
                deceive=functools.partial(self.deceive, views),
                axis_name=axis_name,
            )
            terms |= played
            # Before its average starts, it follows the weights.
            decay = jnp.where(state.step < self.average_start, 0.0, self.generator_average)
            state = state.average(generator=decay)
        state = self.remember(state, queue, views["key"], phase, axis_name)
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

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
        made = {
            "images": images,
            "judged": judged,
            "style": read,
            "domains": both(self.domains_of(logits, state, views)),
        }
        return made, {"guide": stats} if "guide" in params else {}

    @staticmethod
    def both(views: Batch, axis_name: str | None, array: Array) -> Array:
        """Put what the references have, which are a permutation of the batch, before what the images have [B, ...]."""
        return jnp.concatenate([collectives.take(array, views["perm"], axis_name), array])

    def oppose(self, views: Batch, phase: TUNITPhase, params: PyTree, made: Batch):
        """Tell images from translations, within their domain and the reference's (Eq. 3, hinge form).

        Every image is the reference of one other, so that means over references are those over images: no device need
        have the others' images.
        """
        params, x, terms, seen = params["discriminator"], views["x"], {}, functools.partial(self.seen, views=views)
        wanted, own = jnp.split(made["domains"], 2)
        if phase.penalised:
            terms["r1"], real = adversarial.r1(lambda x: self.discriminate(params, seen(x, name="real"), own), x)
        else:
            real = self.discriminate(params, seen(x, name="real"), own)
        terms["real"] = adversarial.hinge_real(real)
        fake = self.discriminate(params, seen(made["images"][: len(x)], name="fake"), wanted)
        terms["fake"] = adversarial.hinge_fake(fake)
        loss = terms["real"] + terms["fake"] + self.r1.weight * self.r1.every * terms.get("r1", 0.0)
        return loss, (terms, {})

    def deceive(self, views: Batch, params: PyTree, made: Batch, opponents: Learners):
        """Pass for real, come back to the image with its own style, and keep the reference's style (Eq. 3 to 6)."""
        seen = self.seen(made["judged"], views, "adversarial")
        judged = self.discriminate(opponents["discriminator"].params, seen, made["domains"])
        terms = {
            "adversarial": 2 * adversarial.hinge_generator(judged),
            "reconstruction": reconstruction.l1(made["images"][len(views["x"]) :], views["x"]),
            "style": self.contrast(made["style"], views["key_ref"], views),
        }
        loss = self.reconstruction_weight * terms["reconstruction"] + self.style_weight * terms["style"]
        return loss + self.adversarial_weight * terms["adversarial"], terms

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make two views and sample references: `augment.referenced_views`; label: int32 [B]; and `changes`."""
        view = dict(vars(self.view), flip=self.flip, axis_name=axis_name)
        views = augment.referenced_views(key, batch["image"], **view)
        return {**views, "label": batch["label"], **self.changes(key, len(batch["image"]), axis_name)}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Redraw inputs["content"] in the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        return self.networks["generator"].module.apply(variables["generator"], inputs["content"], style)
