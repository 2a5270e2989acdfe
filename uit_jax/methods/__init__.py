"""The methods: one file, one paper."""

from collections.abc import Mapping
from typing import Any

from uit_jax import settings
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.methods.cluit import CLUIT
from uit_jax.methods.cut import CUT, FastCUT
from uit_jax.methods.cyclegan import CycleGAN
from uit_jax.methods.distancegan import DistanceGAN, SelfDistance
from uit_jax.methods.drit import DRIT
from uit_jax.methods.embedding import EmbeddingTranslator
from uit_jax.methods.funit import FUNIT
from uit_jax.methods.gcgan import GcGAN
from uit_jax.methods.munit import MUNIT
from uit_jax.methods.semit import SEMIT
from uit_jax.methods.sincut import SinCUT
from uit_jax.methods.starganv2 import StarGANv2
from uit_jax.methods.swapping_autoencoder import SwappingAutoencoder
from uit_jax.methods.tunit import TUNIT

METHODS: dict[str, type[Method]] = {
    "tunit": TUNIT,
    "cluit": CLUIT,
    "embedding": EmbeddingTranslator,
    "cut": CUT,
    "fastcut": FastCUT,
    "sincut": SinCUT,
    "cyclegan": CycleGAN,
    "gcgan": GcGAN,
    "distancegan": DistanceGAN,
    "selfdistance": SelfDistance,
    "munit": MUNIT,
    "drit": DRIT,
    "funit": FUNIT,
    "semit": SEMIT,
    "starganv2": StarGANv2,
    "swapping_autoencoder": SwappingAutoencoder,
}


def kind(name: str) -> type[Method]:
    """Return a method's class by its name. Raises UserError, which names the nearest known one."""
    if name not in METHODS:
        raise UserError(f"method.name={name!r} is unknown{settings.nearest(name, METHODS)}")
    return METHODS[name]


def build(name: str, values: Mapping[str, Any] | None = None, **more: Any) -> Method:
    """Build a method from its name and its settings, nested where they are grouped, the rest being defaults.

    Raises:
      UserError: an unknown method or setting (the nearest known one is named), or a value out of range.
    """
    return settings.build(kind(name), {**(values or {}), **more}, "method")
