"""A contrastive embedding translator: our reconstruction of the idea of Hong, Feng and Jiang (ACCV 2022).

Published is this much: an embedding network extracts domain and style of a reference image by contrastive learning and
feeds a translation module; both train together and help each other; labels are used where there are any. All else here
is ours (docs/embedding.md tells which). `update` is one iteration.
"""

import dataclasses

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.errors import UserError
from uit_jax.losses import adversarial, contrastive, reconstruction
from uit_jax.memory import key_queue
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.methods import cluit
from uit_jax.nn.cluit import Encoder, Generator
from uit_jax.state import Learner, TrainState, descend
from uit_jax.types import Array, Batch, Method, Metrics


@dataclasses.dataclass(frozen=True)
class Settings:
    """The translator's hyper-parameters; all of them are ours.

    Attributes:
      image_size, channels: side and channels of the training images; the side is a power of two.
      precision: "float32" or "bf16" (parameters, norms and losses stay float32).
      style_dim: entries of an embedding, which is style and domain at once.
      width, max_width: first and largest width of all networks.
      bottleneck, blocks: side of the generator's narrowest maps, residual blocks on each side of them.
      labelled_share: of each class, the share of images whose label is used: 0 none, 1 all.
      conditioning: what the discriminator knows of the reference: its embedding, by "projection" (arXiv:1802.05637),
        or nothing, by a single "logit".
      crop_range: sides of the crop in the second view, as shares of the image's.
      degrees .. fill: the rest of the second view (see `augment.strong_view`).
      queue_size, temperature: of the contrastive losses.
      contrastive_weight: of the embedding's contrast between images.
      label_weight: of its contrast between classes, where labels are known.
      match_weight: of the translation's embedding against the reference's.
      mismatch_weight: of the discriminator's loss on real images with another image's embedding, beside that on
        translations, of weight 1; the two are averaged.
      adversarial_weight, reconstruction_weight: of the generator's and the embedding network's losses.
      r1_weight, r1_every: weight (gamma / 2) and period of the gradient penalty; its weight grows with it.
      key_average, average: decay of the averaged embedding network, which encodes the keys, and of the generator's.
      learning_rate, b1, b2: of Adam, for all networks.
    """

    image_size: int = 128
    channels: int = 3
    precision: str = "float32"
    style_dim: int = 128
    width: int = 64
    max_width: int = 512
    bottleneck: int = 16
    blocks: int = 2
    labelled_share: float = 0.0
    conditioning: str = "projection"
    crop_range: tuple[float, float] = (0.5, 1.0)
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
    label_weight: float = 1.0
    match_weight: float = 1.0
    mismatch_weight: float = 1.0
    adversarial_weight: float = 1.0
    reconstruction_weight: float = 10.0
    r1_weight: float = 0.5
    r1_every: int = 16
    key_average: float = 0.999
    average: float = 0.999
    learning_rate: float = 1e-4
    b1: float = 0.0
    b2: float = 0.99

    def __post_init__(self):
        cluit.check_networks(self)
        cluit.check_views(self)
        if self.conditioning not in ("projection", "logit"):
            raise UserError(f"method.conditioning={self.conditioning!r} must be 'projection' or 'logit'")
        if not 0 <= self.labelled_share <= 1:
            raise UserError(f"method.labelled_share={self.labelled_share} must lie in 0 to 1")


