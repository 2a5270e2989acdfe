"""MUNIT: Multimodal Unsupervised Image-to-Image Translation (Huang, Liu, Belongie and Kautz, ECCV 2018).

An image is a content, which both domains share, and a style of its own domain. To translate is to decode the content
with a style of the other domain, sampled or read off a reference (arXiv:1804.04732). `update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives, optimizers
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Network, Phase
from uit_jax.methods.pairs import PairMethod
from uit_jax.nn import munit, patchgan, vgg
from uit_jax.settings import Adam, StepDecay, changed, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

# Each domain, and the one whose images are translated into it.
SIDES = (("a", "b"), ("b", "a"))


@dataclasses.dataclass(frozen=True)
class AutoEncoder:
    """The generator of either domain: its two encoders and its decoder."""

    width: int = setting(64, "first width", low=1)
    downs: int = setting(2, "halvings on the way to a content", low=1, high=12)
    blocks: int = setting(4, "residual blocks behind them, and as many in the decoder", low=1, high=1000)
    mlp_width: int = setting(256, "width of the perceptron that reads the style", low=1)


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """The discriminators of either domain, one for each size of an image."""

    width: int = setting(64, "first width", low=1)
    layers: int = setting(4, "halvings", low=1, high=12)
    scales: int = setting(3, "sizes of an image, each half the last", low=1, high=12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MUNIT(PairMethod):
    """MUNIT's hyper-parameters; the defaults are the published code's, those of its edges2shoes."""

    load_size: int = changed(PairMethod, "load_size", 256)
    style_dim: int = setting(8, "entries of a style code", low=1)
    generator: AutoEncoder = AutoEncoder()
    discriminator: MultiScale = MultiScale()
    gan_loss: str = setting("lsgan", "adversarial objective, summed over sizes", choices=("lsgan", "nonsaturating"))
    adversarial_weight: float = setting(1.0, "of passing for real (Eq. 4)", low=0)
    image_weight: float = setting(10.0, "of coming back to an image from its own codes (Eq. 1)", low=0)
    content_weight: float = setting(1.0, "of reading the content off a translation (Eq. 2)", low=0)
    style_weight: float = setting(1.0, "of reading the sampled style off a translation (Eq. 3)", low=0)
    cycle_weight: float = setting(0.0, "of coming back to an image from its translation (Section 5.1); 0: none", low=0)
    perceptual_weight: float = setting(1.0, "of keeping what VGG-16 sees, where `vgg` names its weights", low=0)
    vgg: str = setting("", "an .npz file of VGG-16's weights, read in training alone; empty: no perceptual term")
    adam: Adam = Adam(1e-4, b1=0.5, b2=0.999, weight_decay=1e-4)
    schedule: StepDecay = StepDecay(100_000, 0.5)

    kept = ("generator_a", "generator_b")
    opposites = (kept,)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        scales = patchgan.smallest_of_scales(self.discriminator.layers, self.discriminator.scales)
        smallest = max(scales, munit.smallest(self.generator.downs))
        if self.image_size < smallest:
            yield "image_size", f"is below the {smallest} px of method.discriminator's layers and scales, or of downs"
        if self.out_channels != self.channels:
            yield "target_channels", f"must be 0 or data.channels={self.channels}: styles are read as contents are"
        if self.vgg and self.channels != 3:
            yield "vgg", f"must be empty where data.channels={self.channels}: VGG-16 sees red, green and blue"

    def check_files(self) -> None:
        if self.vgg:
            vgg.load(self.vgg)

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        rate = optimizers.step_decay(self.adam.learning_rate, **vars(self.schedule))
        adam = optimizers.adam(**{**vars(self.adam), "learning_rate": rate})
        generator = munit.AutoEncoder(self.channels, self.style_dim, **vars(self.generator), dtype=self.dtype)
        discriminator = patchgan.MultiScaleDiscriminator(**vars(self.discriminator), dtype=self.dtype)
        modules = {"generator": generator, "discriminator": discriminator}
        return {f"{kind}_{side}": Network(modules[kind], adam, (self.example(),)) for kind in modules for side in "ab"}

    # --- as functions of weights, those of both domains' networks by name ---

    def encode(self, params: PyTree, side: str, images: Array) -> tuple[Array, Array]:
        """Return the contents [B, h, w, C'] and the styles [B, D] of images of a domain."""
        return self.run(params, f"generator_{side}", images, method="encode")

    def decode(self, params: PyTree, side: str, content: Array, style: Array) -> Array:
        """Generate images of a domain."""
        return self.run(params, f"generator_{side}", content, style, method="decode")

    def realism(self, params: PyTree, side: str, images: Array, target: float) -> Array:
        """Return the adversarial loss of taking images for a domain's, 1, or for translations, 0: over all sizes."""
        objective = adversarial.OBJECTIVES[self.gan_loss]
        return sum(objective(each, target) for each in self.run(params, f"discriminator_{side}", images))

    def run(self, params: PyTree, name: str, *inputs: Array, **how):
        """Apply a network, or the part of it that `method` names, by its own name."""
        return self.call(self.networks[name].module, {"params": params[name]}, *inputs, **how)

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: both discriminators, then both generators against what these have become (Eq. 5).

        `views` is what the method of that name makes. Each of the two learns from translations in styles of its own.
        """
        params = {name: learner.params for name, learner in state.learners.items()}
        contents = {side: self.encode(params, side, views[side])[0] for side in "ab"}
        shown = {side: self.decode(params, side, contents[other], views[f"shown_{side}"]) for side, other in SIDES}
        players = {name: state.learners[name] for name in self.kept}
        opponents = {name: learner for name, learner in state.learners.items() if name not in players}
        discriminate = functools.partial(self.discrimination_loss, shown=shown, views=views)
        opponents, against = descend(opponents, self.optimizers, discriminate, axis_name=axis_name)
        discriminators = {name: learner.params for name, learner in opponents.items()}
        translate = functools.partial(self.translation_loss, discriminators=discriminators, views=views)
        players, terms = descend(players, self.optimizers, translate, axis_name=axis_name)
        state = state.with_learners({**players, **opponents}).replace(step=state.step + 1)
        return state, collectives.mean({**terms, **against}, axis_name)

    def discrimination_loss(self, params: PyTree, *, shown: Mapping[str, Array], views: Batch):
        """Tell the images of each domain from translations into it (Eq. 4)."""
        found = {}
        for side, fake in shown.items():
            for name, images, target in (("real", views[side], 1.0), ("fake", fake, 0.0)):
                seen = self.seen(images, views, f"{name}_{side}")
                found[f"discriminator_{side}/{name}"] = self.realism(params, side, seen, target)
        return self.adversarial_weight * sum(found.values()), (found, {})

    def translation_loss(self, params: PyTree, *, discriminators: PyTree, views: Batch):
        """Come back to images and to codes, and pass for real (Eq. 1 to 4); terms bear the name of who translates."""
        codes = {side: self.encode(params, side, views[side]) for side in "ab"}
        loss, found, l1 = 0.0, {}, reconstruction.l1
        for side, other in SIDES:
            (content, own), (moved, left) = codes[side], codes[other]
            wanted = views[f"style_{side}"]
            both = self.decode(params, side, jnp.concatenate([content, moved]), jnp.concatenate([own, wanted]))
            same, fake = jnp.split(both, 2)
            kept, style = self.encode(params, side, fake)
            terms = {
                "adversarial": self.realism(discriminators, side, self.seen(fake, views, f"adversarial_{side}"), 1.0),
                "image": l1(same, views[side]),
                "content": l1(kept, moved),
                "style": l1(style, wanted),
            }
            if self.cycle_weight:
                terms["cycle"] = l1(self.decode(params, other, kept, left), views[other])
            if self.vgg:
                terms["perceptual"] = vgg.distance(vgg.load(self.vgg), fake, views[other])
            loss += sum(getattr(self, f"{name}_weight") * value for name, value in terms.items())
            found |= named(f"generator_{side}", terms)
        return loss, (found, {})

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Return a, b: float32 [B, S, S, C], mirrored crops; style_a, style_b, shown_a, shown_b: [B, D], sampled styles
        of the translations into a domain, from which the generators learn, and which the discriminators are shown; and
        `changes`.
        """
        made = self.changes(key, len(batch["a"]), axis_name)
        for number, side in enumerate("ab"):
            parts = jax.random.split(jax.random.fold_in(key, number), 3)
            crop, style, shown = (collectives.example_keys(part, len(batch[side]), axis_name) for part in parts)
            made[side] = augment.cropped_view(crop, batch[side], self.image_size, flip=self.flip)
            made |= {f"style_{side}": self.style_prior(None, style), f"shown_{side}": self.style_prior(None, shown)}
        return made

    # --- what a trained model offers ---

    def style_prior(self, variables: PyTree, keys: Array) -> Array:
        """Sample styles [n, D] of either domain, one for each of keys [n]: of N(0, I)."""
        return jax.vmap(lambda key: jax.random.normal(key, (self.style_dim,)))(keys)

    def read_style(self, variables: PyTree, images: Array) -> Array:
        """Return the styles [B, D] of images of B."""
        return self.encode(weights(variables), "b", images)[1]

    @property
    def readouts(self):
        return {"style": self.read_style}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] from A to B, in the style of inputs["reference"] or in inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        content = self.run(weights(variables), "generator_a", inputs["content"], method="read_content")
        return self.decode(weights(variables), "b", content, style)


def weights(variables: PyTree) -> PyTree:
    """Return the weights of a model's networks by name."""
    return {name: each["params"] for name, each in variables.items()}
