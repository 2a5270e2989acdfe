"""DRIT's networks (arXiv:1808.00948; exact forms in the published code), each of both domains at once.

What goes in and comes out is {side: arrays}, of one side or of both. Convolutions reflect their borders.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import blocks, norms
from uit_jax.nn.convs import Conv, TransposedConv
from uit_jax.nn.resampling import average_pool, overlapping_pool
from uit_jax.types import Array

Sides = Mapping[str, Array]

DOWNS, CONTENT_KERNEL = 2, 4
MULTIPLE = 2**DOWNS

_normal = nn.initializers.normal(0.02)
_linear = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_leaky = functools.partial(nn.leaky_relu, negative_slope=0.01)


def _conv(features: int, kernel: int, stride: int = 1, pad: int = 0, **options: Any) -> Conv:
    return Conv(features, kernel, stride, pad, pad_mode="reflect", kernel_init=_normal, **options)


class _ResidualBlock(nn.Module):
    """x + (conv, norm, relu, conv, norm)(x)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return blocks.normalized(x, lambda _, y: norms.instance_norm(y), kernel_init=_normal, dtype=self.dtype)


def _together(layers: Callable[[Array], Array], maps: Sides) -> dict[str, Array]:
    """Return what layers make of the maps of the sides, equal in number, in one pass."""
    parts = jnp.split(layers(jnp.concatenate(list(maps.values()))), len(maps))
    return dict(zip(maps, parts, strict=True))


class _LayerNorm(nn.Module):
    """Normalise each image over H, W and C (biased variance), then scale and shift every channel."""

    @nn.compact
    def __call__(self, x: Array, epsilon: float = 1e-5) -> Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        mean, var = norms.moments(x, (1, 2, 3))
        return norms.scaled(x, mean, norms.per_channel(scale) * jax.lax.rsqrt(var + epsilon), norms.per_channel(bias))


class _OwnContent(nn.Module):
    """The layers of the content encoder that a domain has to itself."""

    width: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = _leaky(_conv(self.width, 7, pad=3, dtype=self.dtype, name="stem")(x.astype(self.dtype)))
        for index in range(DOWNS):
            x = _conv(self.width * 2 ** (index + 1), 3, 2, 1, dtype=self.dtype, name=f"down_{index}")(x)
            x = nn.relu(norms.instance_norm(x))
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, name=f"block_{index}")(x)
        return x


class ContentEncoder(nn.Module):
    """Images [B, H, W, C] -> content codes [B, H / 4, W / 4, 4 * width], the last block being both domains' own."""

    width: int = 64
    blocks: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Sides) -> dict[str, Array]:
        x = {side: _OwnContent(self.width, self.blocks, self.dtype, name=side)(x) for side, x in images.items()}
        codes = _together(_ResidualBlock(self.dtype, name="shared"), x)
        return {side: norms.widened(code) for side, code in codes.items()}


class _PooledBlock(nn.Module):
    """Activate and convolve twice, then halve, beside a halved shortcut: [B, H, W, C] -> [B, H/2, W/2, features]."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        for index, features in enumerate((x.shape[-1], self.features)):
            y = _conv(features, 3, pad=1, dtype=self.dtype, name=f"conv_{index}")(nn.leaky_relu(y, 0.2))
        return average_pool(y) + _conv(self.features, 1, dtype=self.dtype, name="shortcut")(average_pool(x))


class _Moments(nn.Module):
    """Mean and log variance [B, D] of an image's style."""

    features: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = _conv(self.width, 4, 2, 1, dtype=self.dtype, name="stem")(x.astype(self.dtype))
        for index in range(3):
            x = _PooledBlock((index + 2) * self.width, self.dtype, name=f"block_{index}")(x)
        x = norms.widened(nn.leaky_relu(x, 0.2)).mean((1, 2))
        return tuple(nn.Dense(self.features, kernel_init=_linear, name=n)(x) for n in ("mean", "log_variance"))


class _Code(nn.Module):
    """An image's style [B, D], which nothing samples."""

    features: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, None]:
        x = nn.relu(_conv(self.width, 7, pad=3, dtype=self.dtype, name="stem")(x.astype(self.dtype)))
        for index, factor in enumerate((2, 4, 4, 4)):
            x = nn.relu(_conv(factor * self.width, 4, 2, 1, dtype=self.dtype, name=f"down_{index}")(x))
        x = norms.widened(x).mean((1, 2), keepdims=True)
        return _conv(self.features, 1, dtype=x.dtype, name="code")(x)[:, 0, 0], None


class StyleEncoder(nn.Module):
    """Images [B, H, W, C], 16 px a side at least -> mean [B, D] and log variance of their style; featurewise None."""

    features: int = 8
    width: int = 64
    featurewise: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Sides) -> dict[str, tuple[Array, Array | None]]:
        kind = _Code if self.featurewise else _Moments
        return {side: kind(self.features, self.width, self.dtype, name=side)(x) for side, x in images.items()}


