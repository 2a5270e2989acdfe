"""CUT, FastCUT and SinCUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al., ECCV 2020).

A generator turns images of domain A into domain B. What keeps the content is a loss on patches: each patch of the
translation has to find, by the generator's own features, its place in the input among other patches (arXiv:2007.15651).
`update` is the paper's iteration. CUT also asks images of B to stay what they are; FastCUT leaves that out; SinCUT
learns from crops of a single image of each domain, with StyleGAN2's networks (Section 4.3).
"""

import dataclasses
import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.errors import UserError
from uit_jax.losses import adversarial, contrastive, reconstruction
from uit_jax.memory import key_queue
from uit_jax.nn import cut as networks
from uit_jax.nn import sincut
from uit_jax.nn.layers import instance_norm
from uit_jax.state import Learner, TrainState, descend
from uit_jax.types import Array, Batch, Method, Metrics, Stage

_CHOICES = {
    "precision": ("float32", "bf16"),
    "generator": ("resnet", "stylegan2"),
    "discriminator": ("patch", "pixel", "stylegan2"),
    "norm": ("instance", "batch", "none"),
    "initializer": ("xavier", "normal", "kaiming", "orthogonal"),
    "negatives": ("internal", "minibatch", "external", "both"),
    "gan_loss": ("lsgan", "vanilla", "nonsaturating"),
}
# Settings that other parts of a config own.
_OWNERS = {"image_size": "data.", "channels": "data.", "target_channels": "data.", "precision": ""}
# The reference's "vanilla" also aims at 1 with cross-entropy, so that it and "nonsaturating" are one.
_OBJECTIVES = {
    "lsgan": adversarial.least_squares,
    "vanilla": adversarial.logistic,
    "nonsaturating": adversarial.logistic,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The family's hyper-parameters; the defaults are CUT's at 256 px.

    Attributes:
      image_size, channels, target_channels: side of the training crops, channels of domain A, and of B where they
        differ (0: as A). What enters the generator is brought to A's channels by `match_channels`.
      precision: "float32" or "bf16" (parameters, norms and losses stay float32).
      sync_statistics: batch norm over the global batch, not each device's.
      generator: "resnet" or "stylegan2".
      generator_width, generator_blocks: first width, residual blocks (9, or 6 for small images).
      antialias, antialias_up: blurred resampling down and up in place of strided convolutions.
      norm: "instance", "batch" or "none", of the resnet generator and the patch and pixel discriminators.
      discriminator, discriminator_width, discriminator_layers: "patch", "pixel" or "stylegan2"; its first width;
        the strided layers of the patch one.
      initializer, init_gain: of all weights but those of the StyleGAN2 networks.
      patch_layers: the generator's layers whose features are compared, numbered as in the reference.
      patches: places compared in each layer, 0 for all.
      patch_mlp, patch_dim: whether an MLP follows the features, and its width.
      temperature: of the contrastive loss.
      negatives: what a patch is told from: "internal" other patches of its image, "minibatch" those of all images,
        "external" a queue of `queue_size` patches a layer, with keys from a running average of decay `key_average`
        (the MoCo variant of the ablation), "both" its image's and the queue's.
      shared_encoder: whether inputs and outputs are encoded by the same weights; False gives the outputs an encoder
        and MLP of their own, and both sides learn (appendix C.5).
      nce_trains_decoder: whether the contrastive loss reaches the decoder (appendix C.5).
      gan_loss: "lsgan", "vanilla" or "nonsaturating".
      adversarial_weight, nce_weight: of the generator's losses (Eq. 5).
      identity: also compare patches of B with those of its own translation; the two contrastive terms are averaged.
      flip_equivariance: mirror the generator's input with probability 1/2 and its features back.
      identity_l1_weight: of the mean absolute difference between B and its translation (SinCUT).
      r1_weight: of half the discriminator's squared gradient on real images (SinCUT).
      learning_rate, b1, b2: Adam of all networks. The rate is constant for `constant_steps` iterations, then falls
        linearly to 0 in `decay_steps`.
      load_size: side to which images are resized before cropping; 0 leaves them their own size.
      crop_in_decay: whether crops go on in the decay; the reference resizes to the crop's size there.
      flip: probability of mirroring an image.
      crops: crops from each image; zoom: range of the factors by which an image is shrunk before a crop is cut from
        it, drawn for each axis.
      average: decay of the generator's running average, which inference then uses; 0 for none.
    """

    image_size: int = 256
    channels: int = 3
    target_channels: int = 0
    precision: str = "float32"
    sync_statistics: bool = True
    generator: str = "resnet"
    generator_width: int = 64
    generator_blocks: int = 9
    antialias: bool = True
    antialias_up: bool = True
    norm: str = "instance"
    discriminator: str = "patch"
    discriminator_width: int = 64
    discriminator_layers: int = 3
    initializer: str = "xavier"
    init_gain: float = 0.02
    patch_layers: tuple[int, ...] = (0, 4, 8, 12, 16)
    patches: int = 256
    patch_mlp: bool = True
    patch_dim: int = 256
    temperature: float = 0.07
    negatives: str = "internal"
    queue_size: int = 16_384
    key_average: float = 0.999
    shared_encoder: bool = True
    nce_trains_decoder: bool = True
    gan_loss: str = "lsgan"
    adversarial_weight: float = 1.0
    nce_weight: float = 1.0
    identity: bool = True
    flip_equivariance: bool = False
    identity_l1_weight: float = 0.0
    r1_weight: float = 0.0
    learning_rate: float = 2e-4
    b1: float = 0.5
    b2: float = 0.999
    constant_steps: int = 266_800
    decay_steps: int = 266_800
    load_size: int = 286
    crop_in_decay: bool = False
    flip: float = 0.5
    crops: int = 1
    zoom: tuple[float, float] = (1.0, 1.0)
    average: float = 0.0

    def __post_init__(self):
        def require(condition, message):
            if not condition:
                key = re.match(r"\w+", message)[0]
                raise UserError(f"{_OWNERS.get(key, 'method.')}{message}")

        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            require(value in choices, f"{name}={value!r} must be {' or '.join(map(repr, choices))}")
        for name in ("image_size", "generator_width", "generator_blocks", "discriminator_width", "patch_dim", "crops"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)} must be 1 at least")
        steps = ("constant_steps", "decay_steps")
        for name in ("target_channels", "patches", "load_size", "discriminator_layers", *steps):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)} must be 0 at least")
        for name in ("temperature", "init_gain", "learning_rate"):
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be above 0")
        for name in ("adversarial_weight", "nce_weight", "identity_l1_weight", "r1_weight"):
            require(getattr(self, name) >= 0, f"{name}={getattr(self, name)} must be 0 at least")
        require(0 <= self.flip <= 1, f"flip={self.flip} must lie in 0 to 1")
        for name in ("average", "key_average", "b1", "b2"):
            require(0 <= getattr(self, name) < 1, f"{name}={getattr(self, name)} must lie in 0 to 1, 1 excluded")
        numbers = all(isinstance(factor, int | float) for factor in self.zoom)
        require(
            numbers and len(self.zoom) == 2 and 0 < self.zoom[0] <= self.zoom[1] <= 1,
            f"zoom={self.zoom} must be two factors above 0 and up to 1, the smaller first",
        )
        require(
            self.load_size == 0 or self.load_size >= self.image_size,
            f"load_size={self.load_size} must be 0 or at least the crop's image_size={self.image_size}",
        )
        require(
            self.image_size % self.multiple == 0 and self.image_size >= 4 * self.multiple,
            f"image_size={self.image_size} must be a multiple of {self.multiple} and {4 * self.multiple} at least",
        )
        if self.discriminator == "patch":
            smallest = networks.smallest(self.discriminator_layers)
            require(
                self.image_size >= smallest,
                f"image_size={self.image_size} is below the {smallest} px that the patch discriminator needs with"
                f" discriminator_layers={self.discriminator_layers}: raise it, or set fewer layers",
            )
        if self.discriminator == "stylegan2":
            size = self.image_size
            require(size >= 8 and size & (size - 1) == 0, f"image_size={size} must be a power of two, 8 at least")
        require(len(self.patch_layers) > 0, "patch_layers must name one layer at least")
        require(
            len(set(self.patch_layers)) == len(self.patch_layers),
            f"patch_layers={self.patch_layers} names a layer twice",
        )
        known = self.taps
        for layer in self.patch_layers:
            there = ", ".join(map(str, known))
            require(layer in known, f"patch_layers: the generator has no layer {layer} to compare; it has {there}")
        require(
            not (self.queued and self.average),
            f"average must be 0 with negatives={self.negatives!r}, whose keys come from a running average of their own",
        )
        require(
            self.shared_encoder or not self.queued,
            f"shared_encoder must be true with negatives={self.negatives!r}, whose keys are not trained",
        )

    @property
    def multiple(self) -> int:
        return 4 if self.generator == "resnet" else 2

    @property
    def queued(self) -> bool:
        """Whether patches of earlier images are negatives."""
        return self.negatives in ("external", "both") and self.nce_weight > 0

    @property
    def out_channels(self) -> int:
        return self.target_channels or self.channels

    @property
    def generator_module(self):
        shape = dict(channels=self.channels, target_channels=self.out_channels, width=self.generator_width)
        dtype = jnp.bfloat16 if self.precision == "bf16" else jnp.float32
        if self.generator == "stylegan2":
            return sincut.StyleGAN2Generator(**shape, dtype=dtype)
        return networks.ResNetGenerator(
            **shape,
            blocks=self.generator_blocks,
            antialias=self.antialias,
            antialias_up=self.antialias_up,
            norm=self.norm,
            initializer=self.initializer,
            gain=self.init_gain,
            dtype=dtype,
        )

    @property
    def taps(self) -> dict[int, tuple[int, int]]:
        """The layers that can be compared, with height and width of their features at the training size."""
        return self.generator_module.tap_sizes(self.image_size, self.image_size)


@dataclasses.dataclass(frozen=True)
class FastSettings(Settings):
    """FastCUT's: no identity term, a heavier contrastive loss, mirrored inputs, a shorter schedule."""

    nce_weight: float = 10.0
    identity: bool = False
    flip_equivariance: bool = True
    constant_steps: int = 200_100
    decay_steps: int = 66_700


@dataclasses.dataclass(frozen=True)
class SinSettings(Settings):
    """SinCUT's: 16 crops of 64 px of one image pair a step, StyleGAN2's networks, R1 and an L1 identity."""

    image_size: int = 64
    generator: str = "stylegan2"
    generator_width: int = 10
    discriminator: str = "stylegan2"
    discriminator_width: int = 8
    patch_layers: tuple[int, ...] = (0, 2, 4)
    patches: int = 1
    negatives: str = "minibatch"
    gan_loss: str = "nonsaturating"
    nce_weight: float = 4.0
    identity_l1_weight: float = 1.0
    r1_weight: float = 1.0
    learning_rate: float = 2e-3
    b1: float = 0.0
    b2: float = 0.99
    constant_steps: int = 50_000
    decay_steps: int = 50_000
    load_size: int = 0
    crops: int = 16
    zoom: tuple[float, float] = (1 / 3, 1.0)


class Drawn(NamedTuple):
    """What a pass of the generator gives: images, the features of the compared layers, new batch statistics."""

    images: Array
    features: dict[int, Array]
    stats: dict


def match_channels(images: Array, channels: int) -> Array:
    """Bring images [B, H, W, C] to another number of channels, so that one generator encodes both domains.

    RGB becomes its luma, one channel is repeated, any other number is interpolated along the channels (ours; the
    reference has one number of channels only).
    """
    have = images.shape[-1]
    if have == channels:
        return images
    if have == 1:
        return jnp.repeat(images, channels, axis=-1)
    if channels == 1:
        weights = jnp.array(augment.LUMA if have == 3 else (1 / have,) * have, images.dtype)
        return jnp.einsum("bhwc,c->bhw", images, weights)[..., None]
    return jax.image.resize(images, (*images.shape[:-1], channels), "linear", antialias=False)


def build(settings: Settings) -> Method:
    """Build the pure functions of CUT, FastCUT or SinCUT."""
    s = settings
    dtype = jnp.bfloat16 if s.precision == "bf16" else jnp.float32
    generator, taps = s.generator_module, tuple(s.patch_layers)
    styled = s.generator == "stylegan2"
    sizes = s.taps
    compares, draws_target = s.nce_weight > 0, (s.identity and s.nce_weight > 0) or s.identity_l1_weight > 0
    weights = dict(initializer=s.initializer, gain=s.init_gain)
    sampler = networks.PatchMLP(dim=s.patch_dim, **weights) if s.patch_mlp and compares else None
    objective = _OBJECTIVES[s.gan_loss]

    def rate(step):
        # As the reference's epochs, counted in steps: the last one still moves.
        return s.learning_rate * (1 - jnp.maximum(0, step + 1 - s.constant_steps) / (s.decay_steps + 1)).clip(0)

    adam = optimizers.adam(rate, b1=s.b1, b2=s.b2)
    names = ("generator", "discriminator", "patches", "output_generator", "output_patches")
    txs = dict.fromkeys(names, adam)

    # --- the networks as functions of their weights ---

    def draw(variables, images: Array, noise: Array | None, axis_name) -> Drawn:
        inputs = (images, noise) if styled else (images,)
        if s.norm == "batch" and not styled:
            network = _over(generator, axis_name)
            found, stats = network.apply(variables, *inputs, taps=taps, train=True, mutable=["batch_stats"])
            return Drawn(*found, stats)
        return Drawn(*generator.apply(variables, *inputs, taps=taps), {})

    def encode(variables, images: Array, axis_name=None, *, train: bool = True) -> dict[int, Array]:
        """Return the features of the compared layers, {layer: [B, h, w, C]}; later layers are not computed."""
        network, images = _over(generator, axis_name), match_channels(images, s.channels)
        if s.norm == "batch" and not styled and train:
            return network.apply(variables, images, taps, train=True, mutable=["batch_stats"], method="features")[0]
        return network.apply(variables, images, taps, method="features")

    def judge(variables, images: Array, axis_name=None) -> tuple[Array, dict]:
        """Return the discriminator's logits and its new batch statistics."""
        network = _over(discriminator, axis_name)
        if s.norm == "batch" and s.discriminator != "stylegan2":
            return network.apply(variables, images, train=True, mutable=["batch_stats"])
        return network.apply(variables, images), {}

    def _over(network, axis_name):
        """Let batch norm see the global batch."""
        if s.norm != "batch" or not hasattr(network, "axis_name"):
            return network
        return network.clone(axis_name=axis_name if s.sync_statistics else None)

    if s.discriminator == "stylegan2":
        discriminator = sincut.StyleGAN2Discriminator(image_size=s.image_size, width=s.discriminator_width, dtype=dtype)
    elif s.discriminator == "pixel":
        discriminator = networks.PixelDiscriminator(width=s.discriminator_width, norm=s.norm, dtype=dtype, **weights)
    else:
        discriminator = networks.PatchDiscriminator(
            width=s.discriminator_width,
            layers=s.discriminator_layers,
            antialias=s.antialias,
            norm=s.norm,
            dtype=dtype,
            **weights,
        )

    def codes(params, features: dict[int, Array], places: dict[int, Array] | None) -> dict[int, Array]:
        """Return the unit codes {layer: [B, P, D]} of features at `places` {layer: int32 [B, P]}, None for all."""
        picked = {}
        for layer, maps in features.items():
            flat = maps.reshape(maps.shape[0], -1, maps.shape[-1]).astype(jnp.float32)
            if places is not None and layer in places:
                flat = jnp.take_along_axis(flat, places[layer][..., None], axis=1)
            picked[layer] = flat
        if sampler is not None:
            picked = sampler.apply({"params": params}, picked)
        return {layer: contrastive.normalize(code) for layer, code in picked.items()}

    # --- the losses ---

    def patch_loss(queries: dict[int, Array], keys: dict[int, Array], queues, axis_name) -> Array:
        """Return PatchNCE averaged over the layers (Eq. 3)."""
        losses = []
        for layer, query in queries.items():
            key, flat = keys[layer], (-1, query.shape[-1])
            nce = functools.partial(contrastive.patch_nce, query, key, s.temperature, train_keys=not s.shared_encoder)
            queue = key_queue.negatives(queues[str(layer)]) if s.queued else None
            if s.negatives == "external":
                losses.append(contrastive.info_nce(query.reshape(flat), key.reshape(flat), queue, s.temperature))
            elif s.negatives == "minibatch":
                losses.append(nce(candidates=collectives.gather(key, axis_name).reshape(flat)))
            else:
                losses.append(nce(negatives=queue))
        return sum(losses) / len(losses)

    def discriminator_step(state: TrainState, real: Array, fake: Array, axis_name):
        """Tell images of B from translations (Eq. 1)."""
        learner, fake = state.learners["discriminator"], jax.lax.stop_gradient(fake)

        def loss_fn(params):
            variables = {"params": params["discriminator"], **learner.stats}
            judged_fake, stats = judge(variables, fake, axis_name)
            judged_real, stats = judge({**variables, **stats}, real, axis_name)
            terms = {"real": objective(judged_real, 1.0), "fake": objective(judged_fake, 0.0)}
            if s.r1_weight:
                terms["r1"], _ = adversarial.r1(lambda x: _sum(judge(variables, x, axis_name)[0]), real)
            loss = (terms["real"] + terms["fake"]) / 2 + s.r1_weight / 2 * terms.get("r1", 0.0)
            return loss, (terms, {"discriminator": stats})

        return descend({"discriminator": learner}, txs, loss_fn, axis_name=axis_name)

    def translation_step(state: TrainState, batch: Batch, axis_name):
        """Translate; let the discriminator learn from the translations; then deceive it and keep every patch's place
        (Eq. 5).

        The discriminator's step stands inside the generator's loss because both need the same translations.
        """
        a, b = batch["a"], batch["b"]
        mirror = batch["mirror"] if s.flip_equivariance else jnp.zeros(len(a), bool)

        def loss_fn(trained):
            stats = state.learners["generator"].stats
            variables = {"params": trained["generator"], **stats}
            sides = ("a", "b") if draws_target else ("a",)
            inputs = jnp.concatenate([match_channels(flipped(batch[side], mirror), s.channels) for side in sides])
            noise = jnp.concatenate([batch[f"noise_{side}"] for side in sides]) if styled else None
            drawn = draw(variables, inputs, noise, axis_name)
            fake, same = drawn.images[: len(a)], drawn.images[len(a) :]
            opponent, opponent_terms = discriminator_step(state, b, fake, axis_name)
            judge_now = {"params": opponent["discriminator"].params, **opponent["discriminator"].stats}
            terms = {"adversarial": objective(judge(judge_now, fake, axis_name)[0], 1.0)}
            loss, pushed = s.adversarial_weight * terms["adversarial"], {}
            if compares:
                outputs = {"a": fake, "b": same} if s.identity else {"a": fake}
                for side, name in zip(outputs, ("nce", "nce_identity"), strict=False):
                    rows = slice(0, len(a)) if side == "a" else slice(len(a), None)
                    # The features of the inputs were computed on the way to the translations.
                    known = None if s.flip_equivariance else {t: f[rows] for t, f in drawn.features.items()}
                    query, key = pairs(trained, state, batch, side, outputs[side], known, mirror, axis_name)
                    queues = state.memory["queues"][side] if state.memory else None
                    terms[name], pushed[side] = patch_loss(query, key, queues, axis_name), key
                loss += s.nce_weight * sum(terms[n] for n in ("nce", "nce_identity") if n in terms) / len(outputs)
            if s.identity_l1_weight:
                terms["identity"] = reconstruction.l1(same, flipped(b, mirror))
                loss += s.identity_l1_weight * terms["identity"]
            return loss, ((opponent, terms, opponent_terms, pushed), {"generator": drawn.stats or stats})

        learners = {name: learner for name, learner in state.learners.items() if name != "discriminator"}
        learners, found = descend(learners, txs, loss_fn, axis_name=axis_name)
        opponent, terms, opponent_terms, pushed = found
        state = state.replace(learners={**state.learners, **learners, **opponent})
        return state, terms, opponent_terms, pushed

    def pairs(trained, state: TrainState, batch: Batch, side: str, output: Array, known, mirror: Array, axis_name):
        """Return the codes of an output's patches and of the same patches of its input (Section 3): queries and keys.

        `known` are the input's features, None to compute them from the input as it was before mirroring.
        """
        places = batch[f"positions_{side}"] if s.patches else None
        if s.flip_equivariance:
            # Features of a mirrored output are read where the unmirrored place lies in it.
            found = {t: jnp.broadcast_to(jnp.arange(h * w), (len(mirror), h * w)) for t, (h, w) in sizes.items()}
            found = {t: found[t] if places is None else places[t] for t in taps}
            turned = {t: jnp.where(mirror[:, None], _mirrored(found[t], sizes[t][1]), found[t]) for t in taps}
        else:
            turned = places
        if not s.nce_trains_decoder:
            output = jax.lax.stop_gradient(output)
        stats = state.learners["generator"].stats
        owner = "" if s.shared_encoder else "output_"
        features = encode({"params": trained[f"{owner}generator"], **stats}, output, axis_name)
        query = codes(trained.get(f"{owner}patches"), features, turned)
        if s.queued:
            learners = state.learners
            features = encode({"params": learners["generator"].ema, **stats}, batch[side], axis_name)
            return query, codes(learners["patches"].ema if sampler is not None else None, features, places)
        if known is None:
            known = encode({"params": trained["generator"], **stats}, batch[side], axis_name)
        return query, codes(trained.get("patches"), known, places)

    # --- the iteration ---

    def update(state: TrainState, batch: Batch, *, phase: str, axis_name=None) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then generator and patch MLP together.

        `batch` is what `views` makes: a, b float32 [B, S, S, C], crops of both domains; positions_a, positions_b
        {layer: int32 [B, P]}, the places compared, as row * width + column of that layer's features; mirror bool [B],
        which inputs of the generator are mirrored (FastCUT); noise_a, noise_b [B, S, S, 1] (SinCUT).
        """
        state, terms, opponent_terms, pushed = translation_step(state, batch, axis_name)
        state = remember(state, pushed, axis_name)
        metrics = _named("generator", terms) | _named("discriminator", opponent_terms)
        return state.replace(step=state.step + 1), collectives.mean(metrics, axis_name)

    def remember(state: TrainState, pushed, axis_name) -> TrainState:
        """Move the averages and queue the new keys."""
        learners, memory = dict(state.learners), state.memory
        if s.average:
            learners["generator"] = learners["generator"].average(s.average)
        if s.queued:
            for name in ("generator", "patches") if sampler is not None else ("generator",):
                learners[name] = learners[name].average(s.key_average)
            queues = {
                side: {
                    layer: key_queue.push(queue, pushed[side][int(layer)].reshape(-1, queue.keys.shape[-1]), axis_name)
                    for layer, queue in state.memory["queues"][side].items()
                }
                for side in pushed
            }
            memory = {"queues": queues}
        return state.replace(learners=learners, memory=memory)

    # --- the record ---

    def init(key: Array, batch) -> TrainState:
        """Draw all weights; only the global batch size is read from `batch`."""
        generator_key, discriminator_key, patches_key, queue_key = jax.random.split(jax.random.fold_in(key, 0), 4)
        size = s.image_size
        a, b = (jnp.zeros((1, size, size, c)) for c in (s.channels, s.out_channels))
        inputs = (a, jnp.zeros((1, size, size, 1))) if styled else (a,)
        variables = generator.init(generator_key, *inputs)
        learners = {
            "generator": Learner.create(variables, adam, averaged=bool(s.average) or s.queued),
            "discriminator": Learner.create(discriminator.init(discriminator_key, b), adam),
        }
        features = jax.eval_shape(functools.partial(encode, train=False), variables, a)
        if sampler is not None:
            samples = {layer: jnp.zeros((1, 1, maps.shape[-1])) for layer, maps in features.items()}
            mlp = sampler.init(patches_key, samples)
            learners["patches"] = Learner.create(mlp, adam, averaged=s.queued)
        if not s.shared_encoder and compares:
            own_key, mlp_key = jax.random.split(jax.random.fold_in(key, 1))
            # Of this generator only the encoder is used.
            own = {"params": generator.init(own_key, *inputs)["params"]}
            learners["output_generator"] = Learner.create(own, adam)
            if sampler is not None:
                learners["output_patches"] = Learner.create(sampler.init(mlp_key, samples), adam)
        memory = ()
        if s.queued:
            images = batch["a"].shape[0] * s.crops
            dims = {layer: s.patch_dim if s.patch_mlp else maps.shape[-1] for layer, maps in features.items()}
            for layer in taps:
                height, width = sizes[layer]
                key_queue.check_batch(s.queue_size, images * min(s.patches or height * width, height * width))
            keys = iter(jax.random.split(queue_key, 2 * len(taps)))
            memory = {
                "queues": {
                    side: {str(t): key_queue.create(next(keys), s.queue_size, dims[t]) for t in taps}
                    for side in (("a", "b") if s.identity else ("a",))
                }
            }
        return TrainState(jnp.zeros((), jnp.int32), key, learners, memory)

    def phase(step: int) -> str:
        cropped = step < s.constant_steps or s.crop_in_decay or s.load_size in (0, s.image_size)
        return "cropped" if cropped else "uncropped"

    def load_size(phase: str) -> int:
        return s.load_size if phase == "cropped" else s.image_size

    def views(key: Array, batch: Batch, axis_name=None) -> Batch:
        """Cut and mirror crops of both domains, and draw which patches are compared."""
        found = {}
        for number, side in enumerate("ab"):
            view_key, noise_key, place_key = jax.random.split(jax.random.fold_in(key, number), 3)
            images = batch[side]
            count = len(images) * s.crops
            found[side] = crops(collectives.example_keys(view_key, count, axis_name), images)
            if compares and s.patches and (side == "a" or s.identity):
                found[f"positions_{side}"] = positions(place_key, count)
            if styled and (side == "a" or draws_target):
                shape = (s.image_size, s.image_size, 1)
                keys = collectives.example_keys(noise_key, count, axis_name)
                found[f"noise_{side}"] = jax.vmap(lambda key, shape=shape: jax.random.normal(key, shape))(keys)
        if s.flip_equivariance:
            keys = collectives.example_keys(jax.random.fold_in(key, 2), len(found["a"]), axis_name)
            found["mirror"] = jax.vmap(jax.random.bernoulli)(keys)
        return found

    def crops(keys: Array, images: Array) -> Array:
        """Cut `s.crops` crops out of each image, mirrored at random: keys [B * crops] -> [B * crops, S, S, C]."""

        height, width = images.shape[1:3]
        if min(height, width) < s.image_size:
            raise UserError(
                f"images of {width} x {height} are smaller than the crops of data.image_size={s.image_size}: lower it,"
                " or have them enlarged by method.load_size"
            )

        def view(key, image):
            cut_key, flip_key = jax.random.split(key)
            if tuple(s.zoom) == (1.0, 1.0):
                cut = augment.normalize(augment.crop(cut_key, image, s.image_size))
            else:
                cut = augment.zoomed_crop(cut_key, image, s.image_size, tuple(s.zoom))
            return augment.mirror(cut, jax.random.bernoulli(flip_key, s.flip))

        keys = keys.reshape(len(images), s.crops, *keys.shape[1:])
        cuts = jax.vmap(jax.vmap(view, (0, None)))(keys, images)
        return cuts.reshape(-1, *cuts.shape[2:])

    def positions(key: Array, count: int) -> dict[int, Array]:
        """Draw the places that are compared, the same ones in every image: {layer: int32 [B, P]}."""
        drawn = {}
        for layer, layer_key in zip(taps, jax.random.split(key, len(taps)), strict=True):
            places = sizes[layer][0] * sizes[layer][1]
            _, chosen = jax.lax.top_k(jax.random.uniform(layer_key, (places,)), min(s.patches, places))
            drawn[layer] = jnp.broadcast_to(chosen, (count, len(chosen)))
        return drawn

    def variables(state: TrainState):
        learner = state.learners["generator"]
        params = learner.ema if s.average else learner.params
        found = {"generator": {"params": params, **learner.stats}}
        if sampler is not None:
            found["patches"] = {"params": state.learners["patches"].params}
        return found

    def translate(variables, inputs) -> Array:
        """Translate inputs["content"] [B, H, W, C] of any size from A to B."""
        maps, origin = inputs["content"], jnp.zeros(2, jnp.int32)
        for stage in stages:
            maps = stage.run(variables, maps, instance_norm, origin)
        return maps

    def read_codes(variables, images: Array) -> dict[int, Array]:
        features = encode(variables["generator"], images, train=False)
        found = codes(variables.get("patches", {}).get("params"), features, None)
        return {layer: code.reshape(*features[layer].shape[:3], -1) for layer, code in found.items()}

    def part(method: str, variables, maps: Array, normalize, origin: Array) -> Array:
        if method == "encode":
            maps = match_channels(maps, s.channels)
        return generator.apply(variables["generator"], maps, method=method, normalize=normalize)

    def block(index: int, variables, maps: Array, normalize, origin: Array) -> Array:
        def apply(network, x):
            return network.block[index](x, normalize, False)

        return generator.apply(variables["generator"], maps, method=apply)

    def whole(variables, maps: Array, normalize, origin: Array) -> Array:
        maps = match_channels(maps, s.channels)
        noise = sincut.position_noise(*maps.shape[1:3], origin)
        noise = jnp.broadcast_to(noise, (maps.shape[0], *noise.shape[1:]))
        return generator.apply(variables["generator"], maps, noise).clip(-1, 1)

    if styled:
        stages = (Stage(whole, 1.0, sincut.HALO),)
    else:
        stages = (
            Stage(functools.partial(part, "encode"), 0.25, networks.ENCODE_HALO),
            # A stage of its own for each: tiles pass through a stage once more than it has norms.
            *(Stage(functools.partial(block, i), 1.0, networks.TRANSFORM_HALO) for i in range(s.generator_blocks)),
            Stage(functools.partial(part, "decode"), 4.0, networks.DECODE_HALO),
        )

    return Method(
        init=init,
        phase=phase,
        stream=lambda phase: "all",
        batch_size=lambda phase, size: size,
        views=views,
        update=update,
        variables=variables,
        translate=translate,
        readouts={"patch_codes": read_codes},
        multiple=s.multiple,
        layout="pair",
        load_size=load_size,
        stages=stages,
    )


def flipped(images: Array, mirror: Array) -> Array:
    """Mirror those images [B, H, W, C] left to right for which `mirror` [B] is true."""
    return jax.vmap(augment.mirror)(images, mirror)


def _mirrored(places: Array, width: int) -> Array:
    """Return where flat places (row * width + column) lie after mirroring."""
    row, column = jnp.divmod(places, width)
    return row * width + width - 1 - column


def _sum(logits: Array) -> Array:
    """Add up the logits of each image: [B, ...] -> [B]."""
    return logits.reshape(len(logits), -1).sum(1)


def _named(learner: str, terms: Metrics) -> Metrics:
    return {f"{learner}/{name}": value for name, value in terms.items()}
