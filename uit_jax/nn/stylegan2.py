"""StyleGAN2's parts (arXiv:1912.04958), and the networks that SinCUT builds of them (arXiv:2007.15651, Section 4.3).

Weights are N(0, 1) and scaled when they are used ("equalised learning rate"), so that Adam moves all of them at one
relative rate. Sizes change behind the filter [1, 3, 3, 1], borders zero.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.nn import norms
from uit_jax.nn.convolution import convolve
from uit_jax.nn.convs import bordered, sub_pixel
from uit_jax.types import Array, PyTree, Stage

# The pixels around a tile on which the generator's outputs inside it depend.
HALO = 29

BLOCKS = 3
TEXTURE = 256


def position_noise(height: int, width: int, origin: Array) -> Array:
    """Return noise N(0, 1) [1, H, W, 1] that depends on a pixel's place alone, so that tiles of an image agree.

    `origin` (row, column) is the place of the first pixel. It repeats after `TEXTURE` pixels.
    """
    texture = jnp.asarray(_texture())
    rows, columns = ((origin[axis] + jnp.arange(side)) % TEXTURE for axis, side in enumerate((height, width)))
    return texture[rows][:, columns][None, :, :, None]


@functools.cache
def _texture() -> np.ndarray:
    return np.random.RandomState(0).standard_normal((TEXTURE, TEXTURE)).astype(np.float32)


def blur(x: Array, pad: int, stride: int = 1, gain: float = 1.0) -> Array:
    """Filter by gain * [1, 3, 3, 1] / 8 along each axis, after `pad` zeros on every side.

    Of the side + 2 * pad - 3 places of the filter, every `stride`-th is kept.
    """
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    for axis in (1, 2):
        count = x.shape[axis] - 3
        first, second, third, fourth = (
            jax.lax.slice_in_dim(x, start, start + count, stride, axis) for start in range(4)
        )
        x = (0.125 * gain) * (first + fourth) + (0.375 * gain) * (second + third)
    return x


def _weight(module: nn.Module, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the module's kernel, N(0, 1) at first, times 1 / sqrt(inputs of one output)."""
    kernel = module.param("kernel", nn.initializers.normal(1.0), shape)
    return (kernel / math.sqrt(math.prod(shape[:-1]))).astype(dtype)


def _activated(x: Array, bias: Array) -> Array:
    """Add a bias and apply a leaky rectifier that keeps the variance."""
    return nn.leaky_relu(x + norms.per_channel(bias.astype(x.dtype)), 0.2) * math.sqrt(2)


