"""TUNIT's three networks (arXiv:2006.06500; Tables in its appendix, exact forms in the published code)."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn import layers
from uit_jax.nn.layers import Conv, PooledConv
from uit_jax.types import Array


class GuidingNetwork(nn.Module):
    """Cluster images and encode their style: [B, H, W, C] -> logits [B, K], style codes [B, D].

    A VGG-11 with batch normalisation, a global average and two linear heads; any H and W of at least
    2 ** len(stages). `stages` counts the convolutions before each of the poolings.
    """

    domains: int
    style_dim: int = 128
    width: int = 64
    stages: tuple[int, ...] = (1, 1, 2, 2, 2)
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        x = x.astype(self.dtype)
        index = 0
        for stage, convolutions in enumerate(self.stages):
            for _ in range(convolutions):
                features = self.width * min(2**stage, 8)
                x = Conv(
                    features, 3, pad=1, kernel_init=layers.kaiming_fan_out, dtype=self.dtype, name=f"conv_{index}"
                )(x)
                x = layers.BatchNorm(self.axis_name, name=f"norm_{index}")(x, train=train)
                x = nn.relu(x)
                index += 1
            x = layers.max_pool(x)
        pooled = x.astype(jnp.float32).mean((1, 2))
        head = nn.initializers.normal(0.01)
        logits = nn.Dense(self.domains, kernel_init=head, name="cluster")(pooled)
        style = nn.Dense(self.style_dim, kernel_init=head, name="style")(pooled)
        return logits, style


class _ResidualBlock(nn.Module):
    """x + 0.1 * (conv, norm, relu, conv, norm)(x); the norms are adaptive where `style` is given."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, styles=None) -> Array:
        residual = x
        for index in range(2):
            residual = Conv(self.features, 3, pad=1, pad_mode="reflect", dtype=self.dtype, name=f"conv_{index}")(
                residual
            )
            if styles is None:
                residual = layers.instance_norm(residual)
            else:
                residual = layers.adaptive_instance_norm(residual, *next(styles))
            residual = nn.relu(residual) if index == 0 else residual
        return x + 0.1 * residual


class _ContentEncoder(nn.Module):
    """Images [B, H, W, C] -> content codes [B, H / 2**downs, W / 2**downs, width * 2**downs]."""

    width: int
    downs: int
    blocks: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.astype(self.dtype)
        x = Conv(self.width, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="stem")(x)
        x = nn.relu(layers.instance_norm(x))
        for index in range(self.downs):
            features = self.width * 2 ** (index + 1)
            x = Conv(features, 4, 2, pad=1, pad_mode="reflect", dtype=self.dtype, name=f"down_{index}")(x)
            x = nn.relu(layers.instance_norm(x))
        for index in range(self.blocks):
            x = _ResidualBlock(self.width * 2**self.downs, self.dtype, name=f"block_{index}")(x)
        return x


class _Decoder(nn.Module):
    """Content codes and AdaIN parameters [B, P] -> images in [-1, 1]."""

    channels: int
    width: int
    downs: int
    blocks: int
    dtype: Any

    def norm_widths(self) -> list[int]:
        """Return the channels of every adaptive norm in the order in which they take their parameters."""
        top = self.width * 2**self.downs
        return [top] * (2 * self.blocks) + [top // 2 ** (index + 1) for index in range(self.downs)]

    @nn.compact
    def __call__(self, x: Array, parameters: Array) -> Array:
        styles = self._split(parameters)
        for index in range(self.blocks):
            x = _ResidualBlock(self.width * 2**self.downs, self.dtype, name=f"block_{index}")(x, styles)
        for index in range(self.downs):
            features = self.width * 2 ** (self.downs - index - 1)
            x = layers.UpsampleConv(features, self.dtype, name=f"up_{index}")(x)
            x = nn.relu(layers.adaptive_instance_norm(x, *next(styles)))
        x = Conv(self.channels, 7, pad=3, pad_mode="reflect", dtype=self.dtype, name="image")(x)
        return jnp.tanh(x.astype(jnp.float32))

    def _split(self, parameters: Array):
        """Yield (bias, weight) [B, C] of each norm: its first C numbers are the bias, the next C the weight."""
        start = 0
        for width in self.norm_widths():
            yield parameters[:, start : start + width], parameters[:, start + width : start + 2 * width]
            start += 2 * width


class Generator(nn.Module):
    """Redraw the content of one image in the style of another.

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
        self.encoder = _ContentEncoder(self.width, self.downs, self.blocks, self.dtype)
        self.decoder = _Decoder(self.channels, self.width, self.downs, self.blocks, self.dtype)
        count = 2 * sum(self.decoder.norm_widths())
        self.mlp = [
            nn.Dense(features, kernel_init=layers.kaiming_fan_in)
            for features in (self.mlp_width, self.mlp_width, count)
        ]

    def encode(self, images: Array) -> Array:
        """Return content codes [B, H / multiple, W / multiple, width * multiple] of images [B, H, W, C]."""
        return self.encoder(images)

    def decode(self, content: Array, style: Array) -> Array:
        """Draw images in [-1, 1] from content codes and style codes [B, D]."""
        hidden = nn.relu(self.mlp[1](nn.relu(self.mlp[0](style))))
        return self.decoder(content, self.mlp[2](hidden))

    def __call__(self, images: Array, style: Array) -> Array:
        return self.decode(self.encode(images), style)


class _DiscriminatorBlock(nn.Module):
    """A residual block whose filter response norms come first and carry the activation."""

    features: int
    down: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # A mean over pixels and a 1 x 1 convolution without bias commute: the mean first is the cheaper order.
        shortcut = layers.average_pool(x) if self.down else x
        if x.shape[-1] != self.features:
            shortcut = Conv(self.features, 1, use_bias=False, dtype=self.dtype, name="shortcut")(shortcut)
        y = layers.FilterResponseNorm(name="norm_0")(x)
        if self.down:
            y = PooledConv(x.shape[-1], dtype=self.dtype, name="conv_0")(y)
        else:
            y = Conv(x.shape[-1], 3, pad=1, dtype=self.dtype, name="conv_0")(y)
        y = layers.FilterResponseNorm(name="norm_1")(y)
        y = Conv(self.features, 3, pad=1, dtype=self.dtype, name="conv_1")(y)
        return (shortcut + y) / math.sqrt(2)


class Discriminator(nn.Module):
    """Judge an image once for every domain: [B, S, S, C] -> logits [B, K]; a domain's own logit counts.

    log2(S) - 2 stages of `blocks` residual blocks, the last of which doubles the width and halves S, end at
    4 x 4.
    """

    image_size: int
    domains: int
    width: int = 64
    max_width: int = 1024
    blocks: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.width, 3, pad=1, dtype=self.dtype, name="stem")(x.astype(self.dtype))
        features, index = self.width, 0
        for _ in range(int(math.log2(self.image_size)) - 2):
            for block in range(self.blocks):
                down = block == self.blocks - 1
                features = min(2 * features, self.max_width) if down else features
                x = _DiscriminatorBlock(features, down, self.dtype, name=f"block_{index}")(x)
                index += 1
        x = nn.leaky_relu(x, 0.2)
        x = Conv(features, 4, dtype=self.dtype, name="patch")(x)
        x = nn.leaky_relu(x, 0.2)
        x = Conv(self.domains, 1, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32).reshape(x.shape[0], self.domains)
