"""ResNet-50 (arXiv:1512.03385) as torchvision has it, whose blocks stride in their 3 x 3 convolutions; inference alone.

Layers have the names of torchvision's files. What MoCo v2 (arXiv:2003.04297) learnt is of this network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.nn.convs import kaiming_fan_in
from uit_jax.nn.norms import BatchNorm, per_channel
from uit_jax.types import Array, PyTree

SIDE, CROP = 256, 224
"""Pixels a side of the images that `features` takes, and of the middle that the network sees of them."""

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of channels in [0, 1]."""

STAGES = {"layer1": (64, 3), "layer2": (128, 4), "layer3": (256, 6), "layer4": (512, 3)}
"""Widths and blocks."""

# What is measured is to be the same on every device: some round factors by default.
_EXACT = jax.lax.Precision.HIGHEST


class ResNet50(nn.Module):
    """See images [B, H, W, 3] with ImageNet's mean and deviation taken out: the means over H and W of the last maps,
    [B, 2048]; norms are by running statistics."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(_Layer(64, 7, 2, name="stem")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, (width, blocks) in STAGES.items():
            for index in range(blocks):
                stride = 2 if index == 0 and stage != "layer1" else 1
                x = Bottleneck(width, stride, name=f"{stage}_{index}")(x)
        return x.mean((1, 2))


class Bottleneck(nn.Module):
    """Add to maps what three convolutions of them make, of four times the width: [B, H, W, C] -> [B, H', W', 4 W]."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.relu(_Layer(self.width, 1, name="layer_1")(x))
        y = nn.relu(_Layer(self.width, 3, self.stride, name="layer_2")(y))
        y = _Layer(4 * self.width, 1, name="layer_3")(y)
        if self.stride > 1 or x.shape[-1] != y.shape[-1]:
            x = _Layer(4 * self.width, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class _Layer(nn.Module):
    """A convolution with a border of zeros, and its norm."""

    features: int
    kernel: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        pad, options = self.kernel // 2, dict(use_bias=False, precision=_EXACT, kernel_init=kaiming_fan_in)
        sides = (self.kernel, self.kernel), (self.stride, self.stride)
        x = nn.Conv(self.features, *sides, padding=((pad, pad), (pad, pad)), name="conv", **options)(x)
        return BatchNorm(name="bn")(x, train=False)


def features(variables: PyTree, images: Array) -> Array:
    """Return what the network makes of the middle of images [B, 256, 256, 3] in [-1, 1]: [B, 2048]."""
    edge = (SIDE - CROP) // 2
    middle = (images[:, edge : edge + CROP, edge : edge + CROP] + 1) / 2
    means, deviations = (per_channel(jnp.asarray(np.float32(each))) for each in (MEANS, DEVIATIONS))
    return ResNet50().apply(variables, (middle - means) / deviations)
