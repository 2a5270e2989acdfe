"""StarGAN v2's networks (arXiv:1912.01865, Tables 5 to 8) and CLUIT's three of them (arXiv:2105.03117, Tables 4 to 6).

CLUIT's tables are for 128 px, StarGAN v2's for 256. At another size there are as many halvings as it takes to the same
4 x 4, and for the generator to the same bottleneck; widths double up to `max_width`. The two differ in the layers next
to the images: CLUIT's convolutions there are 1 x 1, and its last one has neither norm nor activation before it.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import blocks, convs, norms, resampling
from uit_jax.nn.convs import Conv, RepeatedConv
from uit_jax.types import Array


class _Affine(nn.Module):
    """Instance norm with a learned scale and shift of every channel."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return norms.adaptive_instance_norm(x, bias[None], scale[None])


class _Adaptive(nn.Module):
    """Instance norm, then (1 + gamma) x + beta, with gamma and beta linear in the style [B, D]."""

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        both = nn.Dense(2 * x.shape[-1], kernel_init=convs.kaiming_fan_in, name="style")(style)
        gamma, beta = jnp.split(both, 2, axis=-1)
        return norms.adaptive_instance_norm(x, beta, 1 + gamma)


class ResidualBlock(nn.Module):
    """Activate, convolve, halve, activate, convolve, beside a shortcut: [B, H, W, C] -> [B, H/2, W/2, features].

    `norm` puts an instance norm before each activation; without `down` the size is kept.
    """

    features: int
    down: bool = True
    norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        def activate(index: int, x: Array) -> Array:
            return nn.leaky_relu(_Affine(name=f"norm_{index}")(x) if self.norm else x, 0.2)

        size = "half" if self.down else "same"
        return blocks.preactivated(x, activate, x.shape[-1], self.features, size=size, dtype=self.dtype)


class StyledBlock(nn.Module):
    """Normalise by a style, activate, double, convolve, and again: [B, H, W, C] -> [B, 2H, 2W, features].

    Without `up` the size is kept. Without `shortcut` what the convolutions make is all. With `smooth` pixels are not
    repeated but interpolated.
    """

    features: int
    up: bool = False
    shortcut: bool = True
    smooth: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        def activate(index: int, x: Array) -> Array:
            return nn.leaky_relu(_Adaptive(name=f"norm_{index}")(x, style), 0.2)

        if not self.shortcut:
            first = RepeatedConv if self.up else functools.partial(Conv, kernel=3, pad=1)
            y = first(self.features, dtype=self.dtype, name="conv_0")(activate(0, x))
            y = resampling.smoothed(y) if self.smooth and self.up else y
            return Conv(self.features, 3, pad=1, dtype=self.dtype, name="conv_1")(activate(1, y))
        how = dict(size="double" if self.up else "same", smooth=self.smooth, dtype=self.dtype)
        return blocks.preactivated(x, activate, self.features, self.features, **how)


class Trunk(nn.Module):
    """Convolve, k x k at first, and halve images down to 4 x 4: [B, S, S, C] -> [B, 4, 4, W]."""

    image_size: int
    width: int = 64
    max_width: int = 512
    image_kernel: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        k = self.image_kernel
        x = Conv(self.width, k, pad=k // 2, dtype=self.dtype, name="image")(images.astype(self.dtype))
        for index in range(int(math.log2(self.image_size)) - 2):
            features = min(self.width * 2 ** (index + 1), self.max_width)
            x = ResidualBlock(features, dtype=self.dtype, name=f"block_{index}")(x)
        return x


class Branch(nn.Module):
    """Two fully connected layers on a trunk's 4 x 4: [B, 4, 4, W] -> float32 [B, features].

    With `domains` above 0 each of these has a last layer of its own: [B, domains, features].
    """

    features: int
    domains: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(x.shape[-1], 4, dtype=self.dtype, name="conv")(nn.leaky_relu(x, 0.2))
        x = nn.leaky_relu(x, 0.2)[:, 0, 0].astype(jnp.float32)
        if self.domains:
            return _DenseOfEach(self.domains, self.features, name="out")(x)
        return nn.Dense(self.features, kernel_init=convs.kaiming_fan_in, name="out")(x)


class Encoder(nn.Module):
    """A trunk with one branch for each of `branches`, name -> features: [B, S, S, C] -> {name: [B, features]}.

    CLUIT's style encoder has one of 128 features, its contrastive discriminator two, of 256 for the code and 1 for
    the logit; StarGAN v2's have one each, with last layers of every domain. `only` computes the branches named and no
    other.
    """

    image_size: int
    branches: Mapping[str, int]
    width: int = 64
    max_width: int = 512
    image_kernel: int = 1
    domains: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, only: tuple[str, ...] = ()) -> dict[str, Array]:
        x = Trunk(self.image_size, self.width, self.max_width, self.image_kernel, self.dtype, name="trunk")(images)
        names = only or tuple(self.branches)
        return {name: Branch(self.branches[name], self.domains, self.dtype, name=name)(x) for name in names}


