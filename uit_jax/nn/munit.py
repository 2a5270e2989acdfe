"""MUNIT's auto-encoder of content and style (arXiv:1804.04732), and the forms that FUNIT (arXiv:1905.01723) and TUNIT
(arXiv:2006.06500) give it.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, convs, norms
from uit_jax.nn.convs import Conv
from uit_jax.types import Array

STYLE_HALVINGS = 4
"""Of the published style encoders, the first two of which double their width."""


def smallest(downs: int, style_downs: int = STYLE_HALVINGS) -> int:
    """Return the smallest side of an image that `AutoEncoder` reads both codes of."""
    return max(2**style_downs, 2 ** (downs + 1))


class _ResidualBlock(nn.Module):
    """x + scale * (conv, norm, relu, conv, norm)(x); norms are adaptive where `styles` yields their (bias, weight)."""

    dtype: Any
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array, styles=None) -> Array:
        def normalize(index: int, x: Array) -> Array:
            return norms.instance_norm(x) if styles is None else norms.adaptive_instance_norm(x, *next(styles))

        return blocks.normalized(x, normalize, self.scale, dtype=self.dtype)


class _ContentEncoder(nn.Module):
    """Images [B, H, W, C] -> content codes [B, H / 2**downs, W / 2**downs, width * 2**downs]."""

    width: int
    downs: int
    blocks: int
    dtype: Any
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.astype(self.dtype)
        x = Conv(self.width, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="stem")(x)
        x = nn.relu(norms.instance_norm(x))
        for index in range(self.downs):
            features = self.width * 2 ** (index + 1)
            x = Conv(features, 4, 2, pad=1, pad_mode="reflect", dtype=self.dtype, name=f"down_{index}")(x)
            x = nn.relu(norms.instance_norm(x))
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, self.scale, name=f"block_{index}")(x)
        return x


class _StyleEncoder(nn.Module):
    """Images [B, H, W, C], of 2**downs pixels at least -> style codes [B, style_dim]; no norm takes style away."""

    style_dim: int
    width: int
    dtype: Any
    downs: int = STYLE_HALVINGS

    @nn.compact
    def __call__(self, x: Array) -> Array:
        reflected = dict(pad_mode="reflect", dtype=self.dtype)
        x = nn.relu(Conv(self.width, 7, pad=3, **reflected, name="stem")(x.astype(self.dtype)))
        for index in range(self.downs):
            features = self.width * 2 ** min(index + 1, 2)
            x = nn.relu(Conv(features, 4, 2, pad=1, **reflected, name=f"down_{index}")(x))
        x = norms.widened(x).mean((1, 2), keepdims=True)
        return Conv(self.style_dim, 1, name="code")(x)[:, 0, 0]


class _Decoder(nn.Module):
    """Content codes and AdaIN parameters [B, P] -> images in [-1, 1].

    Where it enlarges, norms are "adaptive" as TUNIT's, or take no parameters: "layer" as MUNIT's, which keep what the
    adaptive ones before them say, or "instance" as FUNIT's.
    """

    channels: int
    width: int
    downs: int
    blocks: int
    dtype: Any
    scale: float = 1.0
    norm: str = "adaptive"

    def norm_widths(self) -> list[int]:
        """Return the channels of every adaptive norm in the order in which they take their parameters."""
        top = self.width * 2**self.downs
        enlarging = [top // 2 ** (index + 1) for index in range(self.downs)] if self.norm == "adaptive" else []
        return [top] * (2 * self.blocks) + enlarging

    @nn.compact
    def __call__(self, x: Array, parameters: Array) -> Array:
        styles = split(parameters, self.norm_widths())
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, self.scale, name=f"block_{index}")(x, styles)
        for index in range(self.downs):
            features = self.width * 2 ** (self.downs - index - 1)
            x = convs.UpsampleConv(features, self.dtype, name=f"up_{index}")(x)
            if self.norm == "layer":
                x = norms.LayerNorm(name=f"norm_{index}")(x)
            elif self.norm == "instance":
                x = norms.instance_norm(x)
            else:
                x = norms.adaptive_instance_norm(x, *next(styles))
            x = nn.relu(x)
        x = Conv(self.channels, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="image")(x)
        return jnp.tanh(norms.widened(x))


def split(parameters: Array, widths: list[int]):
    """Yield (bias, weight) [B, C] of each norm of so many channels C: its first C numbers are the bias, the next C the
    weight."""
    start = 0
    for width in widths:
        yield parameters[:, start : start + width], parameters[:, start + width : start + 2 * width]
        start += 2 * width


def perceptron(width: int, norm_widths: list[int], layers: int = 3) -> list[nn.Dense]:
    """Return the layers that read the parameters of a decoder's adaptive norms, of so many channels, off a style."""
    widths = [width] * (layers - 1) + [2 * sum(norm_widths)]
    return [nn.Dense(features, kernel_init=convs.kaiming_fan_in) for features in widths]


