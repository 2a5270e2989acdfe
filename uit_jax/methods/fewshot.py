"""What FUNIT (arXiv:1905.01723) and SEMIT (arXiv:2003.13853) share: few-shot translation.

A generator redraws the content of one image as one of the class of another; it learns from many labelled classes. What
a class looks like it reads off images of it, a few of which tell it of a class that it never saw: the code of a class
is the mean of theirs. `update` is FUNIT's iteration; the generators stand in the papers' own files.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import LARGEST_SIDE, Network, Phase, Stream
from uit_jax.methods.labelled import Labelled
from uit_jax.nn import funit
from uit_jax.settings import RMSprop, changed, setting
from uit_jax.state import Learners, TrainState, play
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class DiscriminatorShape:
    """The size of the discriminator."""

    width: int = setting(64, "first width", low=1)
    max_width: int = setting(1024, "largest width", low=1)
    stages: int = setting(5, "two residual blocks each, and a halving between them", low=1, high=12)
    in_place: bool = setting(True, "whether activations overwrite their input, as in the published code")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShot(Labelled):
    """The hyper-parameters of both; the defaults are those of FUNIT's published code for its Animal Faces.

    A method has a `generator`, the group of settings that shapes it.
    """

    kept: ClassVar[tuple[str, ...]] = ("generator",)
    batch_multiple: ClassVar[int] = 2

    domains: int = changed(Labelled, "domains", 119)
    load_size: int = setting(140, "side of images before they are cropped; 0: their own", low=0, high=LARGEST_SIDE)
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)
    style_dim: int = setting(64, "entries of a class code", low=1)
    discriminator: DiscriminatorShape = DiscriminatorShape()
    adversarial_weight: float = setting(1.0, "of passing for real, and of telling apart", low=0)
    reconstruction_weight: float = setting(0.1, "of coming back to an image with its own class code", low=0)
    feature_weight: float = setting(1.0, "of having a reference's features, and an image's own", low=0)
    r1_weight: float = setting(10.0, "of the gradient penalty on references; 0: none", low=0)
    r1_of_mean: bool = setting(
        True,
        "whether it is the penalty of the batch's mean logit, as in the published code, which falls with the square of"
        " the batch size; else the mean of every image's own",
    )
    average: float = setting(0.999, "decay of the averaged generator", low=0, high=1, follows="average")
    rmsprop: RMSprop = RMSprop(1e-4, decay=0.99, weight_decay=1e-4)
    discriminator_rate: float = setting(1e-4, "the discriminator's step size", above=0)

    def rules(self):
        """Yield what of the settings does not go together."""
        if 0 < self.load_size < self.image_size:
            yield "load_size", f"must be 0 or at least the crop's data.image_size={self.image_size}"
        smallest = max(self.smallest, funit.smallest(self.discriminator.stages))
        if self.image_size < smallest:
            halvings = "the halvings of method.generator and discriminator"
            yield "image_size", f"is below the {smallest} px of {halvings}: raise it"
        if self.image_size % self.multiple:
            yield "image_size", f"must be a multiple of {self.multiple}"

    @property
    def smallest(self) -> int:
        """The smallest side of an image that the generator reads both codes of."""
        raise NotImplementedError

    def phase(self, step: int) -> Phase:
        return Phase("train", Stream("labelled", 1.0), load_size=self.load_size)

    # --- the networks, and as functions of their weights ---

    @property
    def auto_encoder(self) -> tuple[Any, tuple[Any, ...]]:
        """The generator, with the parts that `generate` applies, and examples of what it is called with."""
        raise NotImplementedError

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        generator, inputs = self.auto_encoder
        discriminator = funit.PatchDiscriminator(self.domains, **vars(self.discriminator), dtype=self.dtype)
        rates = {"generator": self.rmsprop.learning_rate, "discriminator": self.discriminator_rate}
        moved = {n: optimizers.rmsprop(**{**vars(self.rmsprop), "learning_rate": rate}) for n, rate in rates.items()}
        return {
            "generator": Network(generator, moved["generator"], inputs, averaged=True),
            "discriminator": Network(discriminator, moved["discriminator"], (self.example(),)),
        }

    def generate(self, params: PyTree, *inputs: Array, part: str) -> Array:
        """Apply a part of the generator: "read_content" or "read_style" of images, "decode" of both codes."""
        return self.call(self.networks["generator"].module, {"params": params}, *inputs, method=part)

    def discriminate(self, params: PyTree, images: Array, labels: Array) -> tuple[Array, Array]:
        """Return the maps of logits [B, h, w] of images within their classes, and their features [B, D]."""
        logits, features = self.call(self.networks["discriminator"].module, {"params": params}, images)
        return adversarial.select(logits, labels), features

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then the generator against what it has become, and its average.

        `views` is what the method of that name makes.
        """
        state, _, terms = play(
            state,
            self.optimizers,
            players=("generator",),
            opponents=("discriminator",),
            make=functools.partial(self.make, views),
            oppose=functools.partial(self.oppose, views, axis_name),
            deceive=functools.partial(self.deceive, views),
            axis_name=axis_name,
        )
        state = state.average(generator=self.average)
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def make(self, views: Batch, params: PyTree):
        """Redraw each image as one of its reference's class, and as what it is: "images", float32 [2 B, S, S, C]."""
        params, x = params["generator"], views["x"]
        content = self.generate(params, x, part="read_content")
        codes = self.generate(params, jnp.concatenate([views["reference"], x]), part="read_style")
        return {"images": self.generate(params, jnp.concatenate([content, content]), codes, part="decode")}, {}

    def oppose(self, views: Batch, axis_name: str | None, params: PyTree, made: Batch):
        """Tell references from translations, each within the reference's class, by the hinge loss."""
        images, terms = views["reference"], {}

        def logits(name, x):
            return self.discriminate(params["discriminator"], self.seen(x, views, name), views["reference_label"])[0]

        if self.r1_weight:
            terms["r1"], real = adversarial.r1(functools.partial(logits, "real"), images)
            if self.r1_of_mean:
                # An image's part in the gradient of the mean is its own divided by how many there are.
                terms["r1"] /= collectives.global_size(len(images), axis_name) ** 2
        else:
            real = logits("real", images)
        terms["real"] = adversarial.hinge_real(real)
        terms["fake"] = adversarial.hinge_fake(logits("fake", made["images"][: len(images)]))
        loss = self.adversarial_weight * (terms["real"] + terms["fake"])
        return loss + self.r1_weight * terms.get("r1", 0.0), (terms, {})

    def deceive(self, views: Batch, params: PyTree, made: Batch, opponents: Learners):
        """Pass for real, come back to the image, and have the features of reference and image."""
        labels = jnp.concatenate([views["reference_label"], views["label"]])

        # Changed alike, or their features would differ by the changes.
        def judge(images):
            seen = self.seen(images, views, "adversarial")
            return self.discriminate(opponents["discriminator"].params, seen, labels)

        logits, features = judge(made["images"])
        _, wanted = judge(jnp.concatenate([views["reference"], views["x"]]))
        (class_seen, seen), (class_wanted, own) = jnp.split(features, 2), jnp.split(wanted, 2)
        terms = {
            "adversarial": adversarial.hinge_generator(logits),
            "reconstruction": reconstruction.l1(made["images"][len(views["x"]) :], views["x"]),
            "class_features": reconstruction.l1(class_seen, class_wanted),
            "own_features": reconstruction.l1(seen, own),
        }
        loss = self.feature_weight * (terms["class_features"] + terms["own_features"])
        loss += self.reconstruction_weight * terms["reconstruction"]
        return loss + self.adversarial_weight * terms["adversarial"], terms

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Return x, reference: float32 [B, S, S, C], mirrored crops; label, reference_label: int32 [B], their classes;
        and `changes`.

        Each image's reference is its neighbour, cropped anew: batches are in a random order, and no device has to have
        the others' images.
        """
        made = self.changes(key, len(batch["image"]), axis_name)
        for number, (name, of) in enumerate((("x", batch), ("reference", jax.tree.map(exchanged, batch)))):
            keys = collectives.example_keys(jax.random.fold_in(key, number), len(of["image"]), axis_name)
            made[name] = augment.cropped_view(keys, of["image"], self.image_size, flip=self.flip)
            made["label" if name == "x" else "reference_label"] = of["label"]
        return made

    def read_style(self, variables: PyTree, images: Array) -> Array:
        """Return the class codes [B, D] of images; that of a class is the mean of those of a few of its images."""
        return self.generate(variables["generator"]["params"], images, part="read_style")

    @property
    def readouts(self):
        return {"style": self.read_style}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Redraw inputs["content"] as of the class of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        params = variables["generator"]["params"]
        content = self.generate(params, inputs["content"], part="read_content")
        return self.generate(params, content, style, part="decode")


def exchanged(rows: Array) -> Array:
    """Exchange the neighbours among an even number of rows [B, ...]: 0 with 1, 2 with 3."""
    return rows.reshape(-1, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)
