"""StarGAN v2's residual blocks (arXiv:1912.01865) and CLUIT's three networks of them (arXiv:2105.03117, Tables 4 to 6).

The tables are for 128 px. At another size there are as many halvings as it takes to the same 4 x 4, and for the
generator to the same bottleneck; widths double up to `max_width`, as in StarGAN v2.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import blocks, convs, norms
from uit_jax.nn.convs import Conv
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

    Without `up` the size is kept.
    """

    features: int
    up: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        def activate(index: int, x: Array) -> Array:
            return nn.leaky_relu(_Adaptive(name=f"norm_{index}")(x, style), 0.2)

        size = "double" if self.up else "same"
        return blocks.preactivated(x, activate, self.features, self.features, size=size, dtype=self.dtype)


class Trunk(nn.Module):
    """Convolve and halve images down to 4 x 4: [B, S, S, C] -> [B, 4, 4, W]."""

    image_size: int
    width: int = 64
    max_width: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        x = Conv(self.width, 1, dtype=self.dtype, name="image")(images.astype(self.dtype))
        for index in range(int(math.log2(self.image_size)) - 2):
            features = min(self.width * 2 ** (index + 1), self.max_width)
            x = ResidualBlock(features, dtype=self.dtype, name=f"block_{index}")(x)
        return x


class Branch(nn.Module):
    """Two fully connected layers on a trunk's 4 x 4: [B, 4, 4, W] -> float32 [B, features]."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(x.shape[-1], 4, dtype=self.dtype, name="conv")(nn.leaky_relu(x, 0.2))
        x = nn.leaky_relu(x, 0.2)[:, 0, 0].astype(jnp.float32)
        return nn.Dense(self.features, kernel_init=convs.kaiming_fan_in, name="out")(x)


class Encoder(nn.Module):
    """A trunk with one branch for each of `branches`, name -> features: [B, S, S, C] -> {name: [B, features]}.

    The style encoder has one of 128 features; the contrastive discriminator has two, of 256 for the code and 1 for
    the logit. `only` computes the branches named and no other.
    """

    image_size: int
    branches: Mapping[str, int]
    width: int = 64
    max_width: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, only: tuple[str, ...] = ()) -> dict[str, Array]:
        x = Trunk(self.image_size, self.width, self.max_width, self.dtype, name="trunk")(images)
        names = only or tuple(self.branches)
        return {name: Branch(self.branches[name], self.dtype, name=name)(x) for name in names}


class Generator(nn.Module):
    """Translate images [B, H, W, C] to a style [B, D]: instance norm down to the bottleneck, the style's from there up.

    `image_size` fixes the depth; H and W are any multiples of `multiple`. The output is not squashed: the paper
    lists no activation behind the last convolution, and neither has StarGAN v2 one.
    """

    image_size: int
    channels: int = 3
    width: int = 64
    max_width: int = 512
    bottleneck: int = 16
    blocks: int = 2
    dtype: Any = jnp.float32

    @property
    def downs(self) -> int:
        return int(math.log2(self.image_size // self.bottleneck))

    @property
    def multiple(self) -> int:
        return 2**self.downs

    @nn.compact
    def __call__(self, images: Array, style: Array) -> Array:
        widths = [min(self.width * 2**index, self.max_width) for index in range(self.downs + 1)]
        x = Conv(self.width, 1, dtype=self.dtype, name="image_in")(images.astype(self.dtype))
        for index, features in enumerate(widths[1:]):
            x = ResidualBlock(features, norm=True, dtype=self.dtype, name=f"down_{index}")(x)
        for index in range(self.blocks):
            x = ResidualBlock(widths[-1], down=False, norm=True, dtype=self.dtype, name=f"block_{index}")(x)
        for index in range(self.blocks):
            x = StyledBlock(widths[-1], dtype=self.dtype, name=f"styled_{index}")(x, style)
        for index, features in enumerate(reversed(widths[:-1])):
            x = StyledBlock(features, up=True, dtype=self.dtype, name=f"up_{index}")(x, style)
        return Conv(self.channels, 1, dtype=self.dtype, name="image_out")(x).astype(jnp.float32)
