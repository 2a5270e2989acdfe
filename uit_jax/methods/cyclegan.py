"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al., ICCV 2017).

Two translators, A to B and B to A, each the other's inverse (arXiv:1703.10593). `update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, reconstruction
from uit_jax.memory import image_pool
from uit_jax.method import Network, PairMethod, Phase
from uit_jax.nn import patchgan, resnet
from uit_jax.settings import Adam, LinearDecay, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

# The translators: from which side to which, and which one comes back.
ROUTES = (("a", "b", "generator_ab", "generator_ba"), ("b", "a", "generator_ba", "generator_ab"))


@dataclasses.dataclass(frozen=True)
class ResNet:
    """The generator of both directions."""

    width: int = setting(64, "first width", low=1)
    blocks: int = setting(9, "residual blocks; 6 for images of 128 px", low=1, high=1000)


@dataclasses.dataclass(frozen=True)
class PatchGAN:
    """The discriminator of both domains."""

    width: int = setting(64, "first width", low=1)
    layers: int = setting(3, "halvings", low=1, high=12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN(PairMethod):
    """CycleGAN's hyper-parameters; the defaults are the published code's at 256 px, for horses and zebras."""

    generator: ResNet = ResNet()
    discriminator: PatchGAN = PatchGAN()
    gan_loss: str = setting("lsgan", "adversarial objective", choices=tuple(adversarial.OBJECTIVES))
    cycle_weight: float = setting(10.0, "of the cycles A-B-A and B-A-B (Eq. 2)", low=0)
    identity_weight: float = setting(5.0, "of keeping what is in the wanted domain already (Section 5.2)", low=0)
    pool_size: int = setting(50, "translations of a domain that its discriminator looks back on; 0: none", low=0)
    adam: Adam = Adam(2e-4, b1=0.5, b2=0.999)
    schedule: LinearDecay = LinearDecay(133_400, 133_400)
    decay_lead: int = setting(0, "iterations by which the decay is early; in the published code an epoch's", low=0)

    kept = ("generator_ab", "generator_ba")
    multiple = 4

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.image_size < patchgan.smallest(self.discriminator.layers):
            yield "image_size", f"is below the {patchgan.smallest(self.discriminator.layers)} px of the discriminator"
        if self.identity_weight and self.out_channels != self.channels:
            yield "identity_weight", "must be 0 where data.target_channels differ: an image of B cannot be taken for A"

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        rate = optimizers.linear_decay(self.adam.learning_rate, **vars(self.schedule), lead=self.decay_lead)
        adam = optimizers.adam(**{**vars(self.adam), "learning_rate": rate})
        published = dict(initializer="normal", gain=0.02, dtype=self.dtype)
        judge = patchgan.PatchDiscriminator(**vars(self.discriminator), antialias=False, **published)
        shape = dict(**vars(self.generator), antialias=False, antialias_up=False, **published)
        channels = {side.name: side.channels for side in self.sides}
        found = {}
        for source, target, there, _ in ROUTES:
            generator = resnet.ResNetGenerator(channels[source], channels[target], **shape)
            found[there] = Network(generator, adam, (self.example(channels[source]),))
            found[f"discriminator_{target}"] = Network(judge, adam, (self.example(channels[target]),))
        return found

    def apply(self, name: str, params: PyTree, images: Array) -> Array:
        """Translate by a generator, or return a discriminator's logits."""
        return self.networks[name].module.apply({"params": params}, images)

    def memory(self, key: Array, batch_size: int) -> PyTree:
        size = self.image_size
        return {side.name: image_pool.create(self.pool_size, (size, size, side.channels)) for side in self.sides}

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: both generators; then both discriminators, on translations out of the pools (Eq. 3).

        `views` is what the method of that name makes. The translations were made before the generators' step.
        """
        players = {name: state.learners[name] for name in self.kept}
        opponents = {name: learner for name, learner in state.learners.items() if name not in players}
        translate = functools.partial(self.translation_loss, opponents=opponents, views=views)
        players, (fakes, terms) = descend(players, self.optimizers, translate, axis_name=axis_name)
        memory, shown = {}, {}
        for side, fake in fakes.items():
            pool, tosses = state.memory[side], views[f"tosses_{side}"]
            memory[side], shown[side] = image_pool.exchange(pool, fake, tosses, axis_name)
        discriminate = functools.partial(self.discrimination_loss, shown=shown, views=views)
        opponents, against = descend(opponents, self.optimizers, discriminate, axis_name=axis_name)
        state = state.with_learners({**players, **opponents}).replace(step=state.step + 1, memory=memory)
        return state, collectives.mean({**terms, **against}, axis_name)

    def translation_loss(self, params, *, opponents, views: Batch):
        """Pass for real in the other domain, come back from there, and keep what is in it already."""
        loss, fakes, found, objective = 0.0, {}, {}, adversarial.OBJECTIVES[self.gan_loss]
        for source, target, there, back in ROUTES:
            x, y, judge = views[source], views[target], f"discriminator_{target}"
            images = jnp.concatenate([x, y]) if self.identity_weight else x
            fake, same = jnp.split(self.apply(there, params[there], images), [len(x)])
            terms = {
                "adversarial": objective(self.apply(judge, opponents[judge].params, fake), 1.0),
                "cycle": reconstruction.l1(self.apply(back, params[back], fake), x),
            }
            loss += terms["adversarial"] + self.cycle_weight * terms["cycle"]
            if self.identity_weight:
                terms["identity"] = reconstruction.l1(same, y)
                loss += self.identity_weight * terms["identity"]
            fakes[target], found = fake, found | named(there, terms)
        return loss, ((fakes, found), {})

    def discrimination_loss(self, params, *, shown: Mapping[str, Array], views: Batch):
        """Tell the images of each domain from translations (Eq. 1)."""
        loss, found, objective = 0.0, {}, adversarial.OBJECTIVES[self.gan_loss]
        for side, fake in shown.items():
            name = f"discriminator_{side}"
            terms = {
                "real": objective(self.apply(name, params[name], views[side]), 1.0),
                "fake": objective(self.apply(name, params[name], jax.lax.stop_gradient(fake)), 0.0),
            }
            loss += (terms["real"] + terms["fake"]) / 2
            found |= named(name, terms)
        return loss, (found, {})

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Return a, b: float32 [B, S, S, C], mirrored crops; tosses_a, tosses_b: see `image_pool.Tosses`."""
        made = {}
        for number, side in enumerate("ab"):
            crop, toss = jax.random.split(jax.random.fold_in(key, number))
            keys = [collectives.example_keys(own, len(batch[side]), axis_name) for own in (crop, toss)]
            made[side] = augment.cropped_view(keys[0], batch[side], self.image_size, flip=self.flip)
            made[f"tosses_{side}"] = image_pool.toss(keys[1], self.pool_size)
        return made

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] [B, H, W, C] from A to B."""
        return self.apply("generator_ab", variables["generator_ab"]["params"], inputs["content"])

    @functools.cached_property
    def stages(self):
        return tuple(stage.of("generator_ab") for stage in self.networks["generator_ab"].module.stages())
