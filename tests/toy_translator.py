"""A one-sided translator without training: two fully convolutional stages with instance norms, the weights random.

It halves the image, doubles it again, and needs no style; where it is asked to, it adds what depends on a pixel's
place alone.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tests import toy
from uit_jax.method import Method, Side
from uit_jax.nn.norms import instance_norm
from uit_jax.types import Stage

HALO = 2  # of either stage, in pixels of its input
NORMS = (2, 1)
TEMPERATURE = 0.07


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Translator(Method):
    """`placed` adds what depends on a pixel's place; `traced` collects the shapes that each tracing of a stage sees."""

    placed: ClassVar[bool] = False
    traced: ClassVar[list | None] = None
    halo: ClassVar[int] = HALO
    multiple: ClassVar[int] = 2

    target_channels: int = 3

    @property
    def sides(self):
        return Side("a", self.channels), Side("b", self.target_channels)

    def note(self, name, maps):
        if self.traced is not None:
            self.traced.append((name, *maps.shape[1:]))

    def encode(self, variables, maps, normalize, origin):
        self.note("encode", maps)
        x = normalize(_conv(jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"), variables["stem"]))
        x = jnp.pad(jax.nn.relu(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
        return jax.nn.relu(normalize(_conv(x, variables["down"], stride=2)))

    def decode(self, variables, maps, normalize, origin):
        self.note("decode", maps)
        x = normalize(_conv(maps, variables["inner"], padding="SAME"))
        if self.placed:
            rows, columns = (origin[axis] + jnp.arange(side) for axis, side in enumerate(x.shape[1:3]))
            x = x + jnp.sin(0.7 * rows)[None, :, None, None] * jnp.cos(0.3 * columns)[None, None, :, None]
        x = jax.nn.relu(x).repeat(2, 1).repeat(2, 2)
        return jnp.tanh(_conv(x, variables["image"], padding="SAME"))

    @functools.cached_property
    def stages(self):
        return Stage(self.encode, 0.5, self.halo), Stage(self.decode, 2.0, self.halo)

    def translate(self, variables, inputs):
        maps = inputs["content"]
        assert maps.shape[1] % 2 == maps.shape[2] % 2 == 0
        for run in (self.encode, self.decode):
            maps = run(variables, maps, instance_norm, jnp.zeros(2, jnp.int32))
        return maps

    def patch_codes(self, variables, images):
        codes = self.encode(variables, images, instance_norm, None)
        first = jnp.concatenate([images, jnp.ones_like(images[..., :1])], -1)
        return {n: c / jnp.linalg.norm(c, axis=-1, keepdims=True).clip(1e-6) for n, c in ((0, first), (3, codes))}

    @property
    def readouts(self):
        return {"patch_codes": self.patch_codes}

    def variables(self, state):
        return state.variables


def method(
    *,
    channels: int = 3,
    target_channels: int = 3,
    placed: bool = False,
    traced: list | None = None,
    halo: int = HALO,
    **settings: Any,
) -> Method:
    """Build the toy; `traced` collects the shapes that each tracing of a stage sees."""
    made = Translator(channels=channels, target_channels=target_channels, **settings)
    return toy.altered(made, placed=placed, traced=traced, halo=halo)


def variables(channels: int = 3, target_channels: int = 3, width: int = 6) -> dict:
    rng = np.random.default_rng(0)

    def kernel(inputs, outputs):
        return (rng.normal(size=(3, 3, inputs, outputs)) / np.sqrt(9 * inputs)).astype(np.float32)

    return {
        "stem": kernel(channels, width),
        "down": kernel(width, 2 * width),
        "inner": kernel(2 * width, width),
        "image": kernel(width, target_channels),
    }


def _conv(x, kernel, *, stride: int = 1, padding: str = "VALID"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=numbers)
