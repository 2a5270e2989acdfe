"""StarGAN v2's networks (arXiv:1912.01865, Section 2.1), as functions of their weights, and what they then offer.

A generator redraws an image in a style; a style belongs to a domain, which is a class of the images, and is mapped from
a latent or read off a reference. `starganv2.py` has how they learn.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from uit_jax import optimizers
from uit_jax.method import Method, Network, require
from uit_jax.methods.labelled import Labelled
from uit_jax.nn import fan
from uit_jax.nn.starganv2 import Encoder, Generator, MappingNetwork, of_domain
from uit_jax.settings import Adam, changed, setting, upsampling
from uit_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Domained(Labelled):
    """A translator among labelled domains: the hyper-parameters of its networks."""

    kept: ClassVar[tuple[str, ...]] = ("generator", "mapping", "encoder", "discriminator")
    sampled_by_class: ClassVar[bool] = True

    image_size: int = changed(Method, "image_size", 256, low=8, power_of_two=True)
    domains: int = changed(Labelled, "domains", 2, high=1000)
    latent_dim: int = setting(16, "entries of a latent, from which styles are mapped", low=1)
    style_dim: int = setting(64, "entries of a style code", low=1)
    mapping_width: int = setting(512, "width of the mapping network", low=1)
    width: int = setting(0, "first width of the other networks; 0 for 2^14 / data.image_size", low=0)
    max_width: int = setting(512, "largest width of these", low=1)
    bottleneck: int = setting(16, "side of the generator's narrowest maps", low=4, power_of_two=True)
    blocks: int = setting(2, "residual blocks on each side of these", low=1, high=1000)
    upsampling: str = upsampling()
    high_pass: float = setting(0.0, "divisor of the skips that keep the parts of a face; 0: none, for all else", low=0)
    landmarks: str = setting("", "a file of the weights of the network that finds the parts of a face")
    adam: Adam = Adam(1e-4, b1=0.0, b2=0.99, weight_decay=1e-4)
    mapping_rate: float = setting(1e-6, "the mapping network's step size", above=0)

    def rules(self):
        """Yield what of the settings does not go together."""
        if self.bottleneck > self.image_size:
            yield "bottleneck", f"must be data.image_size={self.image_size} at most"
        if self.high_pass and self.channels != 3:
            yield "high_pass", f"must be 0 where data.channels={self.channels}: landmarks are found in colours"

    def check_files(self) -> None:
        if self.high_pass:
            self.face_network()

    # --- the networks, and as functions of the weights of all of them by name ---

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        width = self.width or max(1, 2**14 // self.image_size)
        widths = dict(width=width, max_width=self.max_width, image_kernel=3, dtype=self.dtype)
        shape = dict(bottleneck=self.bottleneck, blocks=self.blocks, upsampling=self.upsampling)
        kept = dict(image_norm=True, high_pass=self.high_pass)
        generator = Generator(self.image_size, self.channels, **shape, **kept, **widths)
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
        """Apply a network."""
        return _apply(self, name, params[name], *inputs)

    def generate(self, params: PyTree, images: Array, style: Array, masks: tuple[Array, ...] = ()) -> Array:
        """Redraw images in styles [B, D], with what `masks` show of them kept."""
        return self.run(params, "generator", images, style, *([masks] if masks else []))

    def masks(self, images: Array) -> tuple[Array, ...]:
        """Return what of images, which are faces, is kept: no gradient reaches them; () where nothing is."""
        if not self.high_pass:
            return ()
        return fan.masks(fan.heat_maps(self.face_network(), jax.lax.stop_gradient(images)))

    def face_network(self) -> fan.Weights:
        """Read the weights of the network that finds the parts of a face. Raises UserError."""
        told = (
            f"method.landmarks is empty: with method.high_pass={self.high_pass} it has to name the file of the network"
            " that finds the parts of a face (docs/starganv2.md): give --config.method.landmarks=FILE to `uit train` or"
            " `uit convert`"
        )
        require(bool(self.landmarks), told)
        return fan.load(self.landmarks)

    def map(self, params: PyTree, latents: Array, domains: Array) -> Array:
        """Return the styles [B, D] of latents [B, L] in domains int32 [B]."""
        return of_domain(self.run(params, "mapping", latents), domains)

    def encode(self, params: PyTree, images: Array, domains: Array) -> Array:
        """Return the styles [B, D] of images that are of domains int32 [B]."""
        return of_domain(self.run(params, "encoder", images)["style"], domains)

    def judge(self, params: PyTree, images: Array) -> Array:
        """Return the logits [B, K] of images being real, and of each domain."""
        return self.run(params, "discriminator", images)["logit"]

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

    def read_style(self, variables: PyTree, images: Array, domains: Array | None = None) -> Array:
        """Return the styles [B, D] of images: of domains int32 [B], or each of that in which it looks the most real."""
        domains = self.sort(variables, images).argmax(-1) if domains is None else domains
        return self.encode(weights(variables), images, domains)

    @property
    def readouts(self):
        return {"style": self.read_style, "cluster": self.sort}

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] into the style of inputs["reference"], or of inputs["style"] [B, D]."""
        style = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        content = inputs["content"]
        # Nothing in the network keeps its images within the range.
        return jnp.clip(self.generate(weights(variables), content, style, self.masks(content)), -1, 1)


# An iteration calls each network at many places, which are traced once together.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(method: Domained, name: str, params: PyTree, *inputs: PyTree) -> PyTree:
    return method.call(method.networks[name].module, {"params": params}, *inputs)


def weights(variables: PyTree) -> PyTree:
    """Return the weights of a model's networks by name."""
    return {name: each["params"] for name, each in variables.items()}
