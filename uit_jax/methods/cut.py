"""CUT and FastCUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al., ECCV 2020).

A generator turns images of domain A into domain B. What keeps the content is a loss on patches: each patch of the
translation has to find, by the generator's own features, its place in the input among other patches (arXiv:2007.15651).
CUT also asks images of B to stay what they are; FastCUT leaves that out. `update` is the paper's iteration.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives
from uit_jax.losses import adversarial
from uit_jax.method import Network, Phase
from uit_jax.methods.pairs import PairMethod
from uit_jax.methods.patchwise import Layers, PatchMethod, by_side, join
from uit_jax.nn import patchgan
from uit_jax.nn.patch_mlp import features_at, translate_at
from uit_jax.nn.resnet import ResNetGenerator
from uit_jax.settings import LinearDecay, changed, setting
from uit_jax.state import TrainState, play
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class ResNet:
    """The generator."""

    width: int = setting(64, "first width", low=1)
    blocks: int = setting(9, "residual blocks; 6 for small images", low=1, high=1000)
    antialias: bool = setting(True, "blurred halvings in place of strided convolutions, the discriminator's too")
    antialias_up: bool = setting(True, "blurred doublings in place of transposed convolutions")


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """The discriminator."""

    kind: str = setting("patch", "whether a logit sees a patch or a pixel's colour", choices=("patch", "pixel"))
    width: int = setting(64, "first width", low=1)
    layers: int = setting(3, "halvings of the patch one", low=0, high=12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CUT(PatchMethod):
    """CUT's hyper-parameters; the defaults are the published code's at 256 px, for horses and zebras."""

    image_size: int = changed(PairMethod, "image_size", 256, low=16)
    generator: ResNet = ResNet()
    discriminator: Discriminator = Discriminator()
    norm: str = setting("instance", "of generator and discriminator", choices=("instance", "batch", "none"))
    initializer: str = setting("xavier", "of all weights", choices=("xavier", "normal", "kaiming", "orthogonal"))
    init_gain: float = setting(0.02, "of the initializer", above=0)
    gan_loss: str = setting("lsgan", "adversarial objective", choices=tuple(adversarial.OBJECTIVES))
    flip_equivariance: bool = setting(False, "mirror the generator's input with probability 1/2, and its features back")
    shared_encoder: bool = setting(
        True, "whether outputs are encoded as inputs are, not by an encoder and MLP of their own (appendix C.5)"
    )
    nce_trains_decoder: bool = setting(True, "whether the contrastive loss reaches the decoder (appendix C.5)")
    crop_in_decay: bool = setting(False, "go on cropping in the decay; the published code resizes to the crop's size")

    multiple = 4

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        layers = self.discriminator.layers
        if self.discriminator.kind == "patch" and self.image_size < patchgan.smallest(layers):
            yield "image_size", (
                f"is below the {patchgan.smallest(layers)} px that the patch discriminator needs with"
                f" method.discriminator.layers={layers}: raise it, or set fewer layers"
            )
        if self.queued and not self.shared_encoder:
            kind = self.negatives.kind
            yield "shared_encoder", f"must be true with method.negatives.kind={kind!r}, whose keys are not trained"

    def phase(self, step: int) -> Phase:
        if step < self.schedule.constant_steps or self.crop_in_decay or self.load_size in (0, self.image_size):
            return Phase("cropped", load_size=self.load_size)
        return Phase("uncropped")

    # --- the networks as functions of their variables ---

    @functools.cached_property
    def generator_module(self) -> ResNetGenerator:
        weights = dict(norm=self.norm, initializer=self.initializer, gain=self.init_gain, dtype=self.dtype)
        return ResNetGenerator(self.channels, self.out_channels, **vars(self.generator), **weights)

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        weights = dict(initializer=self.initializer, gain=self.init_gain)
        shape = dict(width=self.discriminator.width, norm=self.norm, dtype=self.dtype, **weights)
        if self.discriminator.kind == "pixel":
            discriminator = patchgan.PixelDiscriminator(**shape)
        else:
            shape |= dict(layers=self.discriminator.layers, antialias=self.generator.antialias)
            discriminator = patchgan.PatchDiscriminator(**shape)
        players = self.players(self.example(), **weights)
        if self.compared and not self.shared_encoder:
            players |= {f"output_{name}": network._replace(averaged=False) for name, network in players.items()}
        return players | {"discriminator": Network(discriminator, self.optimizer, (self.example(self.out_channels),))}

    def memory(self, key: Array, batch_size: int) -> PyTree:
        return self.queues(key, batch_size)

    def run(self, name: str, variables: PyTree, *inputs, axis_name: str | None = None, **options) -> tuple[Any, PyTree]:
        """Apply a network in training; return what it gives and its new batch statistics, {} without any."""
        network = self.networks[name].module.clone(axis_name=axis_name if self.sync_statistics else None)
        return self.call(network, variables, *inputs, train=True, mutable=["batch_stats"], **options)

    def encode(self, variables: PyTree, images: Array, places: Layers, axis_name: str | None = None) -> Layers:
        images = augment.match_channels(images, self.channels)
        options = dict(taps=self.patches.layers, method=features_at, axis_name=axis_name)
        return self.run("generator", variables, images, places, **options)[0]

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the discriminator, then generator and patch MLP together (Eq. 5).

        `views` is what the method of that name makes.
        """
        joined = functools.partial(join, state)
        recalled = self.recall(state, views, axis_name)
        state, _, terms = play(
            state,
            self.optimizers,
            players=tuple(name for name in self.networks if name != "discriminator"),
            opponents=("discriminator",),
            make=lambda params: self.make(joined(params), views, axis_name),
            oppose=lambda params, made: self.oppose(joined(params), made["a"][0], views, axis_name),
            deceive=lambda params, made, opponents: self.deceive(
                joined(params), made, opponents["discriminator"].variables, views, recalled, axis_name
            ),
            axis_name=axis_name,
        )
        state = self.remember(state, recalled, axis_name)
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def make(self, variables: PyTree, views: Batch, axis_name: str | None):
        """Translate A, and B where it is compared; return these by side, with the inputs' features on the way there."""
        sides, network = tuple(self.compared) or ("a",), variables["generator"]
        inputs = jnp.concatenate([augment.match_channels(views[side], self.channels) for side in sides])
        if self.compared and "mirror" not in views:
            how = dict(taps=self.patches.layers, method=translate_at, axis_name=axis_name)
            made, stats = self.run("generator", network, inputs, self.places_of(sides, views), **how)
            return by_side(made, sides), {"generator": stats}
        seen = jax.vmap(augment.mirror)(inputs, jnp.tile(views["mirror"], len(sides))) if "mirror" in views else inputs
        outputs, stats = self.run("generator", network, seen, axis_name=axis_name)
        features = self.encode(network, inputs, self.places_of(sides, views), axis_name) if self.compared else {}
        return by_side((outputs, features), sides), {"generator": stats}

    def oppose(self, variables: PyTree, fake: Array, views: Batch, axis_name: str | None):
        """Tell images of B from translations (Eq. 1)."""
        objective, own = adversarial.OBJECTIVES[self.gan_loss], variables["discriminator"]
        fake, real = self.seen(fake, views, "fake"), self.seen(views["b"], views, "real")
        of_fake, stats = self.run("discriminator", own, fake, axis_name=axis_name)
        of_real, stats = self.run("discriminator", {**own, **stats}, real, axis_name=axis_name)
        terms = {"real": objective(of_real, 1.0), "fake": objective(of_fake, 0.0)}
        return (terms["real"] + terms["fake"]) / 2, (terms, {"discriminator": stats})

    def deceive(self, variables, made, discriminator: PyTree, views: Batch, recalled, axis_name: str | None):
        """Pass for real (Eq. 1), and keep every patch's place (Eq. 3 and 4)."""
        seen = self.seen(made["a"][0], views, "adversarial")
        logits, _ = self.run("discriminator", discriminator, seen, axis_name=axis_name)
        deceived = adversarial.OBJECTIVES[self.gan_loss](logits, 1.0)
        contrast, terms = self.contrast(variables, made, views, recalled, axis_name)
        return self.adversarial_weight * deceived + self.nce_weight * contrast, {"adversarial": deceived, **terms}

    @property
    def train_keys(self) -> bool:
        return not self.shared_encoder

    def queries(self, variables: PyTree, output: Array, side: str, views: Batch, axis_name: str | None) -> Layers:
        """Return the codes of an output's patches, read where those of the input lie in it."""
        places = views[f"places_{side}"]
        if "mirror" in views:
            turn = functools.partial(augment.mirror_places, mirrored=views["mirror"])
            places = {layer: turn(own, width=self.sizes[layer][1]) for layer, own in places.items()}
        if not self.nce_trains_decoder:
            output = jax.lax.stop_gradient(output)
        prefix = "" if self.shared_encoder else "output_"
        features = self.encode(variables[f"{prefix}generator"], output, places, axis_name)
        return self.codes(variables, features, f"{prefix}patches")

    # --- the data ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Cut and mirror crops of both domains, and sample which patches are compared.

        Returns:
          a, b: float32 [B, S, S, C]; places_a, places_b: {layer: int32 [B, P]}; with `flip_equivariance` mirror: bool
          [B], which inputs the generator sees mirrored; and `changes`.
        """
        made = self.changes(key, size := len(batch["a"]), axis_name)
        for number, side in enumerate("ab"):
            crop, place = jax.random.split(jax.random.fold_in(key, number))
            keys = collectives.example_keys(crop, size, axis_name)
            made[side] = augment.cropped_view(keys, batch[side], self.image_size, flip=self.flip)
            if side in self.compared:
                made[f"places_{side}"] = self.sample_places(place, size)
        if self.flip_equivariance:
            keys = collectives.example_keys(jax.random.fold_in(key, 2), size, axis_name)
            made["mirror"] = jax.vmap(jax.random.bernoulli)(keys)
        return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class FastCUT(CUT):
    """CUT without the identity term, with a heavier contrastive loss, mirrored inputs and a shorter schedule."""

    nce_weight: float = changed(CUT, "nce_weight", 10.0)
    identity: bool = changed(CUT, "identity", False)
    flip_equivariance: bool = changed(CUT, "flip_equivariance", True)
    schedule: LinearDecay = LinearDecay(200_100, 66_700)