class _Layer(nn.Module):
    """Convolve, add a bias and activate (or neither): [B, H, W, C] -> [B, H, W, features], sides halved if `down`."""

    features: int
    kernel: int
    down: bool = False
    activate: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = self.kernel
        weight = _weight(self, (size, size, x.shape[-1], self.features), self.dtype)
        x, stride, pad = x.astype(self.dtype), 1, size // 2
        if self.down:
            # A 1 x 1 kernel reads every second pixel only, so that no other need be filtered.
            stride, pad = (1, 0) if size == 1 else (2, 0)
            x = blur(x, 1 + size // 2, stride=2 if size == 1 else 1)
        x = convolve(x, weight, stride, (pad, pad))
        if self.activate:
            x = _activated(x, self.param("bias", nn.initializers.zeros_init(), (self.features,)))
        return x


class _ResidualBlock(nn.Module):
    """(shortcut + two layers) / sqrt(2), sides halved if `down`."""

    features: int
    down: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = _Layer(x.shape[-1], 3, dtype=self.dtype, name="layer_0")(x)
        y = _Layer(self.features, 3, self.down, dtype=self.dtype, name="layer_1")(y)
        if self.down or x.shape[-1] != self.features:
            x = _Layer(self.features, 1, self.down, activate=False, dtype=self.dtype, name="shortcut")(x)
        return (x + y) / math.sqrt(2)


# The two fine pixels of a coarse one, by the coarse pixel before it and itself: coarse pixel i adds tap k to the fine
# pixel 2 i + k.
_TRANSPOSED = ((0, 0, 1), (1, 0, 0)), ((0, 0, 0), (0, 1, 0))


class _UpLayer(nn.Module):
    """Double H and W: a demodulated transposed convolution, the blur, noise of a learned strength, an activation.

    StyleGAN2 scales the input's channels by a style first; here the style is one everywhere. Demodulation divides by
    the norm of an output's weights (arXiv:1912.04958, Eq. 3).
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, noise: Array) -> Array:
        weight = _weight(self, (3, 3, x.shape[-1], self.features), jnp.float32)
        weight = weight * jax.lax.rsqrt(jnp.square(weight).sum((0, 1, 2), keepdims=True) + 1e-8)
        # Padded beforehand: XLA's CPU compiler finds no fast kernel gradient for a kernel of 2 with padding 1.
        y = sub_pixel(bordered(x.astype(self.dtype)), weight, _TRANSPOSED)
        y = blur(y[:, :-1, :-1], 1, gain=2.0)
        strength = self.param("strength", nn.initializers.zeros_init(), (1,))
        y = y + (norms.per_channel(strength) * noise).astype(self.dtype)
        return _activated(y, self.param("bias", nn.initializers.zeros_init(), (self.features,)))


class StyleGAN2Generator(nn.Module):
    """Translate images: [B, H, W, C], noise [B, H, W, 1] -> [B, H, W, target_channels], not bounded; H and W even.

    Down to half the size, six residual blocks, up again. Nothing is normalised, so that it can run in tiles.
    """

    channels: int = 3
    target_channels: int = 3
    width: int = 10
    dtype: Any = jnp.float32

    @property
    def widths(self) -> tuple[int, int]:
        return 8 * self.width, min(16 * self.width, 512)

    def setup(self):
        outer, inner = self.widths
        self.stem = _Layer(outer, 1, dtype=self.dtype)
        self.down = _ResidualBlock(inner, True, self.dtype)
        self.block = [_ResidualBlock(inner, False, self.dtype) for _ in range(2 * BLOCKS)]
        self.up = _UpLayer(outer, self.dtype)
        self.image = _Layer(self.target_channels, 1, dtype=self.dtype)

    def __call__(self, x: Array, noise: Array, *, taps: tuple[int, ...] = ()):
        """Return images, or (images, {tap: features [B, h, w, c]}) where taps are given."""
        encoder = self._encoder()
        x, found = self._run(x, encoder, taps)
        for block in self.block[BLOCKS:]:
            x = block(x)
        images = self.image(self.up(x, noise)).astype(jnp.float32)
        return (images, found) if taps else images

    def features(self, x: Array, taps: tuple[int, ...]) -> dict[int, Array]:
        """Return {tap: features [B, h, w, c]}: 0 is the image, 2 and 4 are residual blocks; later ones are left out."""
        return self._run(x, self._encoder()[: max(taps) + 1], taps)[1]

    def _encoder(self) -> list[Callable]:
        return [lambda x: x, self.stem, self.down, *self.block[:BLOCKS]]

    def _run(self, x: Array, steps: list[Callable], taps: tuple[int, ...]) -> tuple[Array, dict[int, Array]]:
        x, found = x.astype(self.dtype), {}
        for number, layer in enumerate(steps):
            x = layer(x)
            if number in taps:
                found[number] = x
        return x, found

    @nn.nowrap
    def stages(self) -> tuple[Stage, ...]:
        """Return the network as one part that can be run in tiles, on its variables, with `position_noise`.

        Its images are clipped to [-1, 1]. As of `ResNetGenerator.stages`, who wraps it must keep what is wrapped.
        """
        return (Stage(_Whole(self), 1.0, HALO),)

    @nn.nowrap
    def tap_sizes(self, height: int, width: int) -> dict[int, tuple[int, int]]:
        """Return height and width of the features at every tap, for images of `height` x `width`."""
        return {tap: (height, width) if tap < 2 else (height // 2, width // 2) for tap in self.tap_channels()}

    @nn.nowrap
    def tap_channels(self) -> dict[int, int]:
        """Return the number of channels at every tap."""
        return dict(enumerate((self.channels, self.widths[0]) + (self.widths[1],) * (1 + BLOCKS)))


@dataclasses.dataclass(frozen=True)
class _Whole:
    """What the one stage of a generator runs."""

    network: StyleGAN2Generator

    def __call__(self, variables: PyTree, maps: Array, normalize: Callable, origin: Array) -> Array:
        """Apply the network to maps, with noise that depends on their place; see `Stage`."""
        noise = position_noise(*maps.shape[1:3], origin)
        noise = jnp.broadcast_to(noise, (maps.shape[0], *noise.shape[1:]))
        return self.network.apply(variables, maps, noise).clip(-1, 1)


class StyleGAN2Discriminator(nn.Module):
    """Discriminate whole images: [B, S, S, C] -> logits [B, 1]; S is `image_size`, a power of two, 8 at least.

    StyleGAN2's residual discriminator without its minibatch statistics, which crops of one image would have little of.
    """

    image_size: int = 64
    width: int = 8
    dtype: Any = jnp.float32

    def features(self, side: int) -> int:
        """Return the channels of maps of a side."""
        return max(1, min(384, 256 * self.width // side))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        side = self.image_size
        x = _Layer(self.features(side), 1, dtype=self.dtype, name="stem")(x)
        for index in range(int(math.log2(side)) - 2):
            side //= 2
            x = _ResidualBlock(self.features(side), True, self.dtype, name=f"block_{index}")(x)
        x = _Layer(self.features(side), 3, dtype=self.dtype, name="last")(x)
        # The channels come first, as in the published weights.
        x = x.astype(jnp.float32).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = _Linear(self.features(side), name="dense")(x)
        x = nn.leaky_relu(x, 0.2) * math.sqrt(2)
        return _Linear(1, name="logit")(x)


class _Linear(nn.Module):
    """A linear layer whose weights are scaled when they are used: [B, C] -> [B, features]."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = _weight(self, (x.shape[-1], self.features), jnp.float32)
        return x @ weight + self.param("bias", nn.initializers.zeros_init(), (self.features,))[None]
