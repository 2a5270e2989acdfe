"""SEMIT: Semi-supervised Learning for Few-shot Image-to-Image Translation (Wang et al., CVPR 2020, arXiv:2003.13853).

FUNIT with octave convolutions and a cycle, where some images have labels. A classifier learns of these and names the
others (`naming.py`), and then all train the translator by their names. The published code has no classifier: what the
paper leaves open of it is ours (docs/semit.md tells what). `update` is one iteration.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from uit_jax import collectives, optimizers
from uit_jax.losses import clustering, latent, reconstruction
from uit_jax.method import Method, Network, Phase, Side, Stream, require
from uit_jax.methods.fewshot import DiscriminatorShape, FewShot, exchanged
from uit_jax.methods.naming import Labels, begin, remember
from uit_jax.nn import octave, resampling
from uit_jax.nn.starganv2 import Encoder
from uit_jax.settings import changed, setting
from uit_jax.state import Learners, TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class GeneratorShape:
    """The size of the generator, the encoders of content and class included."""

    width: int = setting(64, "first width", low=1)
    blocks: int = setting(6, "residual blocks of the content encoder, and as many in the decoder", low=1, high=1000)
    mlp_width: int = setting(256, "width of the perceptron that reads the class code", low=1)
    mlp_layers: int = setting(3, "its layers", low=2, high=1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SEMIT(FewShot):
    """SEMIT's hyper-parameters; the defaults are the published code's, but for the labels'."""

    image_size: int = changed(Method, "image_size", 128, low=16, power_of_two=True)
    load_size: int = changed(FewShot, "load_size", 130)
    generator: GeneratorShape = GeneratorShape()
    discriminator: DiscriminatorShape = DiscriminatorShape(in_place=False)
    feature_weight: float = changed(FewShot, "feature_weight", 0.1)
    cycle_weight: float = setting(0.1, "of the translation coming back to the image with the image's class code", low=0)
    content_weight: float = setting(0.01, "of the entropy of contents over their channels", low=0)
    alpha: float = setting(0.5, "share of low channels in translating; in training it is drawn", low=0, high=1)
    labels: Labels = Labels()

    smallest = 2 * octave.MULTIPLE

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side("image", self.channels, labelled=True, numbered=self.labels.some),)

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        super().check_images(name, count, classes)
        if self.labels.some:
            require(count <= self.labels.images, f"{name} has {count} images: set method.labels.images to as many")

    def phase(self, step: int) -> Phase:
        if not self.labels.some:
            return super().phase(step)
        stage = self.labels.stage(step)
        stream = Stream("labelled" if stage == "classify" else "partly_labelled", self.labels.share)
        translates, how = stage == "train", dict(load_size=self.load_size, batch_key="method.labels.batch_size")
        return Phase(stage, stream, 0 if translates else self.labels.batch_size, translates=translates, **how)

    # --- the networks, and as functions of their weights ---

    @property
    def auto_encoder(self) -> tuple[Any, tuple[Any, ...]]:
        generator = octave.AutoEncoder(self.channels, self.style_dim, **vars(self.generator), dtype=self.dtype)
        return generator, (self.example(), jax.ShapeDtypeStruct((1,), jnp.float32))

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        widths = dict(width=self.labels.width, max_width=self.labels.max_width)
        classifier = Encoder(self.image_size, {"logits": self.domains}, **widths, dtype=self.dtype)
        sorts = Network(classifier, optimizers.adam(**vars(self.labels.adam)), (self.example(),))
        return super().networks | ({"classifier": sorts} if self.labels.some else {})

    def memory(self, key: Array, batch_size: int) -> PyTree:
        return begin(self.labels.images, self.domains) if self.labels.some else ()

    def init(self, key: Array, batch_size: int) -> TrainState:
        state = super().init(key, batch_size)
        if self.labels.some:
            namer = jax.tree.map(jnp.copy, state.learners["classifier"].params)
            state = state.replace(memory={**state.memory, "namer": namer})
        return state

    def generate(self, params: PyTree, *inputs: PyTree, part: str, alpha: Array | None = None) -> PyTree:
        """Apply a part of the generator as FUNIT's, whose contents are pairs; alpha: float32 [B], by default one."""
        size = jax.tree.leaves(inputs[0])[0].shape[:1]
        alpha = jnp.full(size, self.alpha, jnp.float32) if alpha is None else jnp.broadcast_to(alpha[:1], size)
        return super().generate(params, *inputs, alpha, part=part)

    def classify(self, params: PyTree, images: Array) -> Array:
        """Return the classifier's logits [B, K]."""
        return self.call(self.networks["classifier"].module, {"params": params}, images)["logits"]

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: of the classifier and the names, or FUNIT's with the names of images.

        `views` is what the method of that name makes.
        """
        if not phase.translates:
            return self.sort(state, views, phase, axis_name)
        if self.labels.some:
            label = self.names(state.memory, views)[1].argmax(-1)
            views = {**views, "label": label, "reference_label": exchanged(label)}
        return super().update(state, views, phase=phase, axis_name=axis_name)

    def names(self, memory: PyTree, views: Batch) -> tuple[Array, Array]:
        """Return the first names of images and beliefs, as `Labels.names`, by the classifier that knew labels alone."""
        return self.labels.names(memory, views, self.classify(memory["namer"], views["x"]))

    def sort(self, state: TrainState, views: Batch, phase: Phase, axis_name: str | None) -> tuple[TrainState, Metrics]:
        """Let the classifier learn of labels; or name images, and let it and the beliefs about their names agree."""

        def loss_fn(params):
            logits = self.classify(params["classifier"], views["x"])
            if phase.name == "classify":
                loss = clustering.cross_entropy(logits, views["label"])
                return loss, (({"labels": loss}, None), {})
            first, beliefs = self.names(state.memory, views)
            loss, terms = self.labels.disagreement(logits, beliefs, first)
            return loss, ((terms, (first, self.labels.righted(logits, beliefs, first))), {})

        learners = {"classifier": state.learners["classifier"]}
        learners, (terms, found) = descend(learners, self.optimizers, loss_fn, axis_name=axis_name)
        state = state.with_learners(learners).replace(step=state.step + 1)
        if found is None:
            memory = {**state.memory, "namer": state.learners["classifier"].params}
        else:
            memory = remember(state.memory, views, *found, axis_name)
        state = state.replace(memory=memory)
        return state, collectives.mean(named("classifier", terms), axis_name)

    def make(self, views: Batch, params: PyTree):
        """Redraw each image as one of its reference's class, as what it is, and from its translation's content.

        Returns:
          images: the first two, float32 [2 B, S, S, C]; back: the third; entropy: of the images' contents.
        """
        draw, x = functools.partial(self.generate, params["generator"], alpha=views["alpha"]), views["x"]
        content, codes = draw(x, part="read_content"), draw(jnp.concatenate([views["reference"], x]), part="read_style")
        twice = jax.tree.map(lambda each: jnp.concatenate([each, each]), content)
        images = draw(twice, codes, part="decode")
        again = draw(images[: len(x)], part="read_content")
        back = draw(again, codes[len(x) :], part="decode")
        return {"images": images, "back": back, "entropy": self.entropy(content)}, {}

    @staticmethod
    def entropy(content: octave.Pair) -> Array:
        """Return the entropy of contents, of places as large in the high maps as in the low ones."""
        high, low = content
        high, low = resampling.average_pool(resampling.average_pool(high)), resampling.average_pool(low)
        return latent.channel_entropy(high) + latent.channel_entropy(low)

    def deceive(self, views: Batch, params: PyTree, made: Batch, opponents: Learners):
        """Do as FUNIT does, come back to the image from the translation, and have channels stand out in contents."""
        loss, terms = super().deceive(views, params, made, opponents)
        terms |= {"cycle": reconstruction.l1(made["back"], views["x"]), "entropy": made["entropy"]}
        return loss + self.cycle_weight * terms["cycle"] + self.content_weight * terms["entropy"], terms

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Return FUNIT's, and alpha: float32 [B], one number; label is -1 where it is not known, and number int32 [B]
        tells which images these are."""
        key, own = jax.random.split(key)
        alpha = jnp.full(len(batch["image"]), jax.random.uniform(own))
        number = {"number": batch["number"]} if self.labels.some else {}
        return super().views(key, batch, axis_name) | {"alpha": alpha, **number}

    def variables(self, state: TrainState) -> PyTree:
        sorts = {"classifier": state.learners["classifier"].variables} if self.labels.some else {}
        return super().variables(state) | sorts

    def read_cluster(self, variables: PyTree, images: Array) -> Array:
        """Return how likely images are of each class [B, K], as the classifier says."""
        return jax.nn.softmax(self.classify(variables["classifier"]["params"], images))

    @property
    def readouts(self):
        return super().readouts | ({"cluster": self.read_cluster} if self.labels.some else {})
