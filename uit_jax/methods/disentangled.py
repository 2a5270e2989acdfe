"""Encoders of content and style, a generator and discriminators of two domains, as DRIT has them (arXiv:1808.00948).

The networks as functions of their weights, the random numbers they read, and what a trained model offers; how they
learn stands in `drit.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives
from uit_jax.method import Phase
from uit_jax.methods.pairs import PairMethod
from uit_jax.nn import drit
from uit_jax.nn.drit import Sides
from uit_jax.settings import changed, setting
from uit_jax.types import Array, Batch, PyTree

OTHER = {"a": "b", "b": "a"}
"""Each side's other one."""


@dataclasses.dataclass(frozen=True)
class DRITPhase(Phase):
    """Whether the content discriminator learns; where nothing `translates`, it alone does."""

    content: bool = True


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """The discriminators of images."""

    width: int = setting(64, "first width", low=1)
    scales: int = setting(3, "sizes at which they look; at one alone by 3 x 3 convolutions", low=1, high=16)
    layers: int = setting(4, "halvings at each; 6 in the published network of one scale", low=1, high=16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disentangled(PairMethod):
    """What shapes the networks; the defaults are the published code's."""

    batch_multiple: ClassVar[int] = 2
    kept: ClassVar[tuple[str, ...]] = ("generator", "content_encoder", "style_encoder")
    opposites = (("a", "b"),)
    multiple = drit.MULTIPLE

    image_size: int = changed(PairMethod, "image_size", 216, low=16)
    load_size: int = changed(PairMethod, "load_size", 256)
    styling: str = setting(
        "concat", "how styles reach the generator; featurewise where shapes change", choices=("concat", "featurewise")
    )
    style_dim: int = setting(8, "entries of a style code", low=1)
    width: int = setting(64, "first width of encoders and generator", low=1)
    blocks: int = setting(3, "residual blocks of either that a domain has to itself", low=1, high=1000)
    discriminator: MultiScale = MultiScale()
    content_layers: int = setting(3, "halvings of the content discriminator; fewer below 212 px", low=0, high=16)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        least = 2 ** (self.discriminator.layers + self.discriminator.scales - 1)
        if self.image_size < least:
            yield "image_size", f"is below the {least} px of method.discriminator's layers and scales"
        least = drit.content_side(self.content_layers)
        if self.image_size < least:
            yield "content_layers", f"is for {least} px at least, and not for data.image_size={self.image_size}"
        if self.out_channels != self.channels:
            yield "target_channels", f"must be data.channels={self.channels} or 0: references are read as contents are"

    @functools.cached_property
    def modules(self) -> dict[str, tuple[Any, tuple[Sides, ...]]]:
        """The networks by name, and examples of what they are called with."""
        dtype, featurewise, side = self.dtype, self.styling == "featurewise", self.image_size // drit.MULTIPLE
        codes = jax.ShapeDtypeStruct((1, side, side, drit.MULTIPLE * self.width), jnp.float32)
        styles = jax.ShapeDtypeStruct((1, self.style_dim), jnp.float32)
        images = dict.fromkeys(OTHER, self.example())
        drawn = dict.fromkeys(OTHER, codes), dict.fromkeys(OTHER, styles)
        judge = drit.Discriminator(**vars(self.discriminator), dtype=dtype)
        return {
            "content_encoder": (drit.ContentEncoder(self.width, self.blocks, dtype), (images,)),
            "style_encoder": (drit.StyleEncoder(self.style_dim, self.width, featurewise, dtype), (images,)),
            "generator": (drit.Generator(self.channels, self.blocks, featurewise, dtype), drawn),
            "discriminator": (judge, (images,)),
            "random_discriminator": (judge, (images,)),
            "content_discriminator": (drit.ContentDiscriminator(self.content_layers, dtype), drawn[:1]),
        }

    def apply(self, name: str, params: Mapping[str, PyTree], *inputs: Sides) -> dict[str, PyTree]:
        """Return what a network makes of its inputs, {side: arrays} as `nn.drit` has them; weights are by its name."""
        return _apply(self, name, params[name], *inputs)

    def encode(self, params: Mapping[str, PyTree], images: Sides, views: Batch, of: str = "") -> dict[str, Array]:
        """Return the content codes of images, with noise."""
        codes = self.apply("content_encoder", params, images)
        return {side: code + views[f"noise_{of}{side}"] for side, code in codes.items()}

    def sample(self, params: Mapping[str, PyTree], images: Sides, views: Batch, of: str = ""):
        """Return means and log variances of images' styles, and samples: the means where there is no variance."""
        moments, styles = self.apply("style_encoder", params, images), {}
        for side, (mean, log_variance) in moments.items():
            random = 0.0 if log_variance is None else views[f"style_{of}{side}"] * jnp.exp(log_variance / 2)
            styles[side] = mean + random
        return moments, styles

    def seen(self, images: Sides, views: Batch, name: str) -> dict[str, Array]:
        """Return what a discriminator sees of the images of both domains, whose draws are independent."""
        see = super().seen
        return {side: see(each, views, f"{name}_{side}") for side, each in images.items()}

    # --- the data ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Crop and mirror images of both domains, and sample what an iteration on the even ones adds and draws in.

        Returns:
          a, b: float32 [B, S, S, C]; standard normal numbers for each even image: noise_*, of the shape of its content
          code, style_*, random_0 and random_1 [B / 2, D]. Behind noise_ and style_ stand the images that are encoded:
          a, b, and fake_a, fake_b, translations into these domains. And `changes`, of half as many.
        """
        half = len(batch["a"]) // 2
        made = self.changes(key, half, axis_name)
        for number, side in enumerate(OTHER):
            keys = collectives.example_keys(jax.random.fold_in(key, number), 2 * half, axis_name)
            made[side] = augment.cropped_view(keys, batch[side], self.image_size, flip=self.flip)
        side, style = self.image_size // drit.MULTIPLE, (self.style_dim,)
        encoded = [of + side for of in ("", "fake_") for side in OTHER]
        shapes = {f"noise_{name}": (side, side, drit.MULTIPLE * self.width) for name in encoded}
        shapes |= {f"style_{name}": style for name in encoded} | {"random_0": style, "random_1": style}
        for number, (name, shape) in enumerate(shapes.items(), len(OTHER)):
            keys = collectives.example_keys(jax.random.fold_in(key, number), half, axis_name)
            made[name] = _standard(keys, shape)
        return made

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] from A to B, in the style of inputs["reference"] or inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        params = {name: each["params"] for name, each in variables.items()}
        codes = self.apply("content_encoder", params, {"a": inputs["content"]})
        return self.apply("generator", params, {"b": codes["a"]}, {"b": style})["b"]

    def read_style(self, variables: PyTree, images: Array) -> Array:
        """Return the styles [B, D] of images of B, the means of their distributions."""
        params = {"style_encoder": variables["style_encoder"]["params"]}
        return self.apply("style_encoder", params, {"b": images})["b"][0]

    @property
    def readouts(self):
        return {"style": self.read_style}

    def style_prior(self, variables: PyTree, keys: Array) -> Array:
        """Sample styles [n, D] of either domain, one for each of keys [n]: of N(0, I)."""
        return _standard(keys, (self.style_dim,))


def _standard(keys: Array, shape: tuple[int, ...]) -> Array:
    """Sample standard normal numbers [n, *shape], with one key for each of n."""
    return jax.vmap(functools.partial(jax.random.normal, shape=shape))(keys)


# An iteration calls each network at many places, which are traced once together.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(method: Disentangled, name: str, params: PyTree, *inputs: Sides) -> dict[str, PyTree]:
    return method.call(method.modules[name][0], {"params": params}, *inputs)
