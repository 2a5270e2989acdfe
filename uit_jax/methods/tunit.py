"""TUNIT: Rethinking the Truly Unsupervised Image-to-Image Translation (Baek et al., arXiv:2006.06500).

A guiding network sorts unlabelled images into pseudo domains and encodes their style; a generator redraws the
content of one image in the style of another; a discriminator judges every image within its pseudo domain.
`update` is the paper's iteration.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from uit_jax import augment, collectives, optimizers
from uit_jax.errors import UserError
from uit_jax.losses import adversarial, clustering, contrastive, reconstruction
from uit_jax.memory import key_queue
from uit_jax.nn.tunit import Discriminator, Generator, GuidingNetwork
from uit_jax.state import Learner, TrainState, descend
from uit_jax.types import Array, Batch, Method, Metrics


@dataclasses.dataclass(frozen=True)
class Settings:
    """TUNIT's hyper-parameters; the defaults are the paper's at 128 px.

    Attributes:
      image_size, channels: side and channels of the training images; the side is a power of two.
      precision: "float32" or "bf16" (parameters, norms and losses stay float32).
      sync_statistics: batch norm and the clusters' joint distribution over the global batch, not each device's.
      domains: the number of pseudo domains, 1 to 1000.
      labelled_share: 0 unsupervised, 1 supervised, between them semi-supervised (Section 4.2).
      joint_training: what the guiding network learns once the generator trains: "joint" everything (row G of
        Table 1), "frozen" nothing (F, sequential), "frozen_domains" style codes only, for domains that IIC alone,
        without the contrastive loss, found in the first phase (E).
      adversarial_feedback: whether the adversarial loss reaches the guiding network (Section 4.1).
      guide_width, guide_stages: first width and convolutions per stage of the guiding network.
      generator_width, discriminator_width: first widths; 0 is 64 below 256 px and 32 from there on.
      bottleneck, generator_blocks, mlp_width: side of the content code, residual blocks on each side of it,
        width of the style MLP.
      discriminator_max_width, discriminator_blocks: largest width, residual blocks per stage.
      guide_steps: iterations of the guiding network alone. Semi-supervised: labelled iterations only for the first
        `labelled_steps` of them.
      average_start: the iteration from which the generator's average is kept; before, it follows the weights.
      guide_batch_size: global batch of those iterations, which are cheap and whose mutual information a larger batch
        tells better; 0 is the run's own.
      contrastive_weight, clustering_weight: of the guiding network's losses (Eq. 2 and 1).
      marginal_weights: IIC's lambda for each of the clustering heads, which train side by side on the shared trunk:
        as many heads as weights. The one with the largest mutual information at the end of `guide_steps` names the
        domains (IIC's sub-heads; the paper has one, of weight 1).
      joint_guide_weight: scale of those losses while the generator trains.
      adversarial_weight, reconstruction_weight, style_weight: of the generator's losses (Eq. 6).
      r1_weight, r1_every: weight and period of the gradient penalty; its weight grows with the period.
      temperature, normalize_style, queue_size: of the contrastive losses; the paper's codes are not normalised.
      key_average, generator_average: decay of the averaged weights.
      guide_learning_rate, guide_joint_learning_rate, guide_weight_decay: Adam of the guiding network.
      optimizer, learning_rate, b1, b2, weight_decay: of generator and discriminator.
      degrees .. fill: the second view (see `augment.strong_view`).
      cycle_steps: semi-supervised: the period after which labelled iterations return.
      reference_quirks: what the published code does by mistake: the queue restarts from its first batch every 1000
        iterations; semi-supervised pseudo labels come from before the guiding network's step.
    """

    image_size: int = 128
    channels: int = 3
    precision: str = "float32"
    sync_statistics: bool = True
    domains: int = 10
    style_dim: int = 128
    labelled_share: float = 0.0
    joint_training: str = "joint"
    adversarial_feedback: bool = True
    guide_width: int = 64
    guide_stages: tuple[int, ...] = (1, 1, 2, 2, 2)
    generator_width: int = 0
    bottleneck: int = 16
    generator_blocks: int = 2
    mlp_width: int = 256
    discriminator_width: int = 0
    discriminator_max_width: int = 1024
    discriminator_blocks: int = 2
    guide_steps: int = 65_000
    guide_batch_size: int = 0
    labelled_steps: int = 20_000
    average_start: int = 66_000
    contrastive_weight: float = 1.0
    clustering_weight: float = 5.0
    marginal_weights: tuple[float, ...] = (1.0,)
    joint_guide_weight: float = 0.1
    adversarial_weight: float = 1.0
    reconstruction_weight: float = 0.1
    style_weight: float = 0.01
    r1_weight: float = 10.0
    r1_every: int = 1
    temperature: float = 0.07
    normalize_style: bool = False
    queue_size: int = 1024
    key_average: float = 0.999
    generator_average: float = 0.999
    guide_learning_rate: float = 1e-4
    guide_joint_learning_rate: float = 1e-4
    guide_weight_decay: float = 1e-3
    optimizer: str = "rmsprop"
    learning_rate: float = 1e-4
    b1: float = 0.5
    b2: float = 0.99
    weight_decay: float = 1e-4
    degrees: float = 20.0
    translate: float = 0.1
    shear: float = 10.0
    crop_scale: tuple[float, float] = (0.9, 1.1)
    crop_aspect: tuple[float, float] = (0.9, 1.1)
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.125
    flip: float = 0.5
    fill: str = "black"
    cycle_steps: int = 1000
    reference_quirks: bool = False

    def __post_init__(self):
        def require(condition, message):
            if not condition:
                raise UserError(f"method.{message}")

        size, bottleneck = self.image_size, self.bottleneck
        require(size >= 8 and size & (size - 1) == 0, f"image_size={size} must be a power of two, 8 at least")
        require(
            bottleneck >= 4 and bottleneck & (bottleneck - 1) == 0 and bottleneck <= size,
            f"bottleneck={bottleneck} must be a power of two from 4 to image_size={size}",
        )
        require(1 <= self.domains <= 1000, f"domains={self.domains} must lie in 1 to 1000")
        require(0 <= self.labelled_share <= 1, f"labelled_share={self.labelled_share} must lie in 0 to 1")
        require(self.precision in ("float32", "bf16"), f"precision={self.precision!r} must be 'float32' or 'bf16'")
        require(
            self.joint_training in ("joint", "frozen", "frozen_domains"),
            f"joint_training={self.joint_training!r} must be 'joint', 'frozen' or 'frozen_domains'",
        )
        require(
            self.optimizer in ("adam", "rmsprop"), f"optimizer={self.optimizer!r} must be 'adam' or 'rmsprop'"
        )
        require(len(self.marginal_weights) >= 1, "marginal_weights must have one entry at least")
        require(
            not (self.reference_quirks and self.guide_batch_size),
            "reference_quirks keeps the keys of one batch size: set guide_batch_size=0",
        )
        require(self.r1_every >= 1, f"r1_every={self.r1_every} must be 1 at least")
        stages = len(self.guide_stages)
        require(size >= 2**stages, f"guide_stages has {stages} poolings, too many for image_size={size}")

    @property
    def heads(self) -> int:
        return len(self.marginal_weights)

    @property
    def semi(self) -> bool:
        return 0 < self.labelled_share < 1

    @property
    def supervised(self) -> bool:
        return self.labelled_share == 1


def build(settings: Settings) -> Method:
    """Build TUNIT's pure functions."""
    s = settings
    dtype = jnp.bfloat16 if s.precision == "bf16" else jnp.float32
    default_width = 64 if s.image_size < 256 else 32
    generator = Generator(
        image_size=s.image_size,
        channels=s.channels,
        width=s.generator_width or default_width,
        bottleneck=s.bottleneck,
        blocks=s.generator_blocks,
        mlp_width=s.mlp_width,
        dtype=dtype,
    )
    discriminator = Discriminator(
        image_size=s.image_size,
        domains=s.domains,
        width=s.discriminator_width or default_width,
        max_width=s.discriminator_max_width,
        blocks=s.discriminator_blocks,
        dtype=dtype,
    )
    guide_steps = 0 if s.supervised else s.guide_steps
    guide_rate = optax.piecewise_constant_schedule(
        s.guide_learning_rate, {guide_steps: s.guide_joint_learning_rate / s.guide_learning_rate}
    )
    translator = optimizers.build(s.optimizer, s.learning_rate, b1=s.b1, b2=s.b2, weight_decay=s.weight_decay)
    txs = {
        "guide": optimizers.adam(guide_rate, weight_decay=s.guide_weight_decay),
        "generator": translator,
        "discriminator": translator,
    }

    # --- the networks as functions of their weights ---

    def guide(variables, images: Array, axis_name=None, *, train: bool = True):
        """Return every head's logits [B, heads, K], style codes [B, D] and the new batch statistics."""
        network = GuidingNetwork(
            domains=s.heads * s.domains,
            style_dim=s.style_dim,
            width=s.guide_width,
            stages=tuple(s.guide_stages),
            axis_name=axis_name if s.sync_statistics else None,
            dtype=dtype,
        )
        if not train:
            (logits, style), stats = network.apply(variables, images, train=False), {}
        else:
            (logits, style), stats = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return logits.reshape(-1, s.heads, s.domains), encode_style(style), stats

    def encode_style(style: Array) -> Array:
        return contrastive.normalize(style) if s.normalize_style else style

    def discriminate(params, images: Array, domains: Array) -> Array:
        return adversarial.select(discriminator.apply({"params": params}, images), domains)

    def keys_of(state: TrainState, images: Array, axis_name) -> Array:
        """Encode images with the averaged guiding network, which like MoCo's normalises by its own batch."""
        learner = state.learners["guide"]
        _, keys, _ = guide({"params": learner.ema, **learner.stats}, images, axis_name)
        return jax.lax.stop_gradient(keys)

    # --- one function for each network's step ---

    def guide_step(state: TrainState, batch: Batch, keys: Array, phase: str, axis_name):
        """Sort images and encode their style: minimise contrastive + 5 * (-mutual information) (Eq. 1 and 2)."""
        learner = state.learners["guide"]

        def loss_fn(params):
            logits, style, stats = guide({"params": params["guide"], **learner.stats}, batch["x"], axis_name)
            logits_aug, _, stats = guide({"params": params["guide"], **stats}, batch["x_aug"], axis_name)
            terms = {"contrastive": contrast(style, keys, state)}
            if phase.endswith("labelled"):
                if s.semi:
                    cross_entropy = jax.vmap(clustering.cross_entropy, (1, None))
                    by_head = cross_entropy(logits, batch["label"]) + cross_entropy(logits_aug, batch["label"])
                    terms["clustering"] = by_head.mean()
            elif not (phase.startswith("joint") and s.joint_training == "frozen_domains"):
                by_head = information(logits, logits_aug, jnp.array(s.marginal_weights), axis_name)
                terms["clustering"] = by_head.mean()
            weight = guide_weight(phase)
            iic_alone = s.joint_training == "frozen_domains" and phase.startswith("guide")
            loss = 0.0 if iic_alone else weight * s.contrastive_weight * terms["contrastive"]
            loss += weight * s.clustering_weight * terms.get("clustering", 0.0)
            return loss, ((terms, logits, logits_aug), {"guide": stats})

        learners, (terms, logits, logits_aug) = descend({"guide": learner}, txs, loss_fn, axis_name=axis_name)
        state = with_learners(state, learners)
        if phase.startswith("guide"):
            scores = information(logits, logits_aug, jnp.ones(s.heads), axis_name)
            scores = 0.98 * state.memory["head_scores"] + 0.02 * collectives.mean(scores, axis_name)
            state = state.replace(memory={**state.memory, "head_scores": scores, "head": scores.argmin()})
        return state, terms, logits

    def information(logits: Array, logits_aug: Array, weights: Array, axis_name) -> Array:
        """Return each head's negative mutual information [heads], its marginals weighed by `weights` [heads]."""
        axis = axis_name if s.sync_statistics else None
        iic = jax.vmap(lambda p, q, weight: clustering.iic(p, q, marginal_weight=weight, axis_name=axis), (1, 1, 0))
        return iic(jax.nn.softmax(logits), jax.nn.softmax(logits_aug), weights)

    def guide_weight(phase: str) -> float:
        # The published code scales the unlabelled iterations of a semi-supervised run from the start.
        scaled = phase.startswith("joint") or (s.semi and phase == "guide")
        return s.joint_guide_weight if scaled else 1.0

    def discriminator_step(state: TrainState, batch: Batch, fake: Array, y_ref: Array, phase: str, axis_name):
        """Tell reference images from translations within the reference's domain (Eq. 3, hinge form)."""
        x_ref, fake = collectives.take(batch["x"], batch["perm"], axis_name), jax.lax.stop_gradient(fake)

        def loss_fn(params):
            params = params["discriminator"]
            terms = {}
            if "lazy" in phase:
                real = discriminate(params, x_ref, y_ref)
            else:
                terms["r1"], real = adversarial.r1(lambda x: discriminate(params, x, y_ref), x_ref)
            terms["real"] = adversarial.hinge_real(real)
            terms["fake"] = adversarial.hinge_fake(discriminate(params, fake, y_ref))
            loss = terms["real"] + terms["fake"] + s.r1_weight * s.r1_every * terms.get("r1", 0.0)
            return loss, (terms, {})

        return descend({"discriminator": state.learners["discriminator"]}, txs, loss_fn, axis_name=axis_name)

    def translation_step(state: TrainState, batch: Batch, logits_before: Array | None, phase: str, axis_name):
        """Translate; let the discriminator learn from the translations; then deceive it, redraw the source and keep
        the reference's style (Eq. 3 to 6).

        The discriminator's step stands inside the generator's loss because both need the same translations.
        """
        x, perm = batch["x"], batch["perm"]
        keys_ref = collectives.take(keys_of(state, x, axis_name), perm, axis_name)

        def loss_fn(trained, deceive: bool = True):
            network = {"params": trained.get("generator", state.learners["generator"].params)}
            learner = state.learners["guide"]
            guide_params = trained.get("guide", learner.params)
            logits, style, stats = guide({"params": guide_params, **learner.stats}, x, axis_name)
            # The reference images are a permutation of the batch, so that their codes and domains are too.
            style_ref = collectives.take(style, perm, axis_name)
            content = generator.apply(network, x, method="encode")
            contents, styles = jnp.concatenate([content, content]), jnp.concatenate([style_ref, style])
            images = generator.apply(network, contents, styles, method="decode")
            fake, rec = jnp.split(images, 2)
            _, style_fake, _ = guide({"params": guide_params, **stats}, fake, axis_name)
            terms = {
                "reconstruction": reconstruction.l1(rec, x),
                "style": contrast(style_fake, keys_ref, state),
            }
            loss = s.reconstruction_weight * terms["reconstruction"] + s.style_weight * terms["style"]
            opponent, opponent_terms = {}, {}
            if deceive:
                y_org = domains_of(state, batch, logits_before, logits, phase)
                y_ref = collectives.take(y_org, perm, axis_name)
                opponent, opponent_terms = discriminator_step(state, batch, fake, y_ref, phase, axis_name)
                judged = discriminate(opponent["discriminator"].params, images, jnp.concatenate([y_ref, y_org]))
                terms["adversarial"] = 2 * adversarial.hinge_generator(judged)
                loss += s.adversarial_weight * terms["adversarial"]
            stats = {name: stats for name in trained if name == "guide"}
            return loss, ((opponent, terms, opponent_terms), stats)

        learners = {"generator": state.learners["generator"]}
        trains_guide = s.joint_training != "frozen"
        if trains_guide and s.adversarial_feedback:
            learners["guide"] = state.learners["guide"]
        learners, (opponent, terms, opponent_terms) = descend(learners, txs, loss_fn, axis_name=axis_name)
        if trains_guide and not s.adversarial_feedback:
            silent = functools.partial(loss_fn, deceive=False)
            learners |= descend({"guide": state.learners["guide"]}, txs, silent, axis_name=axis_name)[0]
        return with_learners(state, {**learners, **opponent}), terms, opponent_terms

    def contrast(style: Array, keys: Array, state: TrainState) -> Array:
        negatives, valid = key_queue.negatives(state.memory["queue"]), None
        if s.reference_quirks:
            grown = state.memory["first_keys"].shape[0] * (1 + state.step % 1000)
            valid = jnp.arange(s.queue_size) >= s.queue_size - grown
        return contrastive.info_nce(style, keys, negatives, s.temperature, valid=valid)

    def domains_of(state: TrainState, batch: Batch, before: Array | None, now: Array, phase: str) -> Array:
        """Return the domains int32 [B] of the batch; `before`, `now`: logits on both sides of the guide's step."""
        if phase.endswith("labelled"):
            return batch["label"]
        if s.joint_training == "frozen_domains":
            now = guide(state.memory["domains"], batch["x"], train=False)[0]
        elif s.reference_quirks and s.semi and before is not None:
            now = before
        return now[:, state.memory["head"]].argmax(-1)

    # --- the iteration ---

    def update(state: TrainState, batch: Batch, *, phase: str, axis_name=None) -> tuple[TrainState, Metrics]:
        """Do one iteration: the guiding network, then the discriminator, then generator and guiding network.

        `batch` is what `views` makes: x and x_aug float32 [B, S, S, C], two views of the images; perm int32 [B], the
        place in the global batch of each image's reference; label int32 [B].
        """
        keys = keys_of(state, batch["x_aug"], axis_name)
        state = restart_queue(state, keys, axis_name)
        metrics, logits = {}, None
        if not (phase.startswith("joint") and s.joint_training == "frozen"):
            state, terms, logits = guide_step(state, batch, keys, phase, axis_name)
            metrics |= _named("guide", terms)
        if phase.startswith("joint"):
            state, terms, opponent_terms = translation_step(state, batch, logits, phase, axis_name)
            metrics |= _named("generator", terms) | _named("discriminator", opponent_terms)
        state = remember(state, keys, phase, axis_name)
        return state.replace(step=state.step + 1), collectives.mean(metrics, axis_name)

    def remember(state: TrainState, keys: Array, phase: str, axis_name) -> TrainState:
        """Move the averages, queue the new keys and, before the generator trains, keep the domains (row E)."""
        learners = dict(state.learners)
        learners["guide"] = learners["guide"].average(s.key_average)
        if phase.startswith("joint"):
            decay = jnp.where(state.step < s.average_start, 0.0, s.generator_average)
            learners["generator"] = learners["generator"].average(decay)
        memory = {**state.memory, "queue": key_queue.push(state.memory["queue"], keys, axis_name)}
        if "domains" in memory and phase.startswith("guide"):
            memory["domains"] = {"params": learners["guide"].params, **learners["guide"].stats}
        return state.replace(learners=learners, memory=memory)

    def restart_queue(state: TrainState, keys: Array, axis_name) -> TrainState:
        """With `reference_quirks`, fall back every 1000 iterations to the first keys, which are then the newest.

        The published queue grows from them; here `contrast` leaves out the older entries that it would not hold yet.
        """
        if not s.reference_quirks:
            return state
        queue, first = state.memory["queue"].keys, state.memory["first_keys"]
        first = jnp.where(state.step == 0, collectives.gather(keys, axis_name), first)
        restarted = jnp.concatenate([queue[len(first) :], first])
        queue = key_queue.KeyQueue(jnp.where(state.step % 1000 == 0, restarted, queue))
        return state.replace(memory={**state.memory, "queue": queue, "first_keys": first})

    def with_learners(state: TrainState, learners) -> TrainState:
        return state.replace(learners={**state.learners, **learners})

    # --- the record ---

    def init(key: Array, batch) -> TrainState:
        """Draw all weights; only the global batch size is read from `batch`."""
        size = batch["image"].shape[0]
        key_queue.check_batch(s.queue_size, max(size, s.guide_batch_size))
        key, guide_key, generator_key, discriminator_key, queue_key = jax.random.split(key, 5)
        images = jnp.zeros((1, s.image_size, s.image_size, s.channels))
        network = GuidingNetwork(s.heads * s.domains, s.style_dim, s.guide_width, tuple(s.guide_stages))
        learners = {
            "guide": Learner.create(network.init(guide_key, images, train=True), txs["guide"], averaged=True),
            "generator": Learner.create(
                generator.init(generator_key, images, jnp.zeros((1, s.style_dim))), txs["generator"], averaged=True
            ),
            "discriminator": Learner.create(discriminator.init(discriminator_key, images), txs["discriminator"]),
        }
        # Fresh codes of the guiding network are short: its heads start at 0.01.
        scale = 1.0 if s.normalize_style else 0.1
        memory = {
            "queue": key_queue.create(queue_key, s.queue_size, s.style_dim, scale=scale),
            "head_scores": jnp.zeros(s.heads),
            "head": jnp.zeros((), jnp.int32),
        }
        if s.joint_training == "frozen_domains":
            learner = learners["guide"]
            memory["domains"] = jax.tree.map(jnp.copy, {"params": learner.params, **learner.stats})
        if s.reference_quirks:
            memory["first_keys"] = jnp.zeros((batch_size("guide", size), s.style_dim))
        return TrainState(jnp.zeros((), jnp.int32), key, learners, memory)

    def phase(step: int) -> str:
        labelled = s.supervised or (s.semi and _labelled(step))
        if step < guide_steps:
            return "guide_labelled" if labelled else "guide"
        # "lazy" iterations leave the gradient penalty out.
        return "joint" + ("_lazy" if step % s.r1_every else "") + ("_labelled" if labelled else "")

    def _labelled(step: int) -> bool:
        if step < s.labelled_steps:
            return True
        return step % s.cycle_steps < int(s.cycle_steps * s.labelled_share)

    def stream(phase: str) -> str:
        if not s.semi:
            return "all"
        return "labelled" if phase.endswith("labelled") else "unlabelled"

    def batch_size(phase: str, size: int) -> int:
        return (phase.startswith("guide") and s.guide_batch_size) or size

    def views(key: Array, batch: Batch, axis_name=None) -> Batch:
        """Make the two views of every image and draw its reference."""
        plain_key, strong_key, perm_key = jax.random.split(key, 3)
        images = batch["image"]
        size = images.shape[0]
        perm = jax.random.permutation(perm_key, collectives.global_size(size, axis_name))
        return {
            "x": augment.plain_view(collectives.example_keys(plain_key, size, axis_name), images, flip=s.flip),
            "x_aug": augment.strong_view(
                collectives.example_keys(strong_key, size, axis_name),
                images,
                degrees=s.degrees,
                translate=s.translate,
                shear=s.shear,
                crop_scale=tuple(s.crop_scale),
                crop_aspect=tuple(s.crop_aspect),
                brightness=s.brightness,
                contrast=s.contrast,
                saturation=s.saturation,
                hue=s.hue,
                flip=s.flip,
                fill=s.fill,
            ),
            "perm": collectives.share(perm, size, axis_name),
            "label": batch["label"],
        }

    def variables(state: TrainState):
        learner = state.learners["guide"]
        found = {
            "guide": {"params": learner.ema, **learner.stats},
            "generator": {"params": state.learners["generator"].ema},
            "head": state.memory["head"],
        }
        if "domains" in state.memory:
            found["domains"] = state.memory["domains"]
        return found

    def translate(variables, inputs) -> Array:
        """Redraw inputs["content"] in the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else read_style(variables, inputs["reference"])
        return generator.apply(variables["generator"], inputs["content"], style)

    def read_style(variables, images: Array) -> Array:
        return guide(variables["guide"], images, train=False)[1]

    def read_cluster(variables, images: Array) -> Array:
        logits, _, _ = guide(variables.get("domains", variables["guide"]), images, train=False)
        return jax.nn.softmax(logits[:, variables["head"]])

    return Method(
        init=init,
        phase=phase,
        stream=stream,
        batch_size=batch_size,
        views=views,
        update=update,
        variables=variables,
        translate=translate,
        readouts={"cluster": read_cluster, "style": read_style},
        multiple=generator.multiple,
    )


def _named(learner: str, terms: Metrics) -> Metrics:
    return {f"{learner}/{name}": value for name, value in terms.items()}
