"""The MLP that maps features of patches to codes (arXiv:2007.15651, Section 3)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from uit_jax.nn.convs import initializer
from uit_jax.types import Array


class PatchMLP(nn.Module):
    """Map features of patches to codes, by two layers of each tap's own: {tap: [B, P, C]} -> {tap: [B, P, dim]}."""

    dim: int = 256
    initializer: str = "xavier"
    gain: float = 0.02

    @nn.compact
    def __call__(self, features: dict[int, Array]) -> dict[int, Array]:
        codes, kernel_init = {}, initializer(self.initializer, self.gain)
        for tap, x in sorted(features.items()):
            x = nn.relu(nn.Dense(self.dim, kernel_init=kernel_init, name=f"tap_{tap}_0")(x))
            codes[tap] = nn.Dense(self.dim, kernel_init=kernel_init, name=f"tap_{tap}_1")(x)
        return codes


def at_places(maps: Mapping[int, Array], places: Mapping[int, Array] | None = None) -> dict[int, Array]:
    """Pick the features of patches, float32: {tap: [B, h, w, C]} -> {tap: [B, P, C]}.

    `places` are int32 {tap: [B, P]}, each as row * width + column; None for all.
    """
    found = {}
    for tap, features in maps.items():
        flat = features.reshape(features.shape[0], -1, features.shape[-1])
        flat = flat if places is None else jnp.take_along_axis(flat, places[tap][..., None], axis=1)
        found[tap] = flat.astype(jnp.float32)
    return found


def translate_at(network: nn.Module, *inputs: Any, **options: Any) -> tuple[Array, dict[int, Array]]:
    """Return a generator's images and its features `at_places`, which are the last of the inputs.

    It and `features_at` stand in for a generator's own `method`, so that no features but those of places are kept.
    """
    *inputs, places = inputs
    images, maps = network(*inputs, **options)
    return images, at_places(maps, places)


def features_at(network: nn.Module, images: Array, places: Mapping[int, Array], **options: Any) -> dict[int, Array]:
    """Return a generator's features of images `at_places`."""
    return at_places(network.features(images, **options), places)
