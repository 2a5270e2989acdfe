"""The networks that SinCUT builds of StyleGAN2's parts (arXiv:1912.04958; arXiv:2007.15651, Section 4.3), and noise."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from uit_jax.nn.equalized import (
    Layer,
    ResidualBlock,
    ResidualDiscriminator,
    activated,
    demodulated,
    doubled,
    noisy,
    scaled_weight,
)
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


class _UpLayer(nn.Module):
    """Double H and W: a demodulated transposed convolution, the blur, noise of a learned strength, an activation.

    StyleGAN2 scales the input's channels by a style first; here the style is one everywhere.
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, noise: Array) -> Array:
        weight = demodulated(scaled_weight(self, (3, 3, x.shape[-1], self.features), jnp.float32))
        y = noisy(self, doubled(x.astype(self.dtype), weight), noise)
        return activated(y, self.param("bias", nn.initializers.zeros_init(), (self.features,)))


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
        self.stem = Layer(outer, 1, dtype=self.dtype)
        self.down = ResidualBlock(inner, True, self.dtype)
        self.block = [ResidualBlock(inner, False, self.dtype) for _ in range(2 * BLOCKS)]
        self.up = _UpLayer(outer, self.dtype)
        self.image = Layer(self.target_channels, 1, dtype=self.dtype)

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


class StyleGAN2Discriminator(ResidualDiscriminator):
    """Discriminate images of S x S, a power of two, 8 at least; of one image's crops no statistics would say much."""

    image_size: int = 64
    width: int = 8
    dtype: Any = jnp.float32

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.features(4 << halving) for halving in reversed(range(int(math.log2(self.image_size)) - 1)))

    def features(self, side: int) -> int:
        """Return the channels of maps of a side."""
        return max(1, min(384, 256 * self.width // side))
