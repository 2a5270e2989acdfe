"""CLUIT: Contrastive Learning for Unsupervised Image-to-Image Translation (Lee, Seol and Lee, arXiv:2105.03117).

A discriminator with two branches tells real images from translations and, by contrast with a queue of other images,
styles from each other; what it has learnt of style then supervises the generator. There are no clusters and no labels.
`update` is the paper's iteration.
"""

import dataclasses

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.errors import UserError
from uit_jax.losses import adversarial, contrastive, reconstruction
from uit_jax.memory import key_queue
from uit_jax.nn.cluit import Encoder, Generator
from uit_jax.state import Learner, TrainState, descend
from uit_jax.types import Array, Batch, Method, Metrics


@dataclasses.dataclass(frozen=True)
class Settings:
    """CLUIT's hyper-parameters; the defaults are the paper's at 128 px, and ours where its were lost (docs/cluit.md).

    Attributes:
      image_size, channels: side and channels of the training images; the side is a power of two.
      precision: "float32" or "bf16" (parameters, norms and losses stay float32).
      style_dim, code_dim: entries of a style code, and of the discriminator's contrastive code.
      width, max_width: first and largest width of all networks.
      bottleneck, blocks: side of the generator's narrowest maps, residual blocks on each side of them.
      patches: patches whose mean code is matched (Eq. 5); 0 matches the whole images (Eq. 4).
      patch_range: sides of a patch, as shares of the image's.
      crop_range: sides of the crop in both views of the contrastive loss (Eq. 1), likewise.
      degrees, translate, shear: the affine part of the second view; all 0 for none.
      brightness, contrast, saturation, hue: its colours (see `augment.strong_view`).
      flip, fill: probability of mirroring; what the affine map brings in from outside.
      queue_size, temperature: of the contrastive losses.
      contrastive_weight: of the discriminator's contrastive loss. Ours.
      match_weight, cycle_weight: of the generator's style match and cycle. Ours.
      r1_weight, r1_every: weight (gamma / 2) and period of the gradient penalty; its weight grows with it. Ours.
      key_average, average: decay of the averaged discriminator, which encodes the keys, and of other averages. Ours.
      learning_rate, b1, b2: of Adam, for all networks. Ours.
    """

    image_size: int = 128
    channels: int = 3
    precision: str = "float32"
    style_dim: int = 128
    code_dim: int = 256
    width: int = 64
    max_width: int = 512
    bottleneck: int = 16
    blocks: int = 2
    patches: int = 4
    patch_range: tuple[float, float] = (0.125, 1.0)
    crop_range: tuple[float, float] = (0.125, 1.0)
    degrees: float = 20.0
    translate: float = 0.1
    shear: float = 10.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    flip: float = 0.5
    fill: str = "black"
    queue_size: int = 2048
    temperature: float = 0.07
    contrastive_weight: float = 1.0
    match_weight: float = 1.0
    cycle_weight: float = 10.0
    r1_weight: float = 0.5
    r1_every: int = 16
    key_average: float = 0.999
    average: float = 0.999
    learning_rate: float = 1e-4
    b1: float = 0.0
    b2: float = 0.99

    def __post_init__(self):
        check_networks(self)
        check_views(self)
        size, smallest = self.image_size, self.patch_range[0] * self.image_size
        if self.patches < 0:
            raise UserError(f"method.patches={self.patches} must be 0 (whole images) or more")
        if self.patches and smallest < SMALLEST_PATCH:
            raise UserError(
                f"data.image_size={size}: images are smaller than the smallest patch, which with"
                f" method.patch_range={self.patch_range} has {smallest:g} pixels a side and needs {SMALLEST_PATCH}"
            )


SMALLEST_PATCH = 2
"""Pixels a side: a patch of fewer shows a colour and nothing else."""


def check_networks(s) -> None:
    """Raise where the sizes, widths or weights of settings `s` cannot be."""

    def require(condition, message):
        if not condition:
            raise UserError(message)

    size = s.image_size
    require(size >= 8 and size & (size - 1) == 0, f"data.image_size={size} must be a power of two, 8 at least")
    require(
        4 <= s.bottleneck <= size and s.bottleneck & (s.bottleneck - 1) == 0,
        f"method.bottleneck={s.bottleneck} must be a power of two from 4 to data.image_size={size}",
    )
    require(s.precision in ("float32", "bf16"), f"precision={s.precision!r} must be 'float32' or 'bf16'")
    for name in ("style_dim", "code_dim", "width", "max_width", "blocks", "r1_every"):
        require(getattr(s, name, 1) >= 1, f"method.{name}={getattr(s, name, 1)} must be 1 at least")
    for name in ("temperature", "learning_rate"):
        require(getattr(s, name) > 0, f"method.{name}={getattr(s, name)} must be above 0")
    for name in ("key_average", "average", "flip"):
        require(0 <= getattr(s, name) <= 1, f"method.{name}={getattr(s, name)} must lie in 0 to 1")
    for name in ("b1", "b2"):
        require(0 <= getattr(s, name) < 1, f"method.{name}={getattr(s, name)} must lie in 0 to 1, 1 excluded")
    for name, value in dataclasses.asdict(s).items():
        require(not name.endswith("_weight") or value >= 0, f"method.{name}={value} must be 0 at least")


