"""The networks of CUT and FastCUT (arXiv:2007.15651; exact forms in the published code).

The generator's features are what the patch loss compares, so that every layer of it has the number it has in the
published code ("tap"): 0 is the padded image, 4 the first down-convolution, and so on.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import layers
from uit_jax.nn.layers import Conv, NarrowConv
from uit_jax.types import Array

# The pixels around a tile on which a stage's outputs inside it depend, in pixels of the stage's input; that of the
# residual blocks is for each of them. They hold with and without anti-aliasing, which reaches farther.
ENCODE_HALO = 9
TRANSFORM_HALO = 2
DECODE_HALO = 3

DOWNS = 2
PAD = 3


def initializer(name: str, gain: float = 0.02) -> Callable:
    """Return the Flax initialiser of weights that torch's has by this name.

    "xavier": normal of std gain * sqrt(2 / (k * k * (in + out))); "normal": of std gain; "kaiming": of std
    sqrt(2 / (k * k * in)), whatever the gain; "orthogonal": orthonormal rows times the gain.
    """
    if name == "kaiming":
        return layers.kaiming_fan_in
    return {
        "xavier": nn.initializers.variance_scaling(gain**2, "fan_avg", "normal"),
        "normal": nn.initializers.normal(gain),
        "orthogonal": nn.initializers.orthogonal(gain),
    }[name]


def blur_down(x: Array) -> Array:
    """Halve H and W (rounding up), blurred by [1, 2, 1] / 4 along each axis, borders reflected; both 2 at least."""
    for axis in (1, 2):
        even, odd = (jax.lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
        pairs = odd.shape[axis]
        before = jnp.concatenate([jax.lax.slice_in_dim(odd, 0, 1, axis=axis), odd], axis)
        before = jax.lax.slice_in_dim(before, 0, even.shape[axis], axis=axis)
        if pairs < even.shape[axis]:
            odd = jnp.concatenate([odd, jax.lax.slice_in_dim(odd, pairs - 1, pairs, axis=axis)], axis)
        x = 0.5 * even + 0.25 * (before + odd)
    return x


def blur_up(x: Array) -> Array:
    """Double H and W, blurred by [1, 3, 3, 1] / 4 along each axis (bilinear at half pixels), borders repeated."""
    for axis in (1, 2):
        count = x.shape[axis]
        before = jnp.concatenate(
            [jax.lax.slice_in_dim(x, 0, 1, axis=axis), jax.lax.slice_in_dim(x, 0, count - 1, axis=axis)], axis
        )
        after = jnp.concatenate(
            [jax.lax.slice_in_dim(x, 1, count, axis=axis), jax.lax.slice_in_dim(x, count - 1, count, axis=axis)], axis
        )
        x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = x.reshape(*x.shape[:axis], 2 * count, *x.shape[axis + 2 :])
    return x


def pad_reflect(x: Array) -> Array:
    """Continue images by `PAD` reflected pixels on every side."""
    return jnp.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")


class _Norm(nn.Module):
    """The norm of this kind: "instance" calls `normalize`, "batch" has statistics of its own, "none" does nothing."""

    kind: str
    gain: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, normalize: Callable = layers.instance_norm, train: bool = False) -> Array:
        if self.kind == "instance":
            return normalize(x)
        if self.kind == "batch":
            scale = functools.partial(_around_one, deviation=self.gain)
            return layers.BatchNorm(self.axis_name, scale_init=scale, name="batch")(x, train=train)
        return x


def _around_one(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, *, deviation: float) -> Array:
    return 1 + deviation * jax.random.normal(key, shape, dtype)


# The two fine pixels of a coarse one (rows), by the coarse pixel and the next (columns) and the kernel's three taps:
# coarse pixel i adds tap k to the fine pixel 2 i - 1 + k.
_BETWEEN = (((0, 1, 0), (0, 0, 0)), ((0, 0, 1), (1, 0, 0)))


class _UpConv(nn.Module):
    """Double H and W by a transposed 3 x 3 convolution: [B, H, W, in] -> [B, 2H, 2W, features].

    Its taps are sorted by the fine pixels they add to, which leaves a 2 x 2 kernel on the coarse grid for each of the
    four fine pixels of a coarse one.
    """

    features: int
    use_bias: bool
    kernel_init: Callable
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, height, width, channels = x.shape
        kernel = self.param("kernel", self._drawn, (3, 3, channels, self.features)).astype(self.dtype)
        taps = jnp.array(_BETWEEN, self.dtype)
        coarse = jnp.einsum("sap,tbq,pqio->abisto", taps, taps, kernel).reshape(2, 2, channels, 4 * self.features)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype), coarse, (1, 1), ((0, 1), (0, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = y.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + layers.per_channel(bias.astype(self.dtype))
        return y

    def _drawn(self, key: Array, shape: tuple[int, ...]) -> Array:
        # Torch keeps transposed kernels as (in, out), and its initialisers take the first for the output.
        return self.kernel_init(key, (3, 3, shape[3], shape[2])).swapaxes(2, 3)


class _ResidualBlock(nn.Module):
    """x + (conv, norm, relu, conv, norm)(x), borders reflected."""

    norm: str
    initializer: str
    gain: float
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, normalize: Callable, train: bool) -> Array:
        y = x
        for index in range(2):
            y = Conv(
                x.shape[-1],
                3,
                pad=1,
                pad_mode="reflect",
                use_bias=self.norm == "instance",
                kernel_init=initializer(self.initializer, self.gain),
                dtype=self.dtype,
                name=f"conv_{index}",
            )(y)
            y = _Norm(self.norm, self.gain, self.axis_name, name=f"norm_{index}")(y, normalize, train)
            y = nn.relu(y) if index == 0 else y
        return x + y


class ResNetGenerator(nn.Module):
    """Translate images [B, H, W, C] to [B, H, W, target_channels] in [-1, 1]; H and W are multiples of 4, 8 at least.

    Two down-convolutions, residual blocks, two up-convolutions; anti-aliasing blurs before every change of size.
    `encode`, `transform` and `decode` are its parts; one after the other they are the whole.

    Attributes:
      norm: "instance", "batch" (over the global batch with `axis_name`) or "none".
      initializer, gain: see `initializer`.
    """

    channels: int = 3
    target_channels: int = 3
    width: int = 64
    blocks: int = 9
    antialias: bool = True
    antialias_up: bool = True
    norm: str = "instance"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def setup(self):
        drawn = initializer(self.initializer, self.gain)
        # A norm that subtracts a mean makes a bias needless; the published code drops it for all but instance norm.
        options = dict(use_bias=self.norm == "instance", kernel_init=drawn, dtype=self.dtype)
        stride = 1 if self.antialias else 2
        self.stem = Conv(self.width, 2 * PAD + 1, **options)
        self.down = [Conv(self.width * 2 ** (i + 1), 3, stride, pad=1, **options) for i in range(DOWNS)]
        rest = (self.norm, self.initializer, self.gain, self.axis_name, self.dtype)
        self.block = [_ResidualBlock(*rest) for _ in range(self.blocks)]
        features = [self.width * 2 ** (DOWNS - 1 - i) for i in range(DOWNS)]
        if self.antialias_up:
            self.up = [Conv(count, 3, pad=1, **options) for count in features]
        else:
            self.up = [_UpConv(count, **options) for count in features]
        self.image = NarrowConv(self.target_channels, 2 * PAD + 1, kernel_init=drawn, dtype=self.dtype)
        self.norm_down = [_Norm(self.norm, self.gain, self.axis_name) for _ in range(1 + DOWNS)]
        self.norm_up = [_Norm(self.norm, self.gain, self.axis_name) for _ in range(DOWNS)]

    def __call__(self, x: Array, *, taps: tuple[int, ...] = (), train: bool = False):
        """Return images, or (images, {tap: features [B, h, w, c]}) where taps are given."""
        encoder, blocks, decoder = self._layers(layers.instance_norm, train)
        x, found = self._run(x, encoder + blocks + decoder, taps)
        return (x, found) if taps else x

    def features(self, x: Array, taps: tuple[int, ...], train: bool = False) -> dict[int, Array]:
        """Return {tap: features [B, h, w, c]}; the layers past the last tap are left out."""
        encoder, blocks, decoder = self._layers(layers.instance_norm, train)
        return self._run(x, (encoder + blocks + decoder)[: max(taps) + 1], taps)[1]

    def encode(self, x: Array, normalize: Callable = layers.instance_norm, train: bool = False) -> Array:
        """Return codes [B, H / 4, W / 4, 4 * width] of images; `normalize` stands in for every instance norm."""
        return self._run(x, self._layers(normalize, train)[0])[0]

    def transform(self, x: Array, normalize: Callable = layers.instance_norm, train: bool = False) -> Array:
        """Apply the residual blocks to codes."""
        return self._run(x, self._layers(normalize, train)[1])[0]

    def decode(self, x: Array, normalize: Callable = layers.instance_norm, train: bool = False) -> Array:
        """Draw images in [-1, 1] from codes."""
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
        encoder = [pad_reflect, self.stem, down[0], nn.relu]
        for conv, norm in zip(self.down, down[1:], strict=True):
            encoder += [conv, norm, nn.relu] + [blur_down] * self.antialias
        blocks = [functools.partial(block, **options) for block in self.block]
        decoder = []
        for conv, norm in zip(self.up, self.norm_up, strict=True):
            decoder += [blur_up] * self.antialias_up + [conv, functools.partial(norm, **options), nn.relu]
        return encoder, blocks, decoder + [pad_reflect, self.image, _squash]

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


def _squash(x: Array) -> Array:
    return jnp.tanh(x.astype(jnp.float32))


def smallest(layers: int = 3) -> int:
    """Return the smallest side of an image of which `PatchDiscriminator` judges a patch."""
    return 3 * 2 ** max(layers, 1)


class PatchDiscriminator(nn.Module):
    """Judge overlapping patches of images: [B, H, W, C] -> logits [B, h, w, 1].

    `layers` halvings, then two convolutions; sides of `smallest(layers)` at least. With three layers and
    anti-aliasing a logit sees 84 pixels a side (70 without).
    """

    width: int = 64
    layers: int = 3
    antialias: bool = True
    norm: str = "instance"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        x, halvings = x.astype(self.dtype), max(self.layers, 1)
        for index in range(halvings + 1):
            halves = index < halvings
            x = self._conv(
                self.width * min(2 ** min(index, self.layers), 8),
                stride=2 if halves and not self.antialias else 1,
                use_bias=index == 0 or self.norm == "instance",
                name=f"conv_{index}",
            )(x)
            if index > 0:
                norm = _Norm(self.norm, self.gain, self.axis_name, name=f"norm_{index}")
                x = norm(x, train=train)
            x = nn.leaky_relu(x, 0.2)
            x = blur_down(x) if halves and self.antialias else x
        return self._conv(1, name="logits")(x).astype(jnp.float32)

    def _conv(self, features: int, **options) -> Conv:
        drawn = initializer(self.initializer, self.gain)
        return Conv(features, 4, pad=1, kernel_init=drawn, dtype=self.dtype, **options)


class PixelDiscriminator(nn.Module):
    """Judge every pixel by its colour alone (arXiv:1611.07004, appendix 6.1.2): [B, H, W, C] -> logits [B, H, W, 1]."""

    width: int = 64
    norm: str = "instance"
    initializer: str = "xavier"
    gain: float = 0.02
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        options = dict(kernel_init=initializer(self.initializer, self.gain), dtype=self.dtype)
        inner = options | dict(use_bias=self.norm == "instance")
        x = nn.leaky_relu(Conv(self.width, 1, **options, name="conv_0")(x.astype(self.dtype)), 0.2)
        x = Conv(2 * self.width, 1, **inner, name="conv_1")(x)
        x = _Norm(self.norm, self.gain, self.axis_name, name="norm_1")(x, train=train)
        x = nn.leaky_relu(x, 0.2)
        return Conv(1, 1, **inner, name="logits")(x).astype(jnp.float32)


class PatchMLP(nn.Module):
    """Map features of patches to codes, by two layers of each tap's own: {tap: [B, P, C]} -> {tap: [B, P, dim]}."""

    dim: int = 256
    initializer: str = "xavier"
    gain: float = 0.02

    @nn.compact
    def __call__(self, features: dict[int, Array]) -> dict[int, Array]:
        codes, drawn = {}, initializer(self.initializer, self.gain)
        for tap, x in sorted(features.items()):
            x = nn.relu(nn.Dense(self.dim, kernel_init=drawn, name=f"tap_{tap}_0")(x))
            codes[tap] = nn.Dense(self.dim, kernel_init=drawn, name=f"tap_{tap}_1")(x)
        return codes
