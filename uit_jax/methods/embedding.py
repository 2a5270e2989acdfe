"""A contrastive embedding translator: our reconstruction of the idea of Hong, Feng and Jiang (ACCV 2022).

Published is this much: an embedding network extracts domain and style of a reference image by contrastive learning and
feeds a translation module; both train together and help each other; labels are used where there are any. All else here
is ours (docs/embedding.md tells which). `update` is one iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, contrastive, reconstruction
from uit_jax.memory import key_queue
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.method import Method, Network, Phase, Side, Stream, require
from uit_jax.methods.opposed import Opposed
from uit_jax.nn.starganv2 import Encoder, Generator
from uit_jax.settings import R1, Adam, SquareView, changed, setting, upsampling
from uit_jax.state import Learners, TrainState, play
from uit_jax.types import Array, Batch, PyTree


@dataclasses.dataclass(frozen=True)
class EmbeddingPhase(Phase):
    """Whether an iteration has the gradient penalty."""

    penalised: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingTranslator(Opposed):
    """The translator's hyper-parameters; all of them are ours."""

    kept: ClassVar[tuple[str, ...]] = ("generator", "embedding")

    image_size: int = changed(Method, "image_size", 128, low=8, power_of_two=True)
    style_dim: int = setting(128, "entries of an embedding, which is style and domain at once", low=1)
    width: int = setting(64, "first width of all networks", low=1)
    max_width: int = setting(512, "largest width of all networks", low=1)
    bottleneck: int = setting(16, "side of the generator's narrowest maps", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of these", low=1, high=1000)
    upsampling: str = upsampling()
    labelled_share: float = setting(0.0, "of each class, the share of labels used: 0 none, 1 all", low=0, high=1)
    conditioning: str = setting(
        "projection",
        "what the discriminator knows of the reference: its embedding, by projection (arXiv:1802.05637), or nothing",
        choices=("projection", "logit"),
    )
    view: SquareView = SquareView(hue=0.1, crop_sides=(0.5, 1.0))
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)
    queue_size: int = setting(2048, "keys in the queue, a multiple of the batch size", low=1)
    temperature: float = setting(0.07, "of the contrastive losses", above=0)
    contrastive_weight: float = setting(1.0, "of the embedding's contrast between images", low=0)
    label_weight: float = setting(1.0, "of its contrast between classes, where labels are known", low=0)
    match_weight: float = setting(1.0, "of the translation's embedding against the reference's", low=0)
    mismatch_weight: float = setting(
        1.0, "of real images with another's embedding, beside the translations' 1; the two are averaged", low=0
    )
    adversarial_weight: float = setting(1.0, "of the generator's and the embedding network's adversarial loss", low=0)
    reconstruction_weight: float = setting(10.0, "of their reconstruction", low=0)
    r1: R1 = R1(weight=0.5, every=16)
    key_average: float = setting(
        0.999, "decay of the averaged embedding network, which makes the keys", low=0, high=1, follows="average"
    )
    average: float = setting(0.999, "decay of the averaged generator", low=0, high=1, follows="average")
    adam: Adam = Adam(1e-4, b1=0.0, b2=0.99)

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.bottleneck > self.image_size:
            yield "bottleneck", f"must be data.image_size={self.image_size} at most"

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side("image", self.channels, labelled=self.labelled_share > 0),)

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        known = classes or not self.labelled_share
        require(known, f"{name} has no labels, but method.labelled_share is above 0")

    def phase(self, step: int) -> Phase:
        kind, on = "partly_labelled" if self.labelled_share else "all", self.r1.on(step)
        return EmbeddingPhase("penalised" if on else "lazy", Stream(kind, self.labelled_share), penalised=on)

    # --- the networks, and as functions of their weights ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        widths = dict(width=self.width, max_width=self.max_width, dtype=self.dtype)
        shape = dict(bottleneck=self.bottleneck, blocks=self.blocks, upsampling=self.upsampling)
        generator = Generator(self.image_size, self.channels, **shape, **widths)
        embedding = Encoder(self.image_size, {"code": self.style_dim}, **widths)
        projection = {"projection": self.style_dim} if self.conditioning == "projection" else {}
        discriminator = Encoder(self.image_size, {"logit": 1, **projection}, **widths)
        image, code = self.example(), jax.ShapeDtypeStruct((1, self.style_dim), jnp.float32)
        adam = optimizers.adam(**dataclasses.asdict(self.adam))
        return {
            "generator": Network(generator, adam, (image, code), averaged=True),
            "embedding": Network(embedding, adam, (image,), averaged=True),
            "discriminator": Network(discriminator, adam, (image,)),
        }

    def memory(self, key: Array, batch_size: int) -> PyTree:
        key_queue.check_divides(self.queue_size, batch_size)
        queue = key_queue.create(key, self.queue_size, self.style_dim)
        labels = jnp.full((self.queue_size,), -1, jnp.int32)
        return {"queue": KeyQueue(contrastive.normalize(queue.keys)), "labels": KeyQueue(labels)}

    def embed(self, params: PyTree, images: Array) -> Array:
        """Return unit embeddings [B, D]."""
        return contrastive.normalize(self.call(self.networks["embedding"].module, {"params": params}, images)["code"])

    def generate(self, params: PyTree, images: Array, codes: Array) -> Array:
        """Generate images in the style of unit embeddings, whose entries are brought to a variance of one."""
        codes = codes * jnp.sqrt(self.style_dim)
        return self.call(self.networks["generator"].module, {"params": params}, images, codes)

    def discriminate(self, params: PyTree, images: Array, *codes: Array) -> tuple[Array, ...]:
        """Return for each of some embeddings [B, D] the logits [B] of the images being real and of that embedding."""
        seen = self.call(self.networks["discriminator"].module, {"params": params}, images)
        logit = seen["logit"][:, 0]
        if self.conditioning == "logit":
            return (logit,) * len(codes)
        return tuple(logit + jnp.sqrt(self.style_dim) * (seen["projection"] * code).mean(-1) for code in codes)

    # --- the iteration ---

    def update(self, state: TrainState, views: Batch, *, phase: EmbeddingPhase, axis_name: str | None = None):
        """Do one iteration: the discriminator, then generator and embedding network, the averages and the queue.

        `views` is what the method of that name makes. Labels known, keys of the own class are no negatives.
        """
        keys = self.embed(state.learners["embedding"].ema, views["x_aug"])
        there = functools.partial(collectives.take, positions=views["perm"], axis_name=axis_name)
        views = {
            **views,
            "key": keys,
            "key_ref": there(keys),
            "queue": key_queue.negatives(state.memory["queue"]),
            "same": same_class(views["label"], state.memory["labels"].keys),
            "same_ref": same_class(there(views["label"]), state.memory["labels"].keys),
        }
        state, _, terms = play(
            state,
            self.optimizers,
            players=("generator", "embedding"),
            opponents=("discriminator",),
            make=functools.partial(self.make, views, axis_name),
            oppose=functools.partial(self.oppose, views, phase),
            deceive=functools.partial(self.deceive, views, axis_name),
            axis_name=axis_name,
        )
        state = state.average(generator=self.average, embedding=self.key_average)
        memory = {
            "queue": key_queue.push(state.memory["queue"], keys, axis_name),
            "labels": key_queue.push(state.memory["labels"], views["label"], axis_name),
        }
        return state.replace(step=state.step + 1, memory=memory), collectives.mean(terms, axis_name)

    def make(self, views: Batch, axis_name: str | None, params: PyTree):
        """Embed all images; generate each in the style of its reference, and in its own."""
        x = views["x"]
        codes = self.embed(params["embedding"], x)
        styles = jnp.concatenate([collectives.take(codes, views["perm"], axis_name), codes])
        fake, back = jnp.split(self.generate(params["generator"], jnp.concatenate([x, x]), styles), 2)
        return {"codes": codes, "fake": fake, "back": back}, {}

    def oppose(self, views: Batch, phase: EmbeddingPhase, params: PyTree, made: Batch):
        """Tell images from translations, given the embedding that an image has or its translation should have."""
        params, terms, x, key, key_ref = params["discriminator"], {}, views["x"], views["key"], views["key_ref"]
        seen = functools.partial(self.seen, views=views)
        if phase.penalised:
            terms["r1"], _ = adversarial.r1(lambda x: self.discriminate(params, seen(x, name="real"), key)[0], x)
        real, mismatched = self.discriminate(params, seen(x, name="real"), key, key_ref)
        terms["real"] = adversarial.logistic(real, 1.0)
        (fake,) = self.discriminate(params, seen(made["fake"], name="fake"), key_ref)
        terms["fake"] = adversarial.logistic(fake, 0.0)
        wrong, weights = terms["fake"], 1.0
        if self.mismatch_weight and self.conditioning == "projection":
            terms["mismatch"] = adversarial.logistic(mismatched, 0.0)
            wrong, weights = wrong + self.mismatch_weight * terms["mismatch"], 1 + self.mismatch_weight
        loss = terms["real"] + wrong / weights + self.r1.weight * self.r1.every * terms.get("r1", 0.0)
        return loss, (terms, {})

    def deceive(self, views: Batch, axis_name: str | None, params: PyTree, made: Batch, opponents: Learners):
        """Pass for real with the reference's embedding, come back to the image, and keep embeddings of other images,
        or of other classes, apart."""
        fake, codes, queue = made["fake"], made["codes"], views["queue"]
        seen = self.seen(fake, views, "adversarial")
        (passed,) = self.discriminate(opponents["discriminator"].params, seen, views["key_ref"])
        # The network that reads the style of a translation does not learn to find it there.
        read = self.embed(jax.lax.stop_gradient(params["embedding"]), fake)
        nce = functools.partial(contrastive.info_nce, negatives=queue, temperature=self.temperature)
        terms = {
            "adversarial": adversarial.logistic(passed, 1.0),
            "match": nce(read, views["key_ref"], valid=~views["same_ref"]),
            "reconstruction": reconstruction.l1(made["back"], views["x"]),
            "contrastive": nce(codes, views["key"], valid=~views["same"]),
        }
        loss = self.adversarial_weight * terms["adversarial"] + self.match_weight * terms["match"]
        loss += self.reconstruction_weight * terms["reconstruction"] + self.contrastive_weight * terms["contrastive"]
        if self.labelled_share:
            classes = contrastive.supervised_nce(codes, queue, views["same"], self.temperature, axis_name=axis_name)
            terms["classes"], loss = classes, loss + self.label_weight * classes
        return loss, terms

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make two views and sample references: `augment.referenced_views`; label: int32 [B]; and `changes`."""
        view = dict(vars(self.view), flip=self.flip, axis_name=axis_name)
        views = augment.referenced_views(key, batch["image"], **view)
        labels = batch["label"] if self.labelled_share else jnp.full(len(batch["image"]), -1, jnp.int32)
        return {**views, "label": labels, **self.changes(key, len(labels), axis_name)}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] into the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        # Nothing in the network keeps its images within the range.
        return jnp.clip(self.generate(variables["generator"]["params"], inputs["content"], style), -1, 1)

    def read_style(self, variables: PyTree, images: Array) -> Array:
        return self.embed(variables["embedding"]["params"], images)

    @property
    def readouts(self):
        return {"style": self.read_style}


def same_class(labels: Array, others: Array) -> Array:
    """Say which of other labels int32 [N] are known to be the class of each label int32 [B]: bool [B, N]."""
    return (labels[:, None] >= 0) & (labels[:, None] == others[None, :])
