"""A structure and a texture for every image (Swapping Autoencoder, arXiv:2007.00653), as functions of weights.

The networks, how they are applied to batches and to crops, and what a trained model offers; how they learn stands in
`swapping_autoencoder.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax import augment, optimizers
from uit_jax.method import LARGEST_SIDE, Method, Network
from uit_jax.methods.opposed import Opposed
from uit_jax.nn import swapping_autoencoder as nn
from uit_jax.nn.stylegan2 import position_noise
from uit_jax.settings import R1, Adam, changed, setting
from uit_jax.types import Array, PyTree

PLAYERS = ("generator", "encoder")


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What takes images apart."""

    scale: float = setting(1.0, "of its widths", above=0)
    downs: int = setting(4, "halvings on the way to a structure", low=1, high=12)
    texture_downs: int = setting(2, "further ones on the way to a texture", low=1, high=12)


@dataclasses.dataclass(frozen=True)
class Generator:
    """What puts them together."""

    scale: float = setting(1.0, "of its widths", above=0)
    head_blocks: int = setting(2, "residual blocks before the first doubling; 4 in the paper", low=1, high=1000)


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """What judges images."""

    scale: float = setting(1.0, "of its widths on maps of 16 px and more", above=0)
    max_width: int = setting(512, "its width on smaller maps, the largest below 64 px", low=1)


@dataclasses.dataclass(frozen=True)
class PatchDiscriminator:
    """What judges whether crops of two images have the same texture."""

    scale: float = setting(4.0, "of its widths", above=0)
    max_width: int = setting(384, "largest width on maps of 16 px and less", low=1)
    pair_width: int = setting(2048, "width of the layers that compare two crops", low=1)


