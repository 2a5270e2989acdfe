"""The ResNet translator of CycleGAN and CUT (arXiv:1703.10593, arXiv:2007.15651; exact forms in the published code).

Its features are what a patch loss compares, so that every layer has the number it has in the published code ("tap"): 0
is the padded image, 4 the first down-convolution, and so on.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, norms
from uit_jax.nn.convs import Conv, NarrowConv, TransposedConv, bordered, initializer
from uit_jax.nn.norms import Norm
from uit_jax.nn.resampling import blur_down, blur_up
from uit_jax.types import Array, PyTree, Stage

# The pixels around a tile on which a part's outputs inside it depend, in pixels of the part's input; that of the
# residual blocks is for each of them. They hold with and without anti-aliasing, which reaches farther.
ENCODE_HALO, BLOCK_HALO, DECODE_HALO = 9, 2, 3

DOWNS = 2
PAD = 3


def pad(x: Array, border: str = "reflect") -> Array:
    """Continue images by `PAD` pixels on every side."""
    return bordered(x, PAD, border)


class _ResidualBlock(nn.Module):
    """x + (conv, norm, relu, conv, norm)(x)."""

    norm: str
    border: str
    initializer: str
    gain: float
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, normalize: Callable, train: bool) -> Array:
        def norm(index: int, x: Array) -> Array:
            return Norm(self.norm, self.gain, self.axis_name, name=f"norm_{index}")(x, normalize, train)

        kernel_init = initializer(self.initializer, self.gain)
        options = dict(use_bias=norms.leaves_bias(self.norm), kernel_init=kernel_init, dtype=self.dtype)
        return blocks.normalized(x, norm, border=self.border, **options)


class ResNetGenerator(nn.Module):
    """Translate images [B, H, W, C] to [B, H, W, target_channels] in [-1, 1]; H and W are multiples of 4, 8 at least.

    Two down-convolutions, residual blocks, two up-convolutions; anti-aliasing blurs before every change of size.
    `encode`, every residual block and `decode` are its parts; one after the other they are the whole.

    Attributes:
      norm: "instance", "affine", "batch" (over the global batch with `axis_name`) or "none".
      border: what images and maps are continued by, "reflect" or "zero".
      initializer, gain: see `initializer`.
    """

    channels: int = 3
    target_channels: int = 3
    width: int = 64
    blocks: int = 9
    antialias: bool = True
    antialias_up: bool = True
    norm: str = "instance"
    border: str = "reflect"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def setup(self):
        kernel_init = initializer(self.initializer, self.gain)
        options = dict(use_bias=norms.leaves_bias(self.norm), kernel_init=kernel_init, dtype=self.dtype)
        stride = 1 if self.antialias else 2
        self.stem = Conv(self.width, 2 * PAD + 1, **options)
        self.down = [Conv(self.width * 2 ** (i + 1), 3, stride, pad=1, **options) for i in range(DOWNS)]
        rest = (self.norm, self.border, self.initializer, self.gain, self.axis_name, self.dtype)
        self.block = [_ResidualBlock(*rest) for _ in range(self.blocks)]
        features = [self.width * 2 ** (DOWNS - 1 - i) for i in range(DOWNS)]
        if self.antialias_up:
            self.up = [Conv(count, 3, pad=1, **options) for count in features]
        else:
            self.up = [TransposedConv(count, **options) for count in features]
        self.image = NarrowConv(self.target_channels, 2 * PAD + 1, kernel_init=kernel_init, dtype=self.dtype)
        self.norm_down = [Norm(self.norm, self.gain, self.axis_name) for _ in range(1 + DOWNS)]
        self.norm_up = [Norm(self.norm, self.gain, self.axis_name) for _ in range(DOWNS)]

    def __call__(self, x: Array, *, taps: tuple[int, ...] = (), train: bool = False):
        """Return images, or (images, {tap: features [B, h, w, c]}) where taps are given."""
        encoder, blocks, decoder = self._layers(norms.instance_norm, train)
        x, found = self._run(x, encoder + blocks + decoder, taps)
        return (x, found) if taps else x

    def features(self, x: Array, taps: tuple[int, ...], train: bool = False) -> dict[int, Array]:
        """Return {tap: features [B, h, w, c]}; the layers past the last tap are left out."""
        encoder, blocks, decoder = self._layers(norms.instance_norm, train)
        return self._run(x, (encoder + blocks + decoder)[: max(taps) + 1], taps)[1]

    def encode(self, x: Array, normalize: Callable = norms.instance_norm, train: bool = False) -> Array:
        """Return codes [B, H / 4, W / 4, 4 * width] of images; `normalize` stands in for every instance norm."""
        return self._run(x, self._layers(normalize, train)[0])[0]

    def decode(self, x: Array, normalize: Callable = norms.instance_norm, train: bool = False) -> Array:
        """Generate images in [-1, 1] from codes."""
        return self._run(x, self._layers(normalize, train)[2])[0]

    def _run(self, x: Array, steps: list[Callable], taps: tuple[int, ...] = ()) -> tuple[Array, dict[int, Array]]:
        x, found = x.astype(self.dtype), {}
        for number, layer in enumerate(steps):
            x = layer(x)
            if number in taps:
                found[number] = x
        return x, found

    def _layers(self, normalize: Callable, train: bool) -> tuple[list[Callable], list[Callable], list[Callable]]:
        """Return the layers of the three parts in the order that numbers them."""
        options = dict(normalize=normalize, train=train)
        down = [functools.partial(norm, **options) for norm in self.norm_down]
        padding = functools.partial(pad, border=self.border)
        encoder = [padding, self.stem, down[0], nn.relu]
        for conv, norm in zip(self.down, down[1:], strict=True):
            encoder += [conv, norm, nn.relu] + [blur_down] * self.antialias
        blocks = [functools.partial(block, **options) for block in self.block]
        decoder = []
        for conv, norm in zip(self.up, self.norm_up, strict=True):
            decoder += [blur_up] * self.antialias_up + [conv, functools.partial(norm, **options), nn.relu]
        return encoder, blocks, decoder + [padding, self.image, _squash]

    @nn.nowrap
    def stages(self) -> tuple[Stage, ...]:
        """Return the network in parts that can be run in tiles, each on this network's variables.

        What tiling compiles is kept by a stage's `run`: equal networks have equal ones, but who wraps them (as a method
        does that prepares the image) must keep the wrapped tuple, in a cached property say, and not make it anew.
        """
        # A stage of its own for each block: tiles pass through a stage once more than it has norms.
        return (
            Stage(_Part(self, "encode"), 0.25, ENCODE_HALO),
            *(Stage(_Part(self, "block", index), 1.0, BLOCK_HALO) for index in range(self.blocks)),
            Stage(_Part(self, "decode"), 4.0, DECODE_HALO),
        )

    @nn.nowrap
    def tap_sizes(self, height: int, width: int) -> dict[int, tuple[int, int]]:
        """Return height and width of the features at every tap, for images of `height` x `width`."""
        return {tap: (rows(height), rows(width)) for tap, (rows, _) in enumerate(self._shapes())}

    @nn.nowrap
    def tap_channels(self) -> dict[int, int]:
        """Return the number of channels at every tap."""
        return {tap: channels for tap, (_, channels) in enumerate(self._shapes())}

    @nn.nowrap
    def _shapes(self) -> list[tuple[Callable[[int], int], int]]:
        """Return of every layer the side of its output, by that of the image, and its channels."""

        def down(level):
            return lambda side: -(-side // 2**level)

        def up(level):
            return lambda side: down(DOWNS)(side) * 2 ** (DOWNS - level)

        def padded(side):
            return side + 2 * PAD

        found = [(padded, self.channels)] + [(down(0), self.width)] * 3
        for level in range(1, DOWNS + 1):
            channels = self.width * 2**level
            if self.antialias:
                found += [(down(level - 1), channels)] * 3 + [(down(level), channels)]
            else:
                found += [(down(level), channels)] * 3
        found += [(down(DOWNS), self.width * 2**DOWNS)] * self.blocks
        for level in range(DOWNS - 1, -1, -1):
            sides = up(level)
            found += [(sides, self.width * 2 ** (level + 1))] * self.antialias_up + [(sides, self.width * 2**level)] * 3
        last = up(0)
        found += [(lambda side: padded(last(side)), self.width)] + [(last, self.target_channels)] * 2
        return found


@dataclasses.dataclass(frozen=True)
class _Part:
    """What a stage of a generator runs: "encode", "decode", or the "block" of an index."""

    network: ResNetGenerator
    name: str
    index: int = 0

    def __call__(self, variables: PyTree, maps: Array, normalize: Callable, origin: Array) -> Array:
        """Apply the part to maps; see `Stage`."""

        def apply(network: ResNetGenerator, maps: Array) -> Array:
            part = network.block[self.index] if self.name == "block" else getattr(network, self.name)
            return part(maps, normalize, False)

        return self.network.apply(variables, maps, method=apply)


def _squash(x: Array) -> Array:
    return jnp.tanh(norms.widened(x))
