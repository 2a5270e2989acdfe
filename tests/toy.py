"""A method without training: the smallest thing that translate, evaluate and the pictures can be asked to run.

Its style is an image's mean colour, its pseudo domain the brightest channel, its translation the content shifted
to the style's colour. Every number can be checked by hand.
"""

import jax
import jax.numpy as jnp

from uit_jax.types import Method


def method(multiple: int = 4, traced: list | None = None) -> Method:
    """Build the toy; `traced` collects the content shape of every compiled translation."""

    def style(variables, images):
        return images.mean((1, 2)) * variables["scale"]

    def translate(variables, inputs):
        content = inputs["content"]
        assert content.shape[1] % multiple == 0 and content.shape[2] % multiple == 0
        if traced is not None:
            traced.append(content.shape)
        codes = inputs["style"] if "style" in inputs else style(variables, inputs["reference"])
        return content - content.mean((1, 2), keepdims=True) + codes[:, None, None]

    return Method(
        init=None,
        phase=lambda step: "joint",
        stream=lambda phase: "all",
        batch_size=lambda phase, size: size,
        views=None,
        update=None,
        variables=lambda state: state,
        translate=translate,
        readouts={"style": style, "cluster": lambda variables, images: jax.nn.softmax(10 * style(variables, images))},
        multiple=multiple,
    )


def variables() -> dict:
    return {"scale": jnp.ones(())}
