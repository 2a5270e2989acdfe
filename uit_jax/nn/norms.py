"""Normalisations, their statistics and affine terms in float32 at least, whatever the compute `dtype` is."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.types import Array


class BatchNorm(nn.Module):
    """Normalise over the batch of all devices: [B, H, W, C] -> [B, H, W, C].

    Running statistics follow the reference: momentum 0.1, unbiased variance. With `axis_name` the batch is
    the global one; without it, each device normalises its own share.
    """

    axis_name: str | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5
    scale_init: Callable = nn.initializers.ones_init()

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if train:
            own_mean, own_var = (each.reshape(channels) for each in moments(x, (0, 1, 2)))
            mean = collectives.mean(own_mean, self.axis_name)
            # The variance of all is the mean of the variances and the variance of the means.
            var = collectives.mean(own_var + jnp.square(own_mean - mean), self.axis_name)
            if not self.is_initializing():
                count = collectives.global_size(x.size // channels, self.axis_name)
                unbiased = var * count / max(count - 1, 1)
                running_mean.value = running_mean.value + self.momentum * (mean - running_mean.value)
                running_var.value = running_var.value + self.momentum * (unbiased - running_var.value)
        else:
            mean, var = running_mean.value, running_var.value
        scale = scale * jax.lax.rsqrt(var + self.epsilon)
        return scaled(x, *map(per_channel, (mean, scale, bias)))


def instance_norm(x: Array, epsilon: float = 1e-5) -> Array:
    """Normalise each image's channels over H and W (biased variance, no affine terms)."""
    mean, var = moments(x, (1, 2))
    return scaled(x, mean, jax.lax.rsqrt(var + epsilon))


def adaptive_instance_norm(x: Array, bias: Array, weight: Array, epsilon: float = 1e-5) -> Array:
    """Normalise each image's channels, then scale and shift them by its style: bias, weight [B, C], or [1, C]."""
    mean, var = moments(x, (1, 2))
    return scaled(x, mean, jax.lax.rsqrt(var + epsilon) * weight[:, None, None, :], bias[:, None, None, :])


class FilterResponseNorm(nn.Module):
    """Filter response normalisation with its thresholded linear unit (arXiv:1911.09737): shape kept."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1],)
        gamma = per_channel(self.param("gamma", nn.initializers.ones_init(), shape))
        beta = per_channel(self.param("beta", nn.initializers.zeros_init(), shape))
        tau = per_channel(self.param("tau", nn.initializers.zeros_init(), shape))
        scale = gamma * jax.lax.rsqrt(jnp.square(widened(x)).mean((1, 2), keepdims=True) + self.epsilon)
        y = (widened(x) * scale + beta).astype(x.dtype)
        # Rounding keeps the order, so that the larger of rounded numbers is the same; its derivative then is as narrow
        # as x. Tau is repeated before it is rounded for its own derivative to be summed in float32.
        return jnp.maximum(y, jnp.broadcast_to(tau, y.shape).astype(x.dtype))


class LayerNorm(nn.Module):
    """Normalise each image over H, W and C together, then scale and shift its channels: [B, H, W, C], shape kept.

    As MUNIT's published code has it: the standard deviation is the unbiased one, epsilon is added to it and not under
    the root, and the scales begin uniform in [0, 1).
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1],)
        gamma = per_channel(self.param("gamma", nn.initializers.uniform(1.0), shape))
        beta = per_channel(self.param("beta", nn.initializers.zeros_init(), shape))
        mean, var = moments(x, (1, 2, 3))
        count = math.prod(x.shape[1:])
        # The root of 0 has no gradient: all is equal there, and stays so.
        deviation = jnp.sqrt(jnp.maximum(var * count / (count - 1), jnp.finfo(jnp.float32).tiny))
        return scaled(x, mean, gamma / (deviation + self.epsilon), beta)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the mean and the biased variance over axes, kept with length 1, in float32 at least.

    Of 16 bits both come of one pass, as the mean of squares less the square of the mean: that loses digits where the
    mean is large, but no more than rounding such numbers to 16 bits has lost. Wider ones are read once more, from their
    mean; counted from a pixel or a line in one pass, golden gradients were two to ten times as far off.
    """
    narrow, x = x.dtype.itemsize <= 2, widened(x)
    mean = x.mean(axes, keepdims=True)
    if narrow:
        return mean, jnp.maximum(jnp.square(x).mean(axes, keepdims=True) - jnp.square(mean), 0)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def scaled(x: Array, mean: Array, scale: Array, bias: Array | float = 0.0) -> Array:
    """Subtract, multiply and add in float32 at least; the result is as narrow as x."""
    return ((widened(x) - mean) * scale + bias).astype(x.dtype)


def widened(x: Array) -> Array:
    """Bring numbers to float32, or leave them where they have more digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def per_channel(values: Array) -> Array:
    """Shape one value for each channel [C] so that it meets images [B, H, W, C]."""
    return values[None, None, None, :]


def leaves_bias(kind: str) -> bool:
    """Say whether a convolution before a norm of this kind has a bias.

    A norm that subtracts a mean makes it needless; the published code drops it for all but instance norms.
    """
    return kind in ("instance", "affine")


class Norm(nn.Module):
    """The norm of this kind: "instance" calls `normalize`, "affine" also scales and shifts what comes of it, by weights
    of its own, "batch" has statistics of its own, "none" does nothing.
    """

    kind: str
    gain: float = 0.02
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, normalize: Callable = instance_norm, train: bool = False) -> Array:
        if self.kind == "instance":
            return normalize(x)
        scale = functools.partial(_around_one, deviation=self.gain)
        if self.kind == "affine":
            weight = self.param("scale", scale, x.shape[-1:])
            bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
            return (widened(normalize(x)) * per_channel(weight) + per_channel(bias)).astype(x.dtype)
        if self.kind == "batch":
            return BatchNorm(self.axis_name, scale_init=scale, name="batch")(x, train=train)
        return x


def _around_one(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, *, deviation: float) -> Array:
    return 1 + deviation * jax.random.normal(key, shape, dtype)
