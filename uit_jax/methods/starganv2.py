"""StarGAN v2: Diverse Image Synthesis for Multiple Domains (Choi, Uh, Yoo and Ha, CVPR 2020, arXiv:1912.01865).

One generator redraws an image in a style; a style belongs to a domain, which is a label, and is mapped from a latent or
read off a reference; a discriminator judges every image within its domain. `update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Method, Network, Phase, Side, Stream, require
from uit_jax.nn.starganv2 import Encoder, Generator, MappingNetwork
from uit_jax.settings import R1, Adam, changed, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

LABELLED = Stream("labelled", 1.0)
PENALISED, LAZY = Phase("penalised", LABELLED), Phase("lazy", LABELLED)
PLAYERS, JUDGE = ("generator", "mapping", "encoder"), ("discriminator",)
# What an iteration does in turn: who learns, and where the styles come from. Styles of references teach the generator
# alone: the style encoder learns to read those that were mapped from latents.
TURNS = ((JUDGE, "latent"), (JUDGE, "reference"), (PLAYERS, "latent"), (PLAYERS[:1], "reference"))


@dataclasses.dataclass(frozen=True)
class Crop:
    """How a view of an image is cropped."""

    probability: float = setting(0.5, "of a crop, or else the whole image is seen", low=0, high=1)
    scale: tuple[float, ...] = setting((0.8, 1.0), "its share of the area", above=0, length=2, rising=True)
    aspect: tuple[float, ...] = setting((0.9, 1.1), "its width / height", above=0, length=2, rising=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StarGANv2(Method):
    """StarGAN v2's hyper-parameters; the defaults are the paper's for all but faces."""

    kept: ClassVar[tuple[str, ...]] = (*PLAYERS, *JUDGE)
    sampled_by_class: ClassVar[bool] = True

    image_size: int = changed(Method, "image_size", 256, low=8, power_of_two=True)
    domains: int = setting(2, "domains: the classes of the images", low=1, high=1000)
    latent_dim: int = setting(16, "entries of a latent, from which styles are mapped", low=1)
    style_dim: int = setting(64, "entries of a style code", low=1)
    mapping_width: int = setting(512, "width of the mapping network", low=1)
    width: int = setting(0, "first width of the other networks; 0 for 2^14 / data.image_size", low=0)
    max_width: int = setting(512, "largest width of these", low=1)
    bottleneck: int = setting(16, "side of the generator's narrowest maps", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of these", low=1, high=1000)
    style_weight: float = setting(1.0, "of reading a translation's style off it (Eq. 2)", low=0)
    diversity_weight: float = setting(1.0, "of two styles' translations being different (Eq. 3), at first", low=0)
    diversity_steps: int = setting(100_000, "iterations in which that weight falls to 0", low=1)
    cycle_weight: float = setting(1.0, "of coming back to an image in its own style (Eq. 4)", low=0)
    r1: R1 = R1(weight=0.5, every=1)
    average: float = setting(0.999, "decay of the averages of all networks that translate", low=0, high=1)
    adam: Adam = Adam(1e-4, b1=0.0, b2=0.99, weight_decay=1e-4)
    mapping_rate: float = setting(1e-6, "the mapping network's step size", above=0)
    crop: Crop = Crop()
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.bottleneck > self.image_size:
            yield "bottleneck", f"must be data.image_size={self.image_size} at most"

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side("image", self.channels, labelled=True),)

    @property
    def classes(self) -> int:
        return self.domains

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        require(len(classes) > 0, f"{name} has no labels, which tell an image's domain: class folders give them")
        require(len(classes) <= self.domains, f"{name} has {len(classes)} classes: set method.domains to as many")

    def phase(self, step: int) -> Phase:
        return PENALISED if self.r1.on(step) else LAZY

    # --- the networks, and as functions of the weights of all of them by name ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        width = self.width or max(1, 2**14 // self.image_size)
        widths = dict(width=width, max_width=self.max_width, image_kernel=3, dtype=self.dtype)
        shape = dict(bottleneck=self.bottleneck, blocks=self.blocks, image_norm=True)
        generator = Generator(self.image_size, self.channels, **shape, **widths)
        mapping = MappingNetwork(self.domains, self.style_dim, self.mapping_width)
        encoder = Encoder(self.image_size, {"style": self.style_dim}, domains=self.domains, **widths)
        discriminator = Encoder(self.image_size, {"logit": self.domains}, **widths)
        image = self.example()
        style, latent = (jax.ShapeDtypeStruct((1, dim), jnp.float32) for dim in (self.style_dim, self.latent_dim))
        adam = optimizers.adam(**vars(self.adam))
        slow = optimizers.adam(**{**vars(self.adam), "learning_rate": self.mapping_rate})
        return {
            "generator": Network(generator, adam, (image, style), averaged=True),
            "mapping": Network(mapping, slow, (latent,), averaged=True),
            "encoder": Network(encoder, adam, (image,), averaged=True),
            "discriminator": Network(discriminator, adam, (image,)),
        }

    def run(self, params: PyTree, name: str, *inputs: Array) -> PyTree:
        return self.networks[name].module.apply({"params": params[name]}, *inputs)

    def map(self, params: PyTree, latents: Array, domains: Array) -> Array:
        """Return the styles [B, D] of latents [B, L] in domains int32 [B]."""
        return of_domain(self.run(params, "mapping", latents), domains)

    def encode(self, params: PyTree, images: Array, domains: Array) -> Array:
        """Return the styles [B, D] of images that are of domains int32 [B]."""
        return of_domain(self.run(params, "encoder", images)["style"], domains)

    def judge(self, params: PyTree, images: Array) -> Array:
        """Return the logits [B, K] of images being real, and of each domain."""
        return self.run(params, "discriminator", images)["logit"]

    def styles(self, params: PyTree, source: str, views: Batch) -> tuple[Array, Array]:
        """Return two styles [B, D] of the domain that each image is translated to, of latents or of references."""
        find = self.map if source == "latent" else self.encode
        return tuple(find(params, views[name], views["target"]) for name in (source, f"{source}_2"))

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: of discriminator and translator each two steps (`TURNS`), each against what the others have
        become. `views` is what the method of that name makes.
        """
        diversity = self.diversity_weight * (1 - state.step / self.diversity_steps).clip(0)
        judging = functools.partial(self.discrimination_loss, views=views, phase=phase)
        translating = functools.partial(self.translation_loss, views=views, diversity=diversity)
        terms = {}
        for names, source in TURNS:
            params = {name: learner.params for name, learner in state.learners.items()}
            loss = functools.partial(judging if names == JUDGE else translating, others=params, source=source)
            learners = {name: state.learners[name] for name in names}
            learners, found = descend(learners, self.optimizers, loss, axis_name=axis_name)
            state = state.with_learners(learners)
            terms |= named(names[0], {f"{source}_{name}": value for name, value in found.items()})
        state = state.average(**dict.fromkeys(PLAYERS, self.average))
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def discrimination_loss(self, params: PyTree, *, others: PyTree, source: str, views: Batch, phase: Phase):
        """Tell images of their domains from translations into their targets (Eq. 1)."""
        fake = self.run(others, "generator", views["x"], self.styles(others, source, views)[0])
        domains, terms = views["label"], {}
        if phase == PENALISED:
            judge = functools.partial(self.judge, params)
            terms["r1"], real = adversarial.r1(lambda x: adversarial.select(judge(x), domains), views["x"])
        else:
            real = adversarial.select(self.judge(params, views["x"]), domains)
        terms["real"] = adversarial.logistic(real, 1.0)
        terms["fake"] = adversarial.logistic(adversarial.select(self.judge(params, fake), views["target"]), 0.0)
        loss = terms["real"] + terms["fake"] + self.r1.weight * self.r1.every * terms.get("r1", 0.0)
        return loss, (terms, {})

    def translation_loss(self, params: PyTree, *, others: PyTree, source: str, views: Batch, diversity: Array):
        """Pass for real in the target's domain, keep the style, differ from another style's translation, and come back
        to the image in its own style (Eq. 1 to 4); `diversity` is the weight of the third."""
        params, l1 = {**others, **params}, reconstruction.l1
        x, target = views["x"], views["target"]
        style, other = self.styles(params, source, views)
        fake = self.run(params, "generator", x, style)
        # Only the first style learns to differ.
        second = jax.lax.stop_gradient(self.run(params, "generator", x, other))
        own = self.encode(params, x, views["label"])
        terms = {
            "adversarial": adversarial.logistic(adversarial.select(self.judge(params, fake), target), 1.0),
            "style": l1(self.encode(params, fake, target), style),
            "diversity": l1(fake, second),
            "cycle": l1(self.run(params, "generator", fake, own), x),
        }
        loss = terms["adversarial"] + self.style_weight * terms["style"] - diversity * terms["diversity"]
        return loss + self.cycle_weight * terms["cycle"], (terms, {})

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make what an iteration reads of images uint8 [B, S, S, C] and their labels.

        Differs from the reference: domains are as frequent as in the data, and references are of the same batch, each
        image's second one by `augment.paired_places`.

        Returns:
          x, reference, reference_2: float32 [B, S, S, C]; label, target: int32 [B], the domains of images and of
          references; latent, latent_2: float32 [B, L].
        """
        view, places, *latents = jax.random.split(key, 4)
        keys = functools.partial(collectives.example_keys, size=len(batch["image"]), axis_name=axis_name)
        x = augment.resized_view(keys(view), batch["image"], flip=self.flip, **vars(self.crop))
        images, labels = (collectives.gather(each, axis_name) for each in (x, batch["label"]))
        first, second = augment.paired_places(places, labels, len(x), axis_name)
        latent, latent_2 = (self.sample_latents(keys(part)) for part in latents)
        return {
            **{"x": x, "reference": images[first], "reference_2": images[second]},
            **{"label": batch["label"], "target": labels[first], "latent": latent, "latent_2": latent_2},
        }

    # --- what a trained model offers ---

    def sample_latents(self, keys: Array) -> Array:
        """Sample latents [n, L] of N(0, I), one for each of keys [n]."""
        return jax.vmap(lambda key: jax.random.normal(key, (self.latent_dim,)))(keys)

    def style_prior(self, variables: PyTree, keys: Array, domains: Array | None = None) -> Array:
        """Sample styles [n, D], one for each of keys [n]: of domains int32 [n], or of any, all being as likely."""
        if domains is None:
            domains = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, self.domains))(keys)
        return self.map(weights(variables), self.sample_latents(keys), domains)

    def sort(self, variables: PyTree, images: Array) -> Array:
        """Return how likely images are of each domain [B, K], as far as the discriminator can tell (ours)."""
        return jax.nn.softmax(self.judge(weights(variables), images))

    def read_style(self, variables: PyTree, images: Array) -> Array:
        """Return the styles [B, D] of images, each of the domain in which it looks the most real."""
        return self.encode(weights(variables), images, self.sort(variables, images).argmax(-1))

    @property
    def readouts(self):
        return {"style": self.read_style, "cluster": self.sort}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] into the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        # Nothing in the network keeps its images within the range.
        return jnp.clip(self.run(weights(variables), "generator", inputs["content"], style), -1, 1)


def weights(variables: PyTree) -> PyTree:
    """Return the weights of a model's networks by name."""
    return {name: each["params"] for name, each in variables.items()}


def of_domain(styles: Array, domains: Array) -> Array:
    """Pick each example's style of its own domain: [B, K, D], int32 [B] -> [B, D]."""
    return jnp.take_along_axis(styles, domains[:, None, None], axis=1)[:, 0]