@dataclasses.dataclass(frozen=True)
class Patches:
    """Crops, by which textures are compared."""

    size: int = setting(128, "their side as they are seen, pixels; 64 in the paper", low=4, power_of_two=True)
    count: int = setting(8, "crops of every image", low=1, high=4096)
    sides: tuple[float, ...] = setting(
        (0.125, 0.25), "their width and height, shares of the image's", above=0, high=1, length=2, rising=True
    )
    pooled: bool = setting(True, "whether each is compared with the mean of the other image's crops, or with one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swapped(Opposed):
    """What shapes the networks and moves them; the defaults are the published code's."""

    batch_multiple: ClassVar[int] = 2
    kept: ClassVar[tuple[str, ...]] = PLAYERS

    image_size: int = changed(Method, "image_size", 256, low=8)
    load_size: int = setting(
        0, "side of images before they are cropped; 0 for data.image_size", low=0, high=LARGEST_SIDE
    )
    structure_dim: int = setting(8, "channels of a structure code", low=1)
    texture_dim: int = setting(2048, "entries of a texture code", low=1)
    encoder: Encoder = Encoder()
    generator: Generator = Generator()
    discriminator: Discriminator = Discriminator()
    patch_discriminator: PatchDiscriminator = PatchDiscriminator()
    patches: Patches = Patches()
    r1: R1 = R1(weight=10.0, every=16)
    average: float = setting(
        0.0, "decay of averages of encoder and generator, which then translate", low=0, below=1, follows="average"
    )
    adam: Adam = Adam(2e-3, b1=0.0, b2=0.99)

    def rules(self):
        """Yield what of the settings does not go together."""
        module = nn.Encoder(downs=self.encoder.downs, texture_downs=self.encoder.texture_downs)
        if 0 < self.load_size < self.image_size:
            yield "load_size", f"must be 0 or at least the crop's data.image_size={self.image_size}"
        if self.image_size < module.smallest:
            yield "image_size", f"is below the {module.smallest} px of method.encoder.downs and texture_downs: raise it"
        if self.image_size % module.multiple:
            yield "image_size", f"must be a multiple of {module.multiple}"

    # --- the networks, and as functions of the weights of all of them by name ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        dtype, ups, patch = self.dtype, self.encoder.downs, self.patches.size
        encoder = nn.Encoder(self.structure_dim, self.texture_dim, **vars(self.encoder), dtype=dtype)
        generator = nn.Generator(self.channels, ups=ups, **vars(self.generator), dtype=dtype)
        discriminator = nn.Discriminator(self.image_size, **vars(self.discriminator), dtype=dtype)
        patch_discriminator = nn.PatchDiscriminator(patch, **vars(self.patch_discriminator), dtype=dtype)
        side, kind = self.image_size >> ups, functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
        noise = tuple(kind((1, *sides, 1)) for sides in generator.noise_sides(side, side))
        codes = kind((1, side, side, self.structure_dim)), kind((1, self.texture_dim))
        crop, averaged, own = kind((1, patch, patch, self.channels)), self.average > 0, self.adam
        # The penalty is a step more after every so many, which together are to move as far (arXiv:1912.04958, B).
        share = self.r1.every / (1 + self.r1.every)
        slower = dataclasses.replace(own, learning_rate=share * own.learning_rate, b1=own.b1**share, b2=own.b2**share)
        adam, slow = (optimizers.adam(**vars(each)) for each in (own, slower))
        return {
            "encoder": Network(encoder, adam, (self.example(),), averaged=averaged),
            "generator": Network(generator, adam, (*codes, noise), averaged=averaged),
            "discriminator": Network(discriminator, slow, (self.example(),)),
            "patch_discriminator": Network(patch_discriminator, slow, (crop, crop)),
        }

    def run(self, params: PyTree, name: str, *inputs: PyTree, **how) -> PyTree:
        """Apply a network, or the part of it that `method` names."""
        return self.call(self.networks[name].module, {"params": params[name]}, *inputs, **how)

    def judge(self, params: PyTree, *images: Array) -> list[Array]:
        """Return the logits [B] of each of some batches being real."""
        logits = self.run(params, "discriminator", jnp.concatenate(images))[:, 0]
        return jnp.split(logits, np.cumsum([len(each) for each in images])[:-1])

    def compare(self, params: PyTree, reference: Array, *others: Array) -> list[Array]:
        """Return the logits [B, T] of crops [B, T, P, P, C] of each of some batches having the texture of `reference`,
        crops as well."""
        crops = jnp.concatenate([reference, *others])
        features = self.run(params, "patch_discriminator", _flat(crops), method="features")
        features = features.reshape(*crops.shape[:2], *features.shape[1:])
        known, *found = jnp.split(features, 1 + len(others))
        if self.patches.pooled:
            known = jnp.broadcast_to(known.mean(1, keepdims=True), known.shape)
        pairs = jnp.concatenate([known] * len(others)), jnp.concatenate(found)
        logits = self.run(params, "patch_discriminator", *map(_flat, pairs), method="compare")
        return jnp.split(logits.reshape(pairs[0].shape[:2]), len(others))

    def crops(self, images: Array, chances: Array) -> Array:
        """Return crops [B, T, P, P, C] of images, by chances [B, T, 5]."""
        return augment.stretched_crops(images, chances, self.patches.sides, self.patches.size)

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] into the texture of inputs["reference"], or of inputs["style"] [B, D].

        Differs from the reference: noise depends on a pixel's place alone, so that a translation is always the same.
        """
        texture = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        params = {name: each["params"] for name, each in variables.items()}
        structure, _ = self.run(params, "encoder", inputs["content"])
        sides = self.networks["generator"].module.noise_sides(*structure.shape[1:3])
        origins = ((0, 31 * number) for number in range(len(sides)))
        noise = (position_noise(*each, origin) for each, origin in zip(sides, origins, strict=True))
        noise = tuple(jnp.broadcast_to(each, (structure.shape[0], *each.shape[1:])) for each in noise)
        # Nothing in the network keeps its images within the range.
        return jnp.clip(self.run(params, "generator", structure, texture, noise), -1, 1)

    def read_style(self, variables: PyTree, images: Array) -> Array:
        """Return the textures [B, D] of images."""
        return self.run({"encoder": variables["encoder"]["params"]}, "encoder", images)[1]

    @property
    def readouts(self):
        return {"style": self.read_style}


def _flat(rows: Array) -> Array:
    """Join the first two axes."""
    return rows.reshape(-1, *rows.shape[2:])