class _ConcatDecoder(nn.Module):
    """Content codes and styles [B, D], which join the channels again and again, -> images."""

    channels: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        def join(x: Array) -> Array:
            maps = jnp.broadcast_to(style[:, None, None], (*x.shape[:3], style.shape[-1]))
            return jnp.concatenate([x, maps.astype(x.dtype)], -1)

        x = join(x)
        for index in range(self.blocks):
            x = _ResidualBlock(self.dtype, name=f"block_{index}")(x)
        for index in range(DOWNS):
            x = _up(join(x), index, self.dtype)
        return _conv(self.channels, 1, dtype=self.dtype, name="image")(join(x))


class _StyledBlock(nn.Module):
    """x + (conv, norm, and the style mixed in by convolutions of 1 x 1, twice)(x)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        y, width = x, x.shape[-1]
        maps = jnp.broadcast_to(style[:, None, None], (*x.shape[:3], style.shape[-1])).astype(x.dtype)
        for index in range(2):
            y = norms.instance_norm(_conv(width, 3, pad=1, dtype=self.dtype, name=f"conv_{index}")(y))
            y = jnp.concatenate([y, maps], -1)
            y = nn.relu(_conv(2 * width, 1, dtype=self.dtype, name=f"mix_{index}_0")(y))
            y = nn.relu(_conv(width, 1, dtype=self.dtype, name=f"mix_{index}_1")(y))
        return x + y


class _FeaturewiseDecoder(nn.Module):
    """Content codes and styles [B, D], which change the features of every block, -> images."""

    channels: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        width = x.shape[-1]
        for index in range(2):
            style = nn.relu(nn.Dense(width, kernel_init=_linear, name=f"mlp_{index}")(style))
        style = nn.Dense(width * self.blocks, kernel_init=_linear, name="mlp_2")(style)
        for index, part in enumerate(jnp.split(style, self.blocks, -1)):
            x = _StyledBlock(self.dtype, name=f"block_{index}")(x, part)
        for index in range(DOWNS):
            x = _up(x, index, self.dtype)
        return _conv(self.channels, 1, dtype=self.dtype, name="image")(x)


def _up(x: Array, index: int, dtype: Any) -> Array:
    """Double H and W and halve the channels; the layers are the calling module's."""
    x = TransposedConv(x.shape[-1] // 2, kernel_init=_normal, dtype=dtype, name=f"up_{index}")(x)
    return nn.relu(_LayerNorm(name=f"norm_{index}")(x))


class Generator(nn.Module):
    """Content codes [B, h, w, C] by the side to draw them in, and styles [B, D] -> images [B, 4h, 4w, channels].

    Styles join the channels behind a block that both domains share; or, `featurewise`, change the features of one block
    more, where nothing is shared.
    """

    channels: int = 3
    blocks: int = 3
    featurewise: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, codes: Sides, styles: Sides) -> dict[str, Array]:
        x = {side: code.astype(self.dtype) for side, code in codes.items()}
        if self.featurewise:
            kind, count = _FeaturewiseDecoder, self.blocks + 1
        else:
            kind, count = _ConcatDecoder, self.blocks
            x = _together(_ResidualBlock(self.dtype, name="shared"), x)
        own = {side: kind(self.channels, count, self.dtype, name=side) for side in x}
        return {side: jnp.tanh(norms.widened(own[side](code, styles[side]))) for side, code in x.items()}


class _Discriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B, h, w, 1] at every scale, of which each halves the one before."""

    width: int
    scales: int
    layers: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        x, found, kernel = x.astype(self.dtype), [], 3 if self.scales == 1 else 4
        for scale in range(self.scales):
            y = x
            for index in range(self.layers):
                name = f"scale_{scale}_conv_{index}"
                y = _leaky(_conv(self.width * 2**index, kernel, 2, 1, dtype=self.dtype, name=name)(y))
            logits = _conv(1, 1, dtype=self.dtype, name=f"scale_{scale}_logits")(y)
            found.append(norms.widened(logits))
            x = overlapping_pool(x)
        return found


class Discriminator(nn.Module):
    """A discriminator for each domain: images [B, H, W, C] -> a list of logits [B, h, w, 1], at every scale."""

    width: int = 64
    scales: int = 3
    layers: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Sides) -> dict[str, list[Array]]:
        shape = self.width, self.scales, self.layers, self.dtype
        return {side: _Discriminator(*shape, name=side)(x) for side, x in images.items()}


def content_side(layers: int) -> int:
    """Return the smallest side of an image of whose content code `ContentDiscriminator` sees all that it has to."""
    return MULTIPLE * ((CONTENT_KERNEL + 3) * 2**layers - 3)


class ContentDiscriminator(nn.Module):
    """Tell of which domain content codes [B, h, w, C] are, A (low) or B: a list of one array of logits [B, h', w', 1].

    Codes of images of 212 to 240 px have one logit.
    """

    layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, codes: Sides) -> dict[str, list[Array]]:
        return {side: [logits] for side, logits in _together(self._tell, codes).items()}

    def _tell(self, x: Array) -> Array:
        x, width = x.astype(self.dtype), x.shape[-1]
        for index in range(self.layers):
            x = _leaky(_conv(width, 7, 2, 1, dtype=self.dtype, name=f"conv_{index}")(x))
        x = _leaky(_conv(width, CONTENT_KERNEL, dtype=self.dtype, name=f"conv_{self.layers}")(x))
        return norms.widened(_conv(1, 1, dtype=self.dtype, name="logits")(x))
