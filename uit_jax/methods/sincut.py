"""SinCUT: a painting and a photograph are enough (Park et al., ECCV 2020, arXiv:2007.15651, Section 4.3).

Each iteration compares patches of crops from a single image of each domain, with the networks of StyleGAN2. `update`
is the paper's iteration; the loss on patches is CUT's.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Network, Phase
from uit_jax.methods.negatives import Negatives, Patches
from uit_jax.methods.pairs import PairMethod
from uit_jax.methods.patchwise import Layers, PatchMethod, by_side, join
from uit_jax.nn.patch_mlp import features_at, translate_at
from uit_jax.nn.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from uit_jax.settings import R1, Adam, LinearDecay, changed, setting
from uit_jax.state import TrainState, play
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class StyleGAN2:
    """A network of StyleGAN2's parts."""

    width: int = setting(8, "its width, in the published code's units", low=1)


@dataclasses.dataclass(frozen=True)
class SinCUTPhase(Phase):
    """Whether an iteration has the gradient penalty."""

    penalised: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinCUT(PatchMethod):
    """SinCUT's hyper-parameters; the defaults are the published code's."""

    image_size: int = changed(PairMethod, "image_size", 64, low=8, power_of_two=True)
    generator: StyleGAN2 = StyleGAN2(10)
    discriminator: StyleGAN2 = StyleGAN2(8)
    patches: Patches = Patches(layers=(0, 2, 4), count=1)
    negatives: Negatives = Negatives("minibatch")
    nce_weight: float = changed(PatchMethod, "nce_weight", 4.0)
    identity_l1_weight: float = setting(1.0, "of the mean absolute difference of B and its translation", low=0)
    r1: R1 = R1(weight=1.0)
    adam: Adam = Adam(2e-3, b1=0.0, b2=0.99)
    schedule: LinearDecay = LinearDecay(50_000, 50_000)
    load_size: int = changed(PairMethod, "load_size", 0)
    crops: int = setting(16, "crops from each image", low=1, high=4096)
    zoom: tuple[float, ...] = setting(
        (1 / 3, 1.0), "factors by which a crop's image is shrunk, of each axis", above=0, high=1, length=2, rising=True
    )

    multiple = 2

    def phase(self, step: int) -> Phase:
        penalised = self.r1.on(step)
        return SinCUTPhase("penalised" if penalised else "lazy", load_size=self.load_size, penalised=penalised)

    # --- the networks as functions of their weights ---

    @functools.cached_property
    def generator_module(self) -> StyleGAN2Generator:
        return StyleGAN2Generator(self.channels, self.out_channels, self.generator.width, self.dtype)

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        discriminator = StyleGAN2Discriminator(self.image_size, self.discriminator.width, self.dtype)
        opponent = Network(discriminator, self.optimizer, (self.example(self.out_channels),))
        return self.players(self.example(), self.example(1)) | {"discriminator": opponent}

    def memory(self, key: Array, batch_size: int) -> PyTree:
        return self.queues(key, batch_size * self.crops)

    def encode(self, variables: PyTree, images: Array, places: Layers, axis_name: str | None = None) -> Layers:
        images, how = augment.match_channels(images, self.channels), dict(taps=self.patches.layers, method=features_at)
        return self.call(self.generator_module, variables, images, places, **how)

    def discriminate(self, params: PyTree, images: Array) -> Array:
        """Return the discriminator's logits [B]."""
        return self.call(self.networks["discriminator"].module, {"params": params}, images)[:, 0]

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: SinCUTPhase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then generator and patch MLP together.

        `views` is what the method of that name makes.
        """
        joined, recalled = functools.partial(join, state), self.recall(state, views, axis_name)
        state, _, terms = play(
            state,
            self.optimizers,
            players=tuple(name for name in self.networks if name != "discriminator"),
            opponents=("discriminator",),
            make=lambda params: (self.make(params["generator"], views), {}),
            oppose=lambda params, made: self.oppose(params["discriminator"], made["a"][0], views, phase),
            deceive=lambda params, made, opponents: self.deceive(
                joined(params), made, opponents["discriminator"].params, views, recalled, axis_name
            ),
            axis_name=axis_name,
        )
        state = self.remember(state, recalled, axis_name)
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def make(self, params: PyTree, views: Batch):
        """Translate the crops; return these by side, with the inputs' features on the way there."""
        sides = tuple(side for side in "ab" if f"noise_{side}" in views)
        inputs = jnp.concatenate([augment.match_channels(views[side], self.channels) for side in sides])
        noise = jnp.concatenate([views[f"noise_{side}"] for side in sides])
        translate = functools.partial(self.call, self.generator_module, {"params": params}, inputs, noise)
        if not self.compared:
            return by_side((translate(), {}), sides)
        how = dict(taps=self.patches.layers, method=translate_at)
        return by_side(translate(self.places_of(sides, views), **how), sides)

    def oppose(self, params: PyTree, fake: Array, views: Batch, phase: SinCUTPhase):
        """Tell crops of B from translations, with a penalty on the gradient of the former."""

        def judge(name, images):
            return self.discriminate(params, self.seen(images, views, name))

        terms, real = {}, views["b"]
        if phase.penalised:
            terms["r1"], of_real = adversarial.r1(functools.partial(judge, "real"), real)
        else:
            of_real = judge("real", real)
        terms["real"] = adversarial.logistic(of_real, 1.0)
        terms["fake"] = adversarial.logistic(judge("fake", fake), 0.0)
        loss = (terms["real"] + terms["fake"]) / 2 + self.r1.weight * self.r1.every / 2 * terms.get("r1", 0.0)
        return loss, (terms, {})

    def deceive(self, variables, made, discriminator: PyTree, views: Batch, recalled, axis_name: str | None):
        """Pass for real, keep every patch's place, and keep what is of B already."""
        contrast, terms = self.contrast(variables, made, views, recalled, axis_name)
        seen = self.seen(made["a"][0], views, "adversarial")
        terms["adversarial"] = adversarial.logistic(self.discriminate(discriminator, seen), 1.0)
        loss = self.adversarial_weight * terms["adversarial"] + self.nce_weight * contrast
        if self.identity_l1_weight:
            terms["identity"] = reconstruction.l1(made["b"][0], views["b"])
            loss += self.identity_l1_weight * terms["identity"]
        return loss, terms

    # --- the data ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Cut and mirror crops of both domains, and sample noise and which patches are compared.

        Returns:
          a, b: float32 [B * crops, S, S, C]; noise_a, noise_b: [B * crops, S, S, 1], of the sides to translate;
          places_a, places_b: {layer: int32 [B * crops, P]}; and `changes`, of crops.
        """
        size, shape = self.crops * len(batch["a"]), (self.image_size, self.image_size, 1)
        made = self.changes(key, size, axis_name)
        for number, side in enumerate("ab"):
            crop, noise, place = jax.random.split(jax.random.fold_in(key, number), 3)
            keys = collectives.example_keys(crop, size, axis_name)
            made[side] = augment.cropped_view(keys, batch[side], self.image_size, flip=self.flip, zoom=self.zoom)
            if side in self.compared:
                made[f"places_{side}"] = self.sample_places(place, size)
            if side == "a" or side in self.compared or self.identity_l1_weight:
                keys = collectives.example_keys(noise, size, axis_name)
                made[f"noise_{side}"] = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        return made
