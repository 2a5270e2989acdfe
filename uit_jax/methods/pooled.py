"""What CycleGAN, GcGAN and DistanceGAN share: translators against discriminators that look back on a pool.

`compete` is their iteration: the translators learn first, then the discriminators, from the same translations. What
keeps the content is each paper's own, and stands in its file.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial
from uit_jax.memory import image_pool
from uit_jax.method import Network
from uit_jax.methods.pairs import PairMethod
from uit_jax.nn import patchgan, resnet
from uit_jax.settings import Adam, LinearDecay, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

# Translators of both directions: from which side to which, and which one comes back.
ROUTES = (("a", "b", "generator_ab", "generator_ba"), ("b", "a", "generator_ba", "generator_ab"))


@dataclasses.dataclass(frozen=True)
class ResNet:
    """The generators."""

    width: int = setting(64, "first width", low=1)
    blocks: int = setting(9, "residual blocks; 6 for images of 128 px", low=1, high=1000)


@dataclasses.dataclass(frozen=True)
class PatchGAN:
    """The discriminators."""

    width: int = setting(64, "first width", low=1)
    layers: int = setting(3, "halvings", low=1, high=12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledMethod(PairMethod):
    """Hyper-parameters of the published codes that began as CycleGAN's; `generator...` and `discriminator_...` learn.

    A method says in `judged` what is told apart: the name behind `discriminator_`, and the channels of those images.
    """

    generator: ResNet = ResNet()
    discriminator: PatchGAN = PatchGAN()
    gan_loss: str = setting("lsgan", "adversarial objective", choices=tuple(adversarial.OBJECTIVES))
    pool_size: int = setting(50, "translations of a domain that its discriminator looks back on; 0: none", low=0)
    adam: Adam = Adam(2e-4, b1=0.5, b2=0.999)
    schedule: LinearDecay = LinearDecay(133_400, 133_400)
    decay_lead: int = setting(
        0, "iterations by which the decay is early; in the published code an epoch's", low=0, follows="steps"
    )

    multiple = 4

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.image_size < patchgan.smallest(self.discriminator.layers):
            yield "image_size", f"is below the {patchgan.smallest(self.discriminator.layers)} px of the discriminator"

    @property
    def judged(self) -> dict[str, int]:
        """Channels of what each discriminator sees, by the name behind `discriminator_`."""
        raise NotImplementedError

    @property
    def objective(self) -> Callable[[Array, float], Array]:
        """The adversarial loss: (logits, target) -> scalar."""
        return adversarial.OBJECTIVES[self.gan_loss]

    def network(self, kind: type, channels: tuple[int, ...], **options) -> Network:
        """Return a generator of these channels in and out, or a discriminator of images of these channels."""
        rate = optimizers.linear_decay(self.adam.learning_rate, **vars(self.schedule), lead=self.decay_lead)
        adam = optimizers.adam(**{**vars(self.adam), "learning_rate": rate})
        if kind is resnet.ResNetGenerator:
            module = kind(*channels, **vars(self.generator), antialias=False, antialias_up=False, **options)
        else:
            module = kind(**vars(self.discriminator), antialias=False, **options)
        return Network(module.copy(dtype=self.dtype), adam, (self.example(channels[0]),))

    def apply(self, name: str, params: PyTree, images: Array) -> Array:
        """Translate by a generator, or return a discriminator's logits."""
        return self.call(self.networks[name].module, {"params": params}, images)

    def memory(self, key: Array, batch_size: int) -> PyTree:
        size = self.image_size
        return {name: image_pool.create(self.pool_size, (size, size, count)) for name, count in self.judged.items()}

    def compete(
        self, state: TrainState, translate: Callable, real: Mapping[str, Array], views: Batch, axis_name: str | None
    ) -> tuple[TrainState, Metrics]:
        """Let the generators learn, then the discriminators, on translations out of the pools made before that step.

        Args:
          translate: (the generators' weights, judge) -> (loss, (translations by the discriminator's name, terms));
            `judge(name, images)` is the loss of not passing for real.
          real: what each discriminator takes for real.
          views: holds "tosses_NAME" for every pool, and `changes`.
        """
        players = {name: each for name, each in state.learners.items() if name.startswith("generator")}
        opponents = {name: each for name, each in state.learners.items() if name not in players}

        def judge(name: str, images: Array) -> Array:
            seen, name = self.seen(images, views, f"adversarial_{name}"), f"discriminator_{name}"
            return self.objective(self.apply(name, opponents[name].params, seen), 1.0)

        def translation_loss(params):
            loss, found = translate(params, judge)
            return loss, (found, {})

        players, (fakes, terms) = descend(players, self.optimizers, translation_loss, axis_name=axis_name)
        pools, shown = {}, {}
        for name, fake in fakes.items():
            tosses = views[f"tosses_{name}"]
            pools[name], shown[name] = image_pool.exchange(state.memory[name], fake, tosses, axis_name)
        discriminate = functools.partial(self.discrimination_loss, shown=shown, real=real, views=views)
        opponents, against = descend(opponents, self.optimizers, discriminate, axis_name=axis_name)
        state = state.with_learners({**players, **opponents})
        state = state.replace(step=state.step + 1, memory={**state.memory, **pools})
        return state, collectives.mean({**terms, **against}, axis_name)

    def discrimination_loss(self, params, *, shown: Mapping[str, Array], real: Mapping[str, Array], views: Batch):
        """Tell real images from translations."""

        def judge(kind: str, side: str, images: Array, target: float) -> Array:
            seen, name = self.seen(images, views, f"{kind}_{side}"), f"discriminator_{side}"
            return self.objective(self.apply(name, params[name], seen), target)

        loss, found = 0.0, {}
        for side, fake in shown.items():
            terms = {
                "real": judge("real", side, real[side], 1.0),
                "fake": judge("fake", side, jax.lax.stop_gradient(fake), 0.0),
            }
            loss += (terms["real"] + terms["fake"]) / 2
            found |= named(f"discriminator_{side}", terms)
        return loss, (found, {})

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Return a, b: float32 [B, S, S, C], mirrored crops; tosses_NAME for each pool: see `image_pool.Tosses`; and
        `changes`.
        """
        made = self.changes(key, len(batch["b"]), axis_name)
        for number, side in enumerate("ab"):
            crop = jax.random.split(jax.random.fold_in(key, number))[0]
            keys = collectives.example_keys(crop, len(batch[side]), axis_name)
            made[side] = augment.cropped_view(keys, batch[side], self.image_size, flip=self.flip)
        for number, name in enumerate(self.judged):
            toss = jax.random.split(jax.random.fold_in(key, number))[1]
            keys = collectives.example_keys(toss, len(batch["b"]), axis_name)
            made[f"tosses_{name}"] = image_pool.toss(keys, self.pool_size)
        return made