def check_views(s) -> None:
    """Raise where a range of sides in settings `s` is none."""
    for name in ("patch_range", "crop_range"):
        sides = getattr(s, name, (1.0, 1.0))
        if len(sides) != 2 or not 0 < sides[0] <= sides[1] <= 1:
            raise UserError(f"method.{name}={sides} must be (least, most) with 0 < least <= most <= 1")
    if s.fill not in ("black", "edge"):
        raise UserError(f"method.fill={s.fill!r} must be 'black' or 'edge'")


def second_view(keys: Array, images: Array, s) -> Array:
    """Crop, move, recolour and mirror images uint8 [B, H, W, C] as settings `s` say (Table 2)."""
    return augment.strong_view(
        keys,
        images,
        degrees=s.degrees,
        translate=s.translate,
        shear=s.shear,
        crop_sides=tuple(s.crop_range),
        brightness=s.brightness,
        contrast=s.contrast,
        saturation=s.saturation,
        hue=s.hue,
        flip=s.flip,
        fill=s.fill,
    )


def build(settings: Settings) -> Method:
    """Build CLUIT's pure functions."""
    s = settings
    dtype = jnp.bfloat16 if s.precision == "bf16" else jnp.float32
    widths = dict(width=s.width, max_width=s.max_width, dtype=dtype)
    discriminator = Encoder(s.image_size, {"code": s.code_dim, "logit": 1}, **widths)
    encoder = Encoder(s.image_size, {"style": s.style_dim}, **widths)
    generator = Generator(s.image_size, s.channels, bottleneck=s.bottleneck, blocks=s.blocks, **widths)
    txs = {
        name: optimizers.adam(s.learning_rate, b1=s.b1, b2=s.b2) for name in ("generator", "encoder", "discriminator")
    }

    # --- the networks as functions of their weights ---

    def judge(params, images: Array) -> Array:
        """Return the discriminator's logits [B]."""
        return discriminator.apply({"params": params}, images, only=("logit",))["logit"][:, 0]

    def represent(params, images: Array, squares: Array | None = None) -> Array:
        """Return unit contrastive codes [B, D] of images, or of the mean over the patches in squares [B, P, 4]."""
        if squares is not None:
            images = augment.cut_patches(images, squares)
        codes = discriminator.apply({"params": params}, images, only=("code",))["code"]
        if squares is not None:
            codes = codes.reshape(*squares.shape[:2], -1).mean(1)
        return contrastive.normalize(codes)

    def encode(params, images: Array) -> Array:
        return encoder.apply({"params": params}, images)["style"]

    def generate(params, images: Array, style: Array) -> Array:
        return generator.apply({"params": params}, images, style)

    # --- one function per network's step: forward -> named terms -> weighted sum ---

    def discriminator_step(state: TrainState, batch: Batch, fake: Array, phase: str, axis_name):
        """Tell real images from translations (Eq. 2), and each image's other view from other images (Eq. 1)."""
        learner, fake = state.learners["discriminator"], jax.lax.stop_gradient(fake)
        keys = represent(learner.ema, batch["x_aug"])

        def loss_fn(params):
            params, terms = params["discriminator"], {}
            if phase == "lazy":
                real = judge(params, batch["x"])
            else:
                terms["r1"], real = adversarial.r1(lambda x: judge(params, x), batch["x"])
            terms["real"] = adversarial.logistic(real, 1.0)
            terms["fake"] = adversarial.logistic(judge(params, fake), 0.0)
            terms["contrastive"] = contrast(represent(params, batch["x_crop"]), keys, state)
            loss = terms["real"] + terms["fake"] + s.contrastive_weight * terms["contrastive"]
            loss += s.r1_weight * s.r1_every * terms.get("r1", 0.0)
            return loss, (terms, {})

        learners, terms = descend({"discriminator": learner}, txs, loss_fn, axis_name=axis_name)
        return learners, terms, keys

    def translation_step(state: TrainState, batch: Batch, phase: str, axis_name):
        """Translate; let the discriminator learn from the translations; then deceive it, match the reference's style
        and come back to the input (Eq. 2 to 5).

        The discriminator's step stands inside the generator's loss because both need the same translations.
        """
        content, reference = halves(batch["x"])
        squares, reference_squares = halves(batch["squares"]) if s.patches else (None, None)
        keys = represent(state.learners["discriminator"].ema, reference, reference_squares)

        def loss_fn(trained):
            style = encode(trained["encoder"], jnp.concatenate([reference, content]))
            style_ref, style_org = jnp.split(style, 2)
            fake = generate(trained["generator"], content, style_ref)
            opponent, opponent_terms, new_keys = discriminator_step(state, batch, fake, phase, axis_name)
            critic = opponent["discriminator"].params
            terms = {
                "adversarial": adversarial.logistic(judge(critic, fake), 1.0),
                "match": contrast(represent(critic, fake, squares), keys, state),
                "cycle": reconstruction.l1(generate(trained["generator"], fake, style_org), content),
            }
            loss = terms["adversarial"] + s.match_weight * terms["match"] + s.cycle_weight * terms["cycle"]
            return loss, ((opponent, terms, opponent_terms, new_keys), {})

        learners = {name: state.learners[name] for name in ("generator", "encoder")}
        learners, (opponent, *rest) = descend(learners, txs, loss_fn, axis_name=axis_name)
        return {**learners, **opponent}, *rest

    def contrast(codes: Array, keys: Array, state: TrainState) -> Array:
        return contrastive.info_nce(codes, keys, key_queue.negatives(state.memory["queue"]), s.temperature)

    # --- the iteration ---

    def update(state: TrainState, batch: Batch, *, phase: str, axis_name=None) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then generator and style encoder (Eq. 6), the averages and the queue.

        `batch` is what `views` makes.
        """
        learners, terms, opponent_terms, keys = translation_step(state, batch, phase, axis_name)
        averaged = {
            name: learner.average(s.key_average if name == "discriminator" else s.average)
            for name, learner in learners.items()
        }
        memory = {"queue": key_queue.push(state.memory["queue"], keys, axis_name)}
        metrics = {f"generator/{name}": value for name, value in terms.items()}
        metrics |= {f"discriminator/{name}": value for name, value in opponent_terms.items()}
        state = state.replace(step=state.step + 1, learners=averaged, memory=memory)
        return state, collectives.mean(metrics, axis_name)

    # --- the record ---

    def init(key: Array, batch) -> TrainState:
        """Draw all weights; only the global batch size is read from `batch`."""
        size = batch["image"].shape[0]
        if size % 2:
            raise UserError(f"batch_size={size} cannot be halved: half of a batch are inputs, half references")
        key_queue.check_divides(s.queue_size, size)
        key, *keys = jax.random.split(key, 5)
        images, style = jnp.zeros((1, s.image_size, s.image_size, s.channels)), jnp.zeros((1, s.style_dim))
        drawn = {
            "generator": generator.init(keys[0], images, style),
            "encoder": encoder.init(keys[1], images),
            "discriminator": discriminator.init(keys[2], images),
        }
        learners = {name: Learner.create(weights, txs[name], averaged=True) for name, weights in drawn.items()}
        queue = key_queue.create(keys[3], s.queue_size, s.code_dim)
        queue = key_queue.KeyQueue(contrastive.normalize(queue.keys))
        return TrainState(jnp.zeros((), jnp.int32), key, learners, {"queue": queue})

    def views(key: Array, batch: Batch, axis_name=None) -> Batch:
        """Make what an iteration reads of images uint8 [B, S, S, C], neighbours being an input and its reference.

        Returns:
          x, x_crop, x_aug: float32 [B, S, S, C], the images, crops of them and second views; squares [B, P, 4], the
          patches to match of each translation and each reference.
        """
        images = batch["image"]
        size, side = images.shape[0], images.shape[1:3]
        plain, cropped, strong, squares = (
            collectives.example_keys(part, size, axis_name) for part in jax.random.split(key, 4)
        )
        x = augment.plain_view(plain, images, flip=s.flip)
        made = {
            "x": x,
            "x_crop": augment.cut_patches(x, augment.draw_patches(cropped, side, tuple(s.crop_range), 1)),
            "x_aug": second_view(strong, images, s),
        }
        if s.patches:
            made["squares"] = augment.draw_patches(squares, side, tuple(s.patch_range), s.patches)
        return made

    def variables(state: TrainState):
        return {name: {"params": state.learners[name].ema} for name in ("generator", "encoder")}

    def translate(variables, inputs) -> Array:
        """Redraw inputs["content"] in the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else read_style(variables, inputs["reference"])
        # Nothing in the network keeps its images within the range.
        return jnp.clip(generate(variables["generator"]["params"], inputs["content"], style), -1, 1)

    def read_style(variables, images: Array) -> Array:
        return encode(variables["encoder"]["params"], images)

    return Method(
        init=init,
        phase=lambda step: "lazy" if step % s.r1_every else "penalised",
        stream=lambda phase: "all",
        batch_size=lambda phase, size: size,
        views=views,
        update=update,
        variables=variables,
        translate=translate,
        readouts={"style": read_style},
        multiple=generator.multiple,
        batch_multiple=2,
    )


def halves(array: Array) -> tuple[Array, Array]:
    """Return the even rows, those of inputs, and the odd ones, of references: [B, ...] -> two of [B / 2, ...].

    Differs from the paper, whose inputs are the first half of the batch: neighbours lie on one device, however many
    there are.
    """
    return array[0::2], array[1::2]
