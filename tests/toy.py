"""A method without training: the smallest thing that translate, evaluate and the pictures can be asked to run.

Its style is an image's mean colour, its pseudo domain the brightest channel, its translation the content shifted
to the style's colour. Every number can be checked by hand.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from uit_jax.method import Method, Side


# Each is a method of its own: what one has compiled, another does not share.
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Toy(Method):
    """`traced` collects the content shape of every compiled translation."""

    traced: ClassVar[list | None] = None
    stride: ClassVar[int] = 4

    @property
    def sides(self):
        return (Side("image", self.channels, labelled=True),)

    @property
    def classes(self):
        return self.channels

    @property
    def multiple(self):
        return self.stride

    def style(self, variables, images):
        return images.mean((1, 2)) * variables["scale"]

    def cluster(self, variables, images):
        return jax.nn.softmax(10 * self.style(variables, images))

    @property
    def readouts(self):
        return {"style": self.style, "cluster": self.cluster}

    def variables(self, state):
        return {"scale": state.scale}

    def translate(self, variables, inputs):
        content = inputs["content"]
        assert content.shape[1] % self.multiple == 0 and content.shape[2] % self.multiple == 0
        if self.traced is not None:
            self.traced.append(content.shape)
        codes = inputs["style"] if "style" in inputs else self.style(variables, inputs["reference"])
        return content - content.mean((1, 2), keepdims=True) + codes[:, None, None]


def method(multiple: int = 4, traced: list | None = None, **settings: Any) -> Toy:
    """Build the toy; `traced` collects the content shape of every compiled translation."""
    return altered(Toy(**settings), stride=multiple, traced=traced)


def altered(method: Method, **attributes: Any) -> Method:
    """Return a method with some of its functions and properties, or constants in their place, replaced."""
    kind = type(method)
    values = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    functions = {name: staticmethod(value) if callable(value) else value for name, value in attributes.items()}
    return type(kind.__name__, (kind,), functions)(**values)


def variables() -> dict:
    return {"scale": jnp.ones(())}


def config(size: int, **data: Any) -> ConfigDict:
    """Return what inference asks of a run's config."""
    known = dict(source="", test_source="", labels="", depth=8, resample="bilinear", max_pixels=10**8) | data
    return ConfigDict({"seed": 0, "data": {"image_size": size, **known}})


def restored(config: ConfigDict, method: Method, state: Any):
    """Return what reads a run of these back, whatever workdir is named: `checkpoint.restore_variables`."""
    return lambda workdir, which="latest": (config, method, method.variables(state), int(state.step))