def parameters_of(mlp: list[nn.Dense], style: Array) -> Array:
    """Return the parameters [B, P] that these layers read off style codes [B, D]."""
    *hidden, last = mlp
    for layer in hidden:
        style = nn.relu(layer(style))
    return last(style)


class AutoEncoder(nn.Module):
    """An image [B, H, W, C] to its content and style, and any two of these to an image.

    MUNIT's network of one domain; with `norm` "instance" FUNIT's of all classes. H and W are multiples of `multiple`,
    and `smallest` at least.
    """

    channels: int = 3
    style_dim: int = 8
    width: int = 64
    downs: int = 2
    blocks: int = 4
    mlp_width: int = 256
    mlp_layers: int = 3
    style_downs: int = STYLE_HALVINGS
    norm: str = "layer"
    dtype: Any = jnp.float32

    @property
    def multiple(self) -> int:
        return 2**self.downs

    def setup(self):
        self.style = _StyleEncoder(self.style_dim, self.width, self.dtype, self.style_downs)
        self.encoder = _ContentEncoder(self.width, self.downs, self.blocks, self.dtype)
        self.decoder = _Decoder(self.channels, self.width, self.downs, self.blocks, self.dtype, norm=self.norm)
        self.mlp = perceptron(self.mlp_width, self.decoder.norm_widths(), self.mlp_layers)

    def encode(self, images: Array) -> tuple[Array, Array]:
        """Return codes of content [B, H / multiple, W / multiple, width * multiple] and of style [B, D]."""
        return self.read_content(images), self.read_style(images)

    def read_content(self, images: Array) -> Array:
        return norms.widened(self.encoder(images))

    def read_style(self, images: Array) -> Array:
        return self.style(images)

    def decode(self, content: Array, style: Array) -> Array:
        """Generate images in [-1, 1] from both codes."""
        return self.decoder(content.astype(self.dtype), parameters_of(self.mlp, style))

    def __call__(self, images: Array) -> Array:
        return self.decode(*self.encode(images))


class Generator(nn.Module):
    """TUNIT's: translate the content of one image to the style of another.

    `image_size` fixes the depth (the bottleneck is `bottleneck` pixels a side at that size); the
    network takes images of any H and W that are multiples of `multiple`.
    """

    image_size: int
    channels: int = 3
    width: int = 64
    bottleneck: int = 16
    blocks: int = 2
    mlp_width: int = 256
    dtype: Any = jnp.float32

    @property
    def downs(self) -> int:
        return int(math.log2(self.image_size // self.bottleneck))

    @property
    def multiple(self) -> int:
        return 2**self.downs

    def setup(self):
        self.encoder = _ContentEncoder(self.width, self.downs, self.blocks, self.dtype, scale=0.1)
        self.decoder = _Decoder(self.channels, self.width, self.downs, self.blocks, self.dtype, scale=0.1)
        self.mlp = perceptron(self.mlp_width, self.decoder.norm_widths())

    def encode(self, images: Array) -> Array:
        """Return content codes [B, H / multiple, W / multiple, width * multiple] of images [B, H, W, C]."""
        return self.encoder(images)

    def decode(self, content: Array, style: Array) -> Array:
        """Generate images in [-1, 1] from content codes and style codes [B, D]."""
        return self.decoder(content, parameters_of(self.mlp, style))

    def __call__(self, images: Array, style: Array) -> Array:
        return self.decode(self.encode(images), style)
