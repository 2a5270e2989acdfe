"""Inception-v3 (arXiv:1512.00567) as the FID is measured with it: the network that TensorFlow published in 2015.

It has 1008 classes and no auxiliary head, its mean pools count no border, and its last block has a maximum in place of
a mean. Layers have the names of torchvision's and pytorch-fid's files.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from uit_jax.nn.convs import kaiming_fan_in
from uit_jax.nn.norms import BatchNorm
from uit_jax.nn.resampling import overlapping_pool
from uit_jax.types import Array

CLASSES = 1008


class Layer(NamedTuple):
    """A convolution with its batch norm and a ReLU. "VALID" has no border."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


# A branch is a sequence of steps: layers, pools, and layers side by side.
Steps = tuple["Layer | str | tuple[Layer, Layer]", ...]

POOLS = {
    "mean": functools.partial(overlapping_pool, stride=1),
    "max": functools.partial(nn.max_pool, window_shape=(3, 3), padding="SAME"),
    "halve": functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)),
}

STEMS: dict[str, Steps] = {
    "64": (
        Layer("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
        Layer("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
        Layer("Conv2d_2b_3x3", 64, (3, 3)),
        "halve",
    ),
    "192": (Layer("Conv2d_3b_1x1", 80), Layer("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"), "halve"),
}


def _of_35(pooled: int) -> tuple[Steps, ...]:
    return (
        (Layer("branch1x1", 64),),
        (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        (
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, (3, 3)),
            Layer("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("mean", Layer("branch_pool", pooled)),
    )


def _of_17(width: int) -> tuple[Steps, ...]:
    return (
        (Layer("branch1x1", 192),),
        (
            Layer("branch7x7_1", width),
            Layer("branch7x7_2", width, (1, 7)),
            Layer("branch7x7_3", 192, (7, 1)),
        ),
        (
            Layer("branch7x7dbl_1", width),
            Layer("branch7x7dbl_2", width, (7, 1)),
            Layer("branch7x7dbl_3", width, (1, 7)),
            Layer("branch7x7dbl_4", width, (7, 1)),
            Layer("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("mean", Layer("branch_pool", 192)),
    )


def _of_8(pool: str) -> tuple[Steps, ...]:
    def beside(name: str) -> tuple[Layer, Layer]:
        return Layer(f"{name}a", 384, (1, 3)), Layer(f"{name}b", 384, (3, 1))

    return (
        (Layer("branch1x1", 320),),
        (Layer("branch3x3_1", 384), beside("branch3x3_2")),
        (Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, (3, 3)), beside("branch3x3dbl_3")),
        (pool, Layer("branch_pool", 192)),
    )


_TO_17 = (
    (Layer("branch3x3", 384, (3, 3), 2, "VALID"),),
    (
        Layer("branch3x3dbl_1", 64),
        Layer("branch3x3dbl_2", 96, (3, 3)),
        Layer("branch3x3dbl_3", 96, (3, 3), 2, "VALID"),
    ),
    ("halve",),
)

_TO_8 = (
    (Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, (3, 3), 2, "VALID")),
    (
        Layer("branch7x7x3_1", 192),
        Layer("branch7x7x3_2", 192, (1, 7)),
        Layer("branch7x7x3_3", 192, (7, 1)),
        Layer("branch7x7x3_4", 192, (3, 3), 2, "VALID"),
    ),
    ("halve",),
)

BLOCKS: dict[str, dict[str, tuple[Steps, ...]]] = {
    "768": {
        "Mixed_5b": _of_35(32),
        "Mixed_5c": _of_35(64),
        "Mixed_5d": _of_35(64),
        "Mixed_6a": _TO_17,
        "Mixed_6b": _of_17(128),
        "Mixed_6c": _of_17(160),
        "Mixed_6d": _of_17(160),
        "Mixed_6e": _of_17(192),
    },
    "2048": {"Mixed_7a": _TO_8, "Mixed_7b": _of_8("mean"), "Mixed_7c": _of_8("max")},
}
"""The blocks and their branches, sorted by the features that follow them."""


class Inception(nn.Module):
    """See images [B, H, W, 3] in [-1, 1], H and W 75 at least; what was learnt was learnt of 299 x 299.

    Returns:
      by their number, the means over H and W behind four of the layers: "64", "192", "768" and "2048" [B, .]; and
      "logits" [B, 1008], of the last. What a compiled program does not use of them it does not compute.
    """

    @nn.compact
    def __call__(self, x: Array) -> dict[str, Array]:
        found = {}
        for features, steps in STEMS.items():
            x = _run(x, steps)
            found[features] = x.mean((1, 2))
        for features, blocks in BLOCKS.items():
            for name, branches in blocks.items():
                x = _Block(branches, name=name)(x)
            found[features] = x.mean((1, 2))
        return found | {"logits": nn.Dense(CLASSES, precision=_EXACT, name="fc")(found["2048"])}


# What is measured is to be the same on every device: some round factors by default.
_EXACT = jax.lax.Precision.HIGHEST


class _Block(nn.Module):
    """Put the channels of all branches one behind the other."""

    branches: tuple[Steps, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jnp.concatenate([_run(x, steps) for steps in self.branches], -1)


class _Layer(nn.Module):
    layer: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        _, features, kernel, stride, padding = self.layer
        options = dict(padding=padding, use_bias=False, precision=_EXACT, kernel_init=kaiming_fan_in)
        x = nn.Conv(features, kernel, (stride, stride), name="conv", **options)(x)
        return nn.relu(BatchNorm(epsilon=1e-3, name="bn")(x, train=False))


def _run(x: Array, steps: Steps) -> Array:
    """Take steps one after the other, inside the module that calls."""
    for step in steps:
        if isinstance(step, Layer):
            x = _Layer(step, name=step.name)(x)
        elif isinstance(step, str):
            x = POOLS[step](x)
        else:
            x = jnp.concatenate([_run(x, (layer,)) for layer in step], -1)
    return x
