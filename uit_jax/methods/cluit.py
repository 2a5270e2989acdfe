"""CLUIT: Contrastive Learning for Unsupervised Image-to-Image Translation (Lee, Seol and Lee, arXiv:2105.03117).

A discriminator with two branches tells real images from translations and, by contrast with a queue of other images,
styles from each other; what it has learnt of style then supervises the generator. There are no clusters and no labels.
`update` is the paper's iteration.
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
from uit_jax.method import Method, Network, Phase
from uit_jax.methods.opposed import Opposed
from uit_jax.nn.starganv2 import Encoder, Generator
from uit_jax.settings import R1, Adam, SquareView, changed, setting, upsampling
from uit_jax.state import Learners, TrainState, play
from uit_jax.types import Array, Batch, PyTree

PENALISED, LAZY = Phase("penalised"), Phase("lazy")
SMALLEST_PATCH = 2  # pixels a side: a patch of fewer shows a colour and nothing else


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLUIT(Opposed):
    """Its hyper-parameters; the defaults are the paper's at 128 px, and ours where its were lost (docs/cluit.md)."""

    batch_multiple: ClassVar[int] = 2
    kept: ClassVar[tuple[str, ...]] = ("generator", "encoder")

    image_size: int = changed(Method, "image_size", 128, low=8, power_of_two=True)
    style_dim: int = setting(128, "entries of a style code", low=1)
    code_dim: int = setting(256, "entries of the discriminator's contrastive code", low=1)
    width: int = setting(64, "first width of all networks", low=1)
    max_width: int = setting(512, "largest width of all networks", low=1)
    bottleneck: int = setting(16, "side of the generator's narrowest maps", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of these", low=1, high=1000)
    upsampling: str = upsampling()
    patches: int = setting(4, "patches whose mean code is matched (Eq. 5); 0: the whole images (Eq. 4)", low=0)
    patch_sides: tuple[float, ...] = setting(
        (0.125, 1.0), "side of a patch, a share of the image's", above=0, high=1, length=2, rising=True
    )
    view: SquareView = SquareView(hue=0.1)
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)
    queue_size: int = setting(2048, "keys in the queue, a multiple of the batch size", low=1)
    temperature: float = setting(0.07, "of the contrastive losses", above=0)
    contrastive_weight: float = setting(1.0, "of the discriminator's contrastive loss (ours)", low=0)
    match_weight: float = setting(1.0, "of the generator's style match (ours)", low=0)
    cycle_weight: float = setting(10.0, "of the generator's cycle (ours)", low=0)
    r1: R1 = R1(weight=0.5, every=16)
    key_average: float = setting(0.999, "decay of the averaged discriminator, which encodes the keys", low=0, high=1)
    average: float = setting(0.999, "decay of the averaged generator and encoder", low=0, high=1, follows="average")
    adam: Adam = Adam(1e-4, b1=0.0, b2=0.99)

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.bottleneck > self.image_size:
            yield "bottleneck", f"must be data.image_size={self.image_size} at most"
        smallest, sides = self.patch_sides[0] * self.image_size, f"method.patch_sides={self.patch_sides}"
        if self.patches and smallest < SMALLEST_PATCH:
            yield "image_size", f"is too small: the smallest patch, by {sides}, has {smallest:g} pixels a side, not 2"

    def phase(self, step: int) -> Phase:
        return PENALISED if self.r1.on(step) else LAZY

    # --- the networks, and as functions of their weights ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        widths = dict(width=self.width, max_width=self.max_width, dtype=self.dtype)
        shape = dict(bottleneck=self.bottleneck, blocks=self.blocks, upsampling=self.upsampling)
        generator = Generator(self.image_size, self.channels, **shape, **widths)
        encoder = Encoder(self.image_size, {"style": self.style_dim}, **widths)
        discriminator = Encoder(self.image_size, {"code": self.code_dim, "logit": 1}, **widths)
        image, style = self.example(), jax.ShapeDtypeStruct((1, self.style_dim), jnp.float32)
        adam = optimizers.adam(**dataclasses.asdict(self.adam))
        return {
            "generator": Network(generator, adam, (image, style), averaged=True),
            "encoder": Network(encoder, adam, (image,), averaged=True),
            "discriminator": Network(discriminator, adam, (image,), averaged=True),
        }

    def memory(self, key: Array, batch_size: int) -> PyTree:
        key_queue.check_divides(self.queue_size, batch_size)
        queue = key_queue.create(key, self.queue_size, self.code_dim)
        return {"queue": key_queue.KeyQueue(contrastive.normalize(queue.keys))}

    def generate(self, params: PyTree, images: Array, style: Array) -> Array:
        return self.call(self.networks["generator"].module, {"params": params}, images, style)

    def encode(self, params: PyTree, images: Array) -> Array:
        """Return style codes [B, D] of images."""
        return self.call(self.networks["encoder"].module, {"params": params}, images)["style"]

    def look(self, params: PyTree, images: Array, branch: str) -> Array:
        """Return what one of the discriminator's branches, "logit" or "code", says of images."""
        return self.call(self.networks["discriminator"].module, {"params": params}, images, only=(branch,))[branch]

    def discriminate(self, params: PyTree, images: Array) -> Array:
        """Return the discriminator's logits [B]."""
        return self.look(params, images, "logit")[:, 0]

    def represent(self, params: PyTree, images: Array, squares: Array | None = None) -> Array:
        """Return unit contrastive codes [B, D] of images, or of the mean over the patches in squares [B, P, 4]."""
        if squares is not None:
            images = augment.cut_patches(images, squares)
        codes = self.look(params, images, "code")
        if squares is not None:
            codes = codes.reshape(*squares.shape[:2], -1).mean(1)
        return contrastive.normalize(codes)

    # --- the iteration ---

    def update(self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None):
        """Do one iteration: the discriminator, then generator and style encoder (Eq. 6), the averages and the queue.

        `views` is what the method of that name makes.
        """
        averaged, (_, references) = state.learners["discriminator"].ema, halves(views)
        views = {
            **views,
            "keys": self.represent(averaged, views["x_aug"]),
            "wanted": self.represent(averaged, references["x"], references.get("squares")),
            "negatives": key_queue.negatives(state.memory["queue"]),
        }
        state, _, terms = play(
            state,
            self.optimizers,
            players=("generator", "encoder"),
            opponents=("discriminator",),
            make=functools.partial(self.make, views),
            oppose=functools.partial(self.oppose, views, phase),
            deceive=functools.partial(self.deceive, views),
            axis_name=axis_name,
        )
        state = state.average(generator=self.average, encoder=self.average, discriminator=self.key_average)
        memory = {"queue": key_queue.push(state.memory["queue"], views["keys"], axis_name)}
        return state.replace(step=state.step + 1, memory=memory), collectives.mean(terms, axis_name)

    def make(self, views: Batch, params: PyTree):
        """Generate each content in the style of its reference; keep the content's own style for the way back."""
        content, reference = (half["x"] for half in halves(views))
        style, own_style = jnp.split(self.encode(params["encoder"], jnp.concatenate([reference, content])), 2)
        return {"fake": self.generate(params["generator"], content, style), "own_style": own_style}, {}

    def oppose(self, views: Batch, phase: Phase, params: PyTree, made: Batch):
        """Tell real images from translations (Eq. 2), and each image's other view from other images (Eq. 1)."""
        params, terms, seen = params["discriminator"], {}, functools.partial(self.seen, views=views)
        if phase == PENALISED:
            terms["r1"], real = adversarial.r1(lambda x: self.discriminate(params, seen(x, name="real")), views["x"])
        else:
            real = self.discriminate(params, seen(views["x"], name="real"))
        terms["real"] = adversarial.logistic(real, 1.0)
        fake = self.discriminate(params, seen(made["fake"], name="fake", every=2))
        terms["fake"] = adversarial.logistic(fake, 0.0)
        codes = self.represent(params, views["x_crop"])
        terms["contrastive"] = contrastive.info_nce(codes, views["keys"], views["negatives"], self.temperature)
        loss = terms["real"] + terms["fake"] + self.contrastive_weight * terms["contrastive"]
        return loss + self.r1.weight * self.r1.every * terms.get("r1", 0.0), (terms, {})

    def deceive(self, views: Batch, params: PyTree, made: Batch, opponents: Learners):
        """Pass for real, match the reference's style and come back to the content (Eq. 2 to 5)."""
        discriminator, fake, (inputs, _) = opponents["discriminator"].params, made["fake"], halves(views)
        told = views["wanted"], views["negatives"], self.temperature
        seen = self.seen(fake, views, "adversarial", every=2)
        terms = {
            "adversarial": adversarial.logistic(self.discriminate(discriminator, seen), 1.0),
            "match": contrastive.info_nce(self.represent(discriminator, fake, inputs.get("squares")), *told),
            "cycle": reconstruction.l1(self.generate(params["generator"], fake, made["own_style"]), inputs["x"]),
        }
        return terms["adversarial"] + self.match_weight * terms["match"] + self.cycle_weight * terms["cycle"], terms

    # --- the data, and what a trained model offers ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make what an iteration reads of images uint8 [B, S, S, C], neighbours being an input and its reference.

        Returns:
          x, x_crop, x_aug: float32 [B, S, S, C], the images, crops of them and second views; squares [B, P, 4], the
          patches to match of each translation and each reference; and `changes`, which the contrast does without.
        """
        images, side = batch["image"], batch["image"].shape[1:3]
        parts = [collectives.example_keys(part, len(images), axis_name) for part in jax.random.split(key, 4)]
        plain, cropped, strong, squares = parts
        x = augment.plain_view(plain, images, flip=self.flip)
        made = {
            **self.changes(key, len(images), axis_name),
            "x": x,
            "x_crop": augment.cut_patches(x, augment.sample_patches(cropped, side, self.view.crop_sides, 1)),
            "x_aug": augment.strong_view(strong, images, flip=self.flip, **dataclasses.asdict(self.view)),
        }
        if self.patches:
            made["squares"] = augment.sample_patches(squares, side, self.patch_sides, self.patches)
        return made

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] into the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        # Nothing in the network keeps its images within the range.
        return jnp.clip(self.generate(variables["generator"]["params"], inputs["content"], style), -1, 1)

    def read_style(self, variables: PyTree, images: Array) -> Array:
        return self.encode(variables["encoder"]["params"], images)

    @property
    def readouts(self):
        return {"style": self.read_style}


def halves(views: Batch) -> tuple[Batch, Batch]:
    """Return the even rows, those of inputs, and the odd ones, of references, of arrays [B, ...].

    Differs from the paper, whose inputs are the first half of the batch: neighbours lie on one device, however many
    there are.
    """
    return {name: rows[0::2] for name, rows in views.items()}, {name: rows[1::2] for name, rows in views.items()}
