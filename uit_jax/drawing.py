"""Evaluate what draws a run's initial state, without compiling it: two small programs make all its random numbers.

As one program the draw of every weight is compiled apart, which takes longer than the first steps of many runs; weight
by weight it takes as long, for each shape is another program. Here a number depends on its key and its place alone, as
JAX's generator has it, so that one program makes any block of the numbers of any weight.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.extend.random import threefry_2x32

from uit_jax.types import Array, PyTree

_BLOCK = 2**16
_NONE = np.float32(-0.0)  # x + -0.0 is x, whatever x is


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Numbers yet to be made, float32 of a shape: factor * f(u) + offset, with u uniform in [low, high).

    Multiplying them changes the factor, as the compiler does with constants: the same numbers come out.

    Attributes:
      key: raw, uint32 [2].
      normal: whether f is the inverse of the error function; else it is the identity.
    """

    key: Array
    shape: tuple[int, ...]
    low: Any
    high: Any
    normal: bool = False
    factor: Any = np.float32(1)
    offset: Any = _NONE

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        size = math.prod(self.shape)
        about = [np.asarray(each, np.float32) for each in (self.low, self.high, self.factor, self.offset)]
        starts = np.arange(0, size, _BLOCK, np.uint32)
        blocks = [_block(self.key, start, *about, normal=self.normal) for start in starts]
        return np.concatenate([np.zeros(0, np.float32), *blocks])[:size].reshape(self.shape)


@functools.partial(jax.jit, static_argnames="normal")
def _block(key: Array, start: Array, low: Array, high: Array, factor: Array, offset: Array, *, normal: bool) -> Array:
    """Make numbers [_BLOCK] of a key from a place on, as `jax.random.uniform` and `normal` do."""
    places = start + jnp.arange(_BLOCK, dtype=jnp.uint32)
    # The place is a number of 64 bits.
    one, other = jnp.split(threefry_2x32(key, jnp.concatenate([jnp.zeros_like(places), places])), 2)
    # A float32 in [1, 2) of 23 random bits.
    bits = (one ^ other) >> np.uint32(9) | np.uint32(0x3F800000)
    uniform = jnp.maximum(low, (jax.lax.bitcast_convert_type(bits, jnp.float32) - 1) * (high - low) + low)
    return (jax.lax.erf_inv(uniform) if normal else uniform) * factor + offset


def draw(init: Callable[[Array], PyTree], key: Array) -> PyTree:
    """Return `init(key)`, of a raw key, evaluated on the host and put on the default device.

    Nothing is evaluated but what the result depends on. Under a JAX transformation it is `init(key)`.
    """
    if isinstance(key, jax.core.Tracer):
        return init(key)
    closed, shapes = jax.make_jaxpr(init, return_shape=True)(key)
    with jax.default_device(_host()):
        leaves = _evaluate(closed.jaxpr, closed.consts, [np.asarray(key)])
    # A copy: a donated state may not lie in memory of numpy's.
    return jax.tree.unflatten(jax.tree.structure(shapes), jax.device_put(leaves, may_alias=False))


def _host() -> jax.Device | None:
    """Return the processor, where the same numbers come out beside any accelerator; None where JAX may not use it."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Return the results of a traced function, one equation after the other."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def of(variable):
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in _needed(jaxpr):
        operands = [of(each) for each in equation.invars]
        rule = _rule(equation)
        found = rule(equation.outvars[0].aval, *operands) if rule else None
        made = _bind(equation, operands) if found is None else [found]
        known.update(zip(equation.outvars, made, strict=True))
    return [_made(of(each)) for each in jaxpr.outvars]


def _made(value: Any) -> Any:
    return value.numbers if isinstance(value, Drawn) else value


def _needed(jaxpr: Any) -> list[Any]:
    """Return the equations that the results depend on: of a network's, those that make its weights."""
    wanted, needed = {each for each in jaxpr.outvars if not isinstance(each, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if not wanted.isdisjoint(equation.outvars):
            needed.append(equation)
            wanted.update(each for each in equation.invars if not isinstance(each, Literal))
    return needed[::-1]


def _bind(equation: Any, operands: Sequence[Any]) -> Sequence[Any]:
    """Evaluate an equation by JAX, as a program of its own."""
    given = equation.primitive.get_bind_params(equation.params)
    # Some versions of JAX return functions apart.
    functions, params = given if isinstance(given, tuple) else ((), given)
    found = equation.primitive.bind(*functions, *map(_made, operands), **params)
    return found if equation.primitive.multiple_results else [found]


# --- what is not left to JAX, which would compile a program for every shape; None where it is ---


def _normal(like: Any, key: Array) -> Drawn | None:
    low = np.nextafter(np.float32(-1), np.float32(0))
    drawn = _uniform(like, key, low, np.float32(1))
    return drawn and dataclasses.replace(drawn, normal=True, factor=np.float32(np.sqrt(2)))


def _uniform(like: Any, key: Array, low: Any, high: Any) -> Drawn | None:
    plain = "threefry2x32" in str(jax.random.key_impl(key)) and jax.config.jax_threefry_partitionable
    if plain and like.dtype == np.float32 and not key.shape and like.size < 2**32:
        return Drawn(jax.random.key_data(key), like.shape, low, high)
    return None


def _multiplied(like: Any, one: Any, other: Any) -> Drawn | None:
    drawn, scalar = _with_scalar(like, one, other)
    return drawn and dataclasses.replace(drawn, factor=drawn.factor * np.float32(scalar))


def _shifted(like: Any, one: Any, other: Any) -> Drawn | None:
    drawn, scalar = _with_scalar(like, one, other)
    return drawn and dataclasses.replace(drawn, offset=np.float32(scalar))


def _with_scalar(like: Any, one: Any, other: Any) -> tuple[Drawn | None, Any]:
    """Return numbers that are yet to be made and a scalar, if that is what is given."""
    drawn, scalar = (one, other) if isinstance(one, Drawn) else (other, one)
    plain = isinstance(drawn, Drawn) and drawn.shape == like.shape and drawn.offset is _NONE
    return (drawn, scalar) if plain and not isinstance(scalar, Drawn) and np.ndim(scalar) == 0 else (None, None)


def _filled(like: Any, value: Any) -> np.ndarray | None:
    plain = isinstance(like.dtype, np.dtype) and not isinstance(value, Drawn) and np.ndim(value) == 0
    return np.full(like.shape, value, like.dtype) if plain else None


def _copied(like: Any, value: Any) -> np.ndarray:
    return np.array(_made(value))


_OF_JAX_RANDOM = {"_normal": _normal, "_uniform": _uniform}
_RULES = {"mul": _multiplied, "add": _shifted, "broadcast_in_dim": _filled, "copy": _copied}


def _rule(equation: Any) -> Callable | None:
    """Return what evaluates an equation in place of JAX: of `jax.random`, whose calls are jits, by its name."""
    name = equation.primitive.name
    return _OF_JAX_RANDOM.get(equation.params["name"]) if name in ("jit", "pjit") else _RULES.get(name)
