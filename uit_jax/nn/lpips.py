"""LPIPS v0.1, how far two images are apart to the eye (arXiv:1801.03924), by what AlexNet or VGG-16 sees of them."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn import vgg
from uit_jax.nn.convs import kaiming_fan_in
from uit_jax.nn.norms import per_channel
from uit_jax.types import Array


class Layer(NamedTuple):
    """A convolution with its bias and a ReLU; torchvision's `features` has it at this number."""

    number: int
    features: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1


class Slice(NamedTuple):
    """The maximum of blocks of `pool` x `pool`, every other one, or nothing for 0; then layers."""

    pool: int
    layers: tuple[Layer, ...]


def _of_vgg() -> tuple[Slice, ...]:
    numbers, widths = iter(vgg.NUMBERS), (64, 128, 256, 512, 512)
    blocks = zip(vgg.COUNTS, widths, strict=True)
    layers = (tuple(Layer(next(numbers), width) for _ in range(count)) for count, width in blocks)
    return tuple(Slice(2 if block else 0, each) for block, each in enumerate(layers))


SLICES = {
    "alex": (
        Slice(0, (Layer(0, 64, 11, stride=4, pad=2),)),
        Slice(3, (Layer(3, 192, 5, pad=2),)),
        Slice(3, (Layer(6, 384),)),
        Slice(0, (Layer(8, 256),)),
        Slice(0, (Layer(10, 256),)),
    ),
    "vgg": _of_vgg(),
}
"""The five slices of either network, at whose ends images are compared."""

# The mean and the deviation of ImageNet's red, green and blue, for images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

# What is measured is to be the same on every device: some round factors by default.
_EXACT = jax.lax.Precision.HIGHEST


class LPIPS(nn.Module):
    """Measure how far two images are apart: [B, H, W, 3] twice, in [-1, 1], -> [B], 0 or more; H and W 31 at least.

    Attributes:
      kind: "alex" or "vgg".
    """

    kind: str

    def setup(self):
        slices = SLICES[self.kind]
        self.conv = {str(layer.number): _conv(layer) for each in slices for layer in each.layers}
        self.weights = [nn.Conv(1, (1, 1), use_bias=False, precision=_EXACT) for _ in slices]

    def __call__(self, first: Array, second: Array) -> Array:
        return self.compare(self.features(first), self.features(second))

    def features(self, images: Array) -> list[Array]:
        """Return what `compare` needs of images: of each slice the maps [B, h, w, C], every pixel of length 1."""
        shift, scale = (per_channel(jnp.array(values)) for values in (_SHIFT, _SCALE))
        x, found = (images - shift) / scale, []
        for pool, layers in SLICES[self.kind]:
            x = nn.max_pool(x, (pool, pool), (2, 2)) if pool else x
            for layer in layers:
                x = nn.relu(self.conv[str(layer.number)](x))
            found.append(x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10))
        return found

    def compare(self, first: list[Array], second: list[Array]) -> Array:
        """Return the distances [B] of images by their features."""
        squares = (jnp.square(one - other) for one, other in zip(first, second, strict=True))
        return sum(weigh(square).mean((1, 2, 3)) for weigh, square in zip(self.weights, squares, strict=True))


def _conv(layer: Layer) -> nn.Conv:
    _, features, kernel, stride, pad = layer
    options = dict(kernel_init=kaiming_fan_in, precision=_EXACT)
    return nn.Conv(features, (kernel, kernel), (stride, stride), padding=pad, **options)