def build(settings: Settings) -> Method:
    """Build the translator's pure functions."""
    s = settings
    dtype = jnp.bfloat16 if s.precision == "bf16" else jnp.float32
    widths = dict(width=s.width, max_width=s.max_width, dtype=dtype)
    projected = {"projection": s.style_dim} if s.conditioning == "projection" else {}
    embedding = Encoder(s.image_size, {"code": s.style_dim}, **widths)
    discriminator = Encoder(s.image_size, {"logit": 1, **projected}, **widths)
    generator = Generator(s.image_size, s.channels, bottleneck=s.bottleneck, blocks=s.blocks, **widths)
    txs = {
        name: optimizers.adam(s.learning_rate, b1=s.b1, b2=s.b2)
        for name in ("generator", "embedding", "discriminator")
    }

    # --- the networks as functions of their weights ---

    def embed(params, images: Array) -> Array:
        """Return unit embeddings [B, D]."""
        return contrastive.normalize(embedding.apply({"params": params}, images)["code"])

    def generate(params, images: Array, codes: Array) -> Array:
        """Redraw images in the style of unit embeddings, whose entries are brought to a variance of one."""
        return generator.apply({"params": params}, images, codes * jnp.sqrt(s.style_dim))

    def judge(params, images: Array, *codes: Array) -> tuple[Array, ...]:
        """Return for each of some embeddings [B, D] the logits [B] of the images being real and of that embedding."""
        seen = discriminator.apply({"params": params}, images)
        logit = seen["logit"][:, 0]
        if s.conditioning == "logit":
            return (logit,) * len(codes)
        return tuple(logit + jnp.sqrt(s.style_dim) * (seen["projection"] * code).mean(-1) for code in codes)

    # --- one function per network's step: forward -> named terms -> weighted sum ---

    def discriminator_step(state: TrainState, x: Array, fake: Array, keys: Array, keys_ref: Array, phase, axis_name):
        """Tell images from translations, given the embedding that an image has or its translation should have."""
        fake = jax.lax.stop_gradient(fake)

        def loss_fn(params):
            params, terms = params["discriminator"], {}
            if phase == "penalised":
                terms["r1"], _ = adversarial.r1(lambda x: judge(params, x, keys)[0], x)
            real, mismatched = judge(params, x, keys, keys_ref)
            terms["real"] = adversarial.logistic(real, 1.0)
            terms["fake"] = adversarial.logistic(judge(params, fake, keys_ref)[0], 0.0)
            wrong, weights = terms["fake"], 1.0
            if s.mismatch_weight and projected:
                terms["mismatch"] = adversarial.logistic(mismatched, 0.0)
                wrong, weights = wrong + s.mismatch_weight * terms["mismatch"], 1 + s.mismatch_weight
            loss = terms["real"] + wrong / weights + s.r1_weight * s.r1_every * terms.get("r1", 0.0)
            return loss, (terms, {})

        return descend({"discriminator": state.learners["discriminator"]}, txs, loss_fn, axis_name=axis_name)

    def translation_step(state: TrainState, batch: Batch, keys: Array, phase: str, axis_name):
        """Embed; translate; let the discriminator learn from the translations; then deceive it, redraw the source and
        keep the reference's embedding, while embeddings of other images, or of other classes, are kept apart.

        The discriminator's step stands inside the loss because both need the same translations.
        """
        x, perm, labels = batch["x"], batch["perm"], batch["label"]
        keys_ref = collectives.take(keys, perm, axis_name)
        queue, same = key_queue.negatives(state.memory["queue"]), same_class(state, labels)
        same_ref = same_class(state, collectives.take(labels, perm, axis_name))

        def loss_fn(trained):
            codes = embed(trained["embedding"], x)
            codes_ref = collectives.take(codes, perm, axis_name)
            images = generate(
                trained["generator"], jnp.concatenate([x, x]), jnp.concatenate([codes_ref, codes])
            )
            fake, rec = jnp.split(images, 2)
            opponent, opponent_terms = discriminator_step(state, x, fake, keys, keys_ref, phase, axis_name)
            # The network that judges the style of a translation does not learn to find it there.
            critic = jax.lax.stop_gradient(trained["embedding"])
            terms = {
                "adversarial": adversarial.logistic(
                    judge(opponent["discriminator"].params, fake, keys_ref)[0], 1.0
                ),
                "match": contrastive.info_nce(embed(critic, fake), keys_ref, queue, s.temperature, valid=~same_ref),
                "reconstruction": reconstruction.l1(rec, x),
                "contrastive": contrastive.info_nce(codes, keys, queue, s.temperature, valid=~same),
            }
            loss = s.adversarial_weight * terms["adversarial"] + s.match_weight * terms["match"]
            loss += s.reconstruction_weight * terms["reconstruction"] + s.contrastive_weight * terms["contrastive"]
            if s.labelled_share:
                terms["classes"] = contrastive.supervised_nce(codes, queue, same, s.temperature, axis_name=axis_name)
                loss += s.label_weight * terms["classes"]
            return loss, ((opponent, terms, opponent_terms), {})

        learners = {name: state.learners[name] for name in ("generator", "embedding")}
        learners, (opponent, *rest) = descend(learners, txs, loss_fn, axis_name=axis_name)
        return {**learners, **opponent}, *rest

    def same_class(state: TrainState, labels: Array) -> Array:
        """Say which of the queue's keys are known to be of the class of each label int32 [B]: bool [B, N]."""
        return (labels[:, None] >= 0) & (labels[:, None] == state.memory["labels"].keys[None, :])

    # --- the iteration ---

    def update(state: TrainState, batch: Batch, *, phase: str, axis_name=None) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then generator and embedding network, the averages and the queue.

        `batch` is what `views` makes: x and x_aug float32 [B, S, S, C], two views of the images; perm int32 [B], the
        place in the global batch of each image's reference; label int32 [B], -1 where unknown.
        """
        keys = jax.lax.stop_gradient(embed(state.learners["embedding"].ema, batch["x_aug"]))
        learners, terms, opponent_terms = translation_step(state, batch, keys, phase, axis_name)
        learners["embedding"] = learners["embedding"].average(s.key_average)
        learners["generator"] = learners["generator"].average(s.average)
        memory = {
            "queue": key_queue.push(state.memory["queue"], keys, axis_name),
            "labels": key_queue.push(state.memory["labels"], batch["label"], axis_name),
        }
        metrics = {f"generator/{name}": value for name, value in terms.items()}
        metrics |= {f"discriminator/{name}": value for name, value in opponent_terms.items()}
        state = state.replace(step=state.step + 1, learners=learners, memory=memory)
        return state, collectives.mean(metrics, axis_name)

    # --- the record ---

    def init(key: Array, batch) -> TrainState:
        """Draw all weights; only the global batch size is read from `batch`."""
        key_queue.check_divides(s.queue_size, batch["image"].shape[0])
        key, *keys = jax.random.split(key, 5)
        images, codes = jnp.zeros((1, s.image_size, s.image_size, s.channels)), jnp.zeros((1, s.style_dim))
        learners = {
            "generator": Learner.create(generator.init(keys[0], images, codes), txs["generator"], averaged=True),
            "embedding": Learner.create(embedding.init(keys[1], images), txs["embedding"], averaged=True),
            "discriminator": Learner.create(discriminator.init(keys[2], images), txs["discriminator"]),
        }
        queue = key_queue.create(keys[3], s.queue_size, s.style_dim)
        memory = {
            "queue": KeyQueue(contrastive.normalize(queue.keys)),
            "labels": KeyQueue(jnp.full((s.queue_size,), -1, jnp.int32)),
        }
        return TrainState(jnp.zeros((), jnp.int32), key, learners, memory)

    def views(key: Array, batch: Batch, axis_name=None) -> Batch:
        """Make the two views of every image and draw its reference; see `update`."""
        plain_key, strong_key, perm_key = jax.random.split(key, 3)
        images = batch["image"]
        size = images.shape[0]
        perm = jax.random.permutation(perm_key, collectives.global_size(size, axis_name))
        return {
            "x": augment.plain_view(collectives.example_keys(plain_key, size, axis_name), images, flip=s.flip),
            "x_aug": cluit.second_view(collectives.example_keys(strong_key, size, axis_name), images, s),
            "perm": collectives.share(perm, size, axis_name),
            "label": batch["label"] if s.labelled_share else jnp.full_like(batch["label"], -1),
        }

    def variables(state: TrainState):
        return {name: {"params": state.learners[name].ema} for name in ("generator", "embedding")}

    def translate(variables, inputs) -> Array:
        """Redraw inputs["content"] in the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else read_style(variables, inputs["reference"])
        # Nothing in the network keeps its images within the range.
        return jnp.clip(generate(variables["generator"]["params"], inputs["content"], style), -1, 1)

    def read_style(variables, images: Array) -> Array:
        return embed(variables["embedding"]["params"], images)

    return Method(
        init=init,
        phase=lambda step: "lazy" if step % s.r1_every else "penalised",
        stream=lambda phase: "partly_labelled" if s.labelled_share else "all",
        batch_size=lambda phase, size: size,
        views=views,
        update=update,
        variables=variables,
        translate=translate,
        readouts={"style": read_style},
        multiple=generator.multiple,
    )