class MappingNetwork(nn.Module):
    """Map latents to styles, of every domain one: [B, L] -> [B, domains, style_dim].

    Four layers serve all domains, four more are each domain's own.
    """

    domains: int
    style_dim: int = 64
    width: int = 512

    @nn.compact
    def __call__(self, latents: Array) -> Array:
        x = latents
        for index in range(4):
            x = nn.relu(nn.Dense(self.width, kernel_init=convs.kaiming_fan_in, name=f"shared_{index}")(x))
        for index, features in enumerate((self.width, self.width, self.width, self.style_dim)):
            x = _DenseOfEach(self.domains, features, name=f"own_{index}")(nn.relu(x) if index else x)
        return x


class _DenseOfEach(nn.Module):
    """A fully connected layer of every domain, on what all share [B, C], or each has [B, K, C]: [B, K, features]."""

    domains: int
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        initial = nn.initializers.variance_scaling(2.0, "fan_in", "normal", batch_axis=0)
        kernel = self.param("kernel", initial, (self.domains, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.domains, self.features))
        return jnp.einsum("bi,kio->bko" if x.ndim == 2 else "bki,kio->bko", x, kernel) + bias[None]


def of_domain(styles: Array, domains: Array) -> Array:
    """Pick each example's style of its own domain: [B, domains, D], int32 [B] -> [B, D]."""
    return jnp.take_along_axis(styles, domains[:, None, None], axis=1)[:, 0]


class Generator(nn.Module):
    """Translate images [B, H, W, C] to a style [B, D]: instance norm down to the bottleneck, the style's from there up.

    `image_size` fixes the depth; H and W are any multiples of `multiple`. The output is not squashed: no activation
    follows the last convolution. `image_norm` puts a norm and an activation before it.

    With `upsampling` "nearest", the papers', a short training leaves a grid of squares in the images; "bilinear" (ours)
    has none, at the same cost.

    With `high_pass` above 0 what masks [B, 256, 256, 1] show of the maps on the way down is added to those on the way
    up, filtered by the second derivative over `high_pass`: the first of two masks at 32 pixels, the second at 64 and
    128. Without masks nothing is added. The blocks on the way up then have no shortcuts, as in the published code.
    """

    image_size: int
    channels: int = 3
    width: int = 64
    max_width: int = 512
    bottleneck: int = 16
    blocks: int = 2
    image_kernel: int = 1
    image_norm: bool = False
    high_pass: float = 0.0
    upsampling: str = "nearest"
    dtype: Any = jnp.float32

    @property
    def downs(self) -> int:
        return int(math.log2(self.image_size // self.bottleneck))

    @property
    def multiple(self) -> int:
        return 2**self.downs

    @nn.compact
    def __call__(self, images: Array, style: Array, masks: Sequence[Array] | None = None) -> Array:
        widths = [min(self.width * 2**index, self.max_width) for index in range(self.downs + 1)]
        k, kept = self.image_kernel, {}
        x = Conv(self.width, k, pad=k // 2, dtype=self.dtype, name="image_in")(images.astype(self.dtype))
        for index, features in enumerate(widths[1:]):
            kept[x.shape[1]] = x
            x = ResidualBlock(features, norm=True, dtype=self.dtype, name=f"down_{index}")(x)
        for index in range(self.blocks):
            x = ResidualBlock(widths[-1], down=False, norm=True, dtype=self.dtype, name=f"block_{index}")(x)
        how = dict(shortcut=not self.high_pass, smooth=self.upsampling == "bilinear", dtype=self.dtype)
        styled = functools.partial(StyledBlock, **how)
        for index in range(self.blocks):
            x = styled(widths[-1], name=f"styled_{index}")(x, style)
        for index, features in enumerate(reversed(widths[:-1])):
            x = styled(features, up=True, name=f"up_{index}")(x, style)
            if self.high_pass and masks is not None and x.shape[1] in MASK_OF:
                x += high_passed(kept[x.shape[1]], masks[MASK_OF[x.shape[1]]], self.high_pass)
        if self.image_norm:
            x = nn.leaky_relu(_Affine(name="norm_out")(x), 0.2)
        return Conv(self.channels, 1, dtype=self.dtype, name="image_out")(x).astype(jnp.float32)


MASK_OF = {32: 0, 64: 1, 128: 1}
"""Which mask shows what of maps of such a height."""


def high_passed(x: Array, mask: Array, strength: float) -> Array:
    """Return what a mask [B, H', W', 1] shows of maps [B, H, W, C], less the mean of their neighbours: times 8 over
    `strength`, with zeros around them."""
    mask = jax.image.resize(mask, (*x.shape[:3], 1), "linear", antialias=False)
    shown = (x * mask).astype(x.dtype)
    around = nn.pool(shown, 0.0, jax.lax.add, (3, 3), (1, 1), ((1, 1), (1, 1)))
    return (9 * shown - around) / strength
