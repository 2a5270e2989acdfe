"""What residual blocks of several architectures compute, as functions whose layers are the calling module's."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from uit_jax.nn import resampling
from uit_jax.nn.convs import Conv, PooledConv, RepeatedConv
from uit_jax.types import Array


def normalized(
    x: Array, normalize: Callable[[int, Array], Array], scale: float = 1.0, border: str = "reflect", **options: Any
) -> Array:
    """x + scale * (conv, norm, relu, conv, norm)(x): [B, H, W, C], kept (arXiv:1512.03385).

    Args:
      normalize: (which of the two norms, maps) -> maps.
      border: what the maps are continued by: "reflect", "zero" or "edge".
      options: of both convolutions, "conv_0" and "conv_1".
    """
    y = x
    for index in range(2):
        conv = Conv(x.shape[-1], 3, pad=1, pad_mode=border, name=f"conv_{index}", **options)
        y = normalize(index, conv(y))
        y = nn.relu(y) if index == 0 else y
    return x + scale * y


def preactivated(
    x: Array,
    activate: Callable[[int, Array], Array],
    inner: int,
    features: int,
    *,
    size: str = "same",
    smooth: bool = False,
    dtype: Any,
) -> Array:
    """(shortcut + (activation, conv, activation, conv)(x)) / sqrt(2): [B, H, W, C] -> [B, H', W', features].

    FUNIT's and StarGAN v2's (arXiv:1905.01723, arXiv:1912.01865). The size changes behind the first convolution to
    halve, before it to double.

    Args:
      activate: (which of the two activations, maps) -> maps, with the norm where there is one.
      inner: channels between the convolutions.
      size: "same", "half" or "double".
      smooth: to double, blur what was repeated (ours): bilinear.
    """
    # Means of pixels and their repetition commute with a 1 x 1 convolution without bias: smaller maps are cheaper.
    shortcut = resampling.average_pool(x) if size == "half" else x
    if x.shape[-1] != features:
        shortcut = Conv(features, 1, use_bias=False, dtype=dtype, name="shortcut")(shortcut)
    if size == "double":
        shortcut = resampling.blur_up(shortcut) if smooth else resampling.repeat(shortcut)
    first = {"same": functools.partial(Conv, kernel=3, pad=1), "half": PooledConv, "double": RepeatedConv}[size]
    y = first(inner, dtype=dtype, name="conv_0")(activate(0, x))
    y = resampling.smoothed(y) if smooth and size == "double" else y
    y = Conv(features, 3, pad=1, dtype=dtype, name="conv_1")(activate(1, y))
    return (shortcut + y) / math.sqrt(2)
