"""Less memory and the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uit_jax import remat
from uit_jax.losses import adversarial
from uit_jax.training import loops
from uit_jax.types import Array

WAYS = [("light", 1), ("full", 1), ("none", 2), ("full", 6)]
LAYOUT = ("NHWC", "HWIO", "NHWC")


def network(variables, images: Array, *, squashed: bool = True) -> dict[str, Array]:
    """Convolve images of one channel a few times."""
    for kernel in variables["params"]:
        images = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)
        images = jnp.sin(images * images.mean((1, 2), keepdims=True))
    return {"maps": images, "logits": (jnp.tanh if squashed else jnp.square)(images).mean((1, 2, 3))}


def variables(layers: int = 3):
    keys = jax.random.split(jax.random.key(0), layers)
    return {"params": [jax.random.normal(key, (3, 3, 1 if not number else 4, 4)) for number, key in enumerate(keys)]}


def images(count: int = 6, side: int = 8) -> Array:
    return jax.random.normal(jax.random.key(1), (count, side, side, 1))


def loss(variables, images, **how):
    """Return a loss that compares the examples with each other, and has a gradient's gradient."""

    def discriminate(x):
        return remat.call(network, variables, x, **how)["logits"]

    maps = remat.call(functools.partial(network, squashed=False), variables, images, **how)["maps"]
    penalty, logits = adversarial.r1(discriminate, images)
    return jnp.tanh(maps @ maps[::-1].mean((0, 1)).T).mean() + penalty + logits.mean()


@pytest.mark.parametrize("kind, parts", WAYS)
def test_losses_and_gradients_stay(kind, parts):
    def differentiated(**how):
        return jax.jit(jax.value_and_grad(functools.partial(loss, **how), (0, 1)))(variables(), images())

    ours, expected = differentiated(kind=kind, parts=parts), differentiated()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), ours, expected)


def convolutions(kind: str) -> int:
    differentiate = jax.grad(lambda *given: remat.call(network, *given, kind=kind)["logits"].sum())
    return str(jax.make_jaxpr(differentiate)(variables(), images())).count("= conv_general_dilated[")


def test_light_does_no_convolution_twice_and_full_does():
    assert convolutions("none") == convolutions("light") < convolutions("full")


def test_memory_is_that_of_one_part():
    def needed(parts: int) -> int:
        differentiate = jax.grad(lambda *given: remat.call(network, *given, parts=parts)["logits"].sum())
        shapes = variables(layers=12), images(count=32, side=32)
        return jax.jit(differentiate).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert needed(8) < needed(1) / 3


def test_so_many_as_cannot_be_divided_are_taken_together():
    whole, odd = (remat.call(network, variables(), images(5), parts=parts) for parts in (1, 2))
    jax.tree.map(np.testing.assert_array_equal, whole, odd)
    assert "scan" not in str(jax.make_jaxpr(functools.partial(remat.call, network, parts=2))(variables(), images(5)))


def test_loops_are_counted_by_their_turns():
    def products(parts: int) -> list[float]:
        program = jax.make_jaxpr(lambda *given: remat.call(network, *given, parts=parts))(variables(), images()).jaxpr
        return [loops._products(program, every_turn=every) for every in (True, False)]

    assert products(1) == [6 * 64 * 9 * (4 + 16 + 16)] * 2
    assert products(3) == [products(1)[0], products(1)[0] / 3]
