"""Draw an image that does not fit whole, in overlapping tiles, with the result of the whole.

What a tile lacks of its surroundings is a halo and no more, but for the instance norms, which see the whole image.
Their statistics are therefore gathered first, over all tiles, one norm after the other: the pass for a norm
normalises by the statistics of those before it. The last pass draws. All tiles of a stage have one shape, so
that each pass is one program: at the borders they are shifted inwards, where the network's padding meets the true
border.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.method import Method
from uit_jax.nn.norms import instance_norm
from uit_jax.types import Array, PyTree

TILE = 512
BUDGET = 2**29

_EPSILON = 1e-5  # that of `instance_norm`


class Span(NamedTuple):
    """A tile along one axis: the pixels [start, stop), of which [begin, end) count."""

    start: int
    stop: int
    begin: int
    end: int

    @property
    def core(self) -> tuple[int, int]:
        """The pixels that count, within the tile."""
        return self.begin - self.start, self.end - self.start


class Moments(NamedTuple):
    """A number of pixels; the mean of their channels [C], and the sum of the squared deviations from it [C]."""

    count: Any
    mean: Any
    deviation: Any

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of pixels (Chan, Golub and LeVeque, 1983)."""
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        deviation = self.deviation + other.deviation + apart**2 * (self.count * other.count / count)
        return Moments(count, mean, deviation)


class _Plan(NamedTuple):
    """How a method's stage is drawn: the spans of its rows and columns (None: whole), its norms, output [h, w, C]."""

    method: Method
    index: int
    spans: tuple[list[Span], list[Span]] | None
    norms: int
    output: jax.ShapeDtypeStruct

    @property
    def scale(self) -> float:
        return self.method.stages[self.index].scale

    @property
    def runs(self) -> int:
        return 1 if self.spans is None else (self.norms + 1) * math.prod(map(len, self.spans))


def translate_tiled(
    method: Method,
    variables: PyTree,
    image: np.ndarray,
    *,
    tile: int = TILE,
    budget: int = BUDGET,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Translate one image in tiles: float32 [H, W, C] in [-1, 1] -> float32 [H, W, C'], as `method.translate` does.

    Args:
      method: one with stages; H and W are multiples of its `multiple`.
      tile: side of a stage's tiles with their halo, in pixels of its input or, where that is larger, its output; four
        halos at least.
      budget: bytes. A stage whose largest array fits runs whole, with the usual instance norm, which spares it the
        passes for its norms: of CUT's generator, the residual blocks, at a quarter of the size.
      progress: told after each tile of each pass how many are done, and of how many.

    Raises:
      ValueError: the method has no stages, or a side is no multiple.
    """
    if not method.stages or any(side % method.multiple for side in image.shape[:2]):
        raise ValueError(f"{image.shape} cannot be drawn in tiles of {len(method.stages)} stages")
    variables = jax.device_put(variables)  # once for all tiles
    plans, maps, scale = [], jax.ShapeDtypeStruct(image.shape, np.float32), Fraction(1)
    for index, stage in enumerate(method.stages):
        # What the strides still to come divide must begin where it does in the whole.
        grain = math.lcm(max(1, math.ceil(method.multiple * scale)), Fraction(stage.scale).denominator)
        length = math.ceil(tile / max(1, stage.scale))
        plans.append(_plan(method, index, variables, maps, grain=grain, length=length, budget=budget))
        maps, scale = plans[-1].output, scale * Fraction(stage.scale)
    done, total = itertools.count(1), sum(plan.runs for plan in plans)
    for plan in plans:
        image = _run(plan, variables, image, lambda: progress(next(done), total))
    return np.asarray(image, np.float32)


def spans(side: int, length: int, halo: int) -> list[Span]:
    """Cover an axis of `side` pixels by tiles of `length`, of which `halo` pixels at cut edges do not count."""
    if length >= side:
        return [Span(0, side, 0, side)]
    found, begin = [], 0
    while begin < side:
        start = min(max(begin - halo, 0), side - length)
        stop = start + length
        end = side if stop == side else stop - halo
        found.append(Span(start, stop, begin, end))
        begin = end
    return found


def _plan(
    method: Method, index: int, variables: PyTree, maps: jax.ShapeDtypeStruct, *, grain: int, length: int, budget: int
) -> _Plan:
    """Decide how to apply a stage to maps [h, w, C]; tiles begin and end at multiples of `grain`."""
    stage, norms = method.stages[index], []

    def whole(variables, maps):
        return stage.run(variables, maps, lambda x: norms.append(x.shape) or instance_norm(x), jnp.zeros(2, jnp.int32))

    batch = jax.ShapeDtypeStruct((1, *maps.shape), maps.dtype)
    program, drawn = jax.make_jaxpr(whole, return_shape=True)(variables, batch)
    output = jax.ShapeDtypeStruct(drawn.shape[1:], drawn.dtype)
    halo = -(-stage.halo // grain) * grain
    length = max(-(-length // grain) * grain, 4 * halo)
    cuts = tuple(spans(side, length, halo) for side in maps.shape[:2])
    fits = _largest(program.jaxpr) <= budget or max(map(len, cuts)) == 1
    return _Plan(method, index, None if fits else cuts, len(norms), output)


def _largest(program: Any) -> int:
    """Return the bytes of the largest array that a jaxpr computes."""
    sizes = [0]
    for equation in program.eqns:
        sizes += [math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in equation.outvars]
        inner = (getattr(value, "jaxpr", value) for value in equation.params.values())
        sizes += [_largest(part) for part in inner if hasattr(part, "eqns")]
    return max(sizes)


def _run(plan: _Plan, variables: PyTree, maps: Any, report: Callable[[], None]) -> Any:
    """Apply a stage to maps [h, w, C]; what was drawn in tiles is on the host, what was drawn whole on the device."""
    stage, scale = (plan.method, plan.index), plan.scale
    if plan.spans is None:
        drawn = _whole(*stage)(variables, maps)
        report()
        return drawn
    maps = np.asarray(maps)
    known: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    for _ in range(plan.norms):
        found = None
        for tile, origin, cuts in _tiles(plan.spans, maps):
            core = np.array([cut.core for cut in cuts], np.int32)
            gathered = _moments(*stage)(variables, tile, known, origin, core)
            moments = Moments(*(np.asarray(each, np.float64) for each in gathered))
            found = moments if found is None else found.merge(moments)
            report()
        known += ((found.mean.astype(np.float32), (found.deviation / found.count).astype(np.float32)),)
    drawn = np.empty(plan.output.shape, plan.output.dtype)
    for tile, origin, cuts in _tiles(plan.spans, maps):
        part = np.asarray(_drawn(*stage)(variables, tile, known, origin)[0])
        place, core = ([slice(int(a * scale), int(b * scale)) for a, b in ends] for ends in _ends(cuts))
        drawn[*place] = part[*core]
        report()
    return drawn


def _ends(cuts: tuple[Span, Span]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return what counts of a tile, along both axes: where it lies in the whole, and where in the tile."""
    return [(cut.begin, cut.end) for cut in cuts], [cut.core for cut in cuts]


def _tiles(cuts: tuple[list[Span], list[Span]], maps: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, tuple]]:
    """Yield every tile [1, t, t, C] with its origin and its spans."""
    for rows, columns in itertools.product(*cuts):
        tile = maps[None, rows.start : rows.stop, columns.start : columns.stop]
        yield tile, np.array([rows.start, columns.start], np.int32), (rows, columns)


# A new program for every call would be compiled anew, so they are kept: equal methods share them.
@functools.lru_cache(maxsize=32)
def _whole(method: Method, index: int) -> Callable:
    run = method.stages[index].run
    return jax.jit(lambda variables, maps: run(variables, maps[None], instance_norm, jnp.zeros(2, jnp.int32))[0])


@functools.lru_cache(maxsize=32)
def _moments(method: Method, index: int) -> Callable:
    """Return the program of the pass for the norm behind those that are known."""
    run = method.stages[index].run

    def moments(variables, tile, known, origin, core):
        seen: list[Array] = []

        def normalize(x):
            seen.append(x)
            return _normalized(x, *known[len(seen) - 1]) if len(seen) <= len(known) else x

        # What comes behind the norm in question is traced, but nothing of it is asked for, so it is not computed.
        run(variables, tile, normalize, origin)
        x = seen[len(known)]
        inside = _inside(core, tile.shape[1:3], x.shape[1:3])
        count = inside.sum(dtype=jnp.float32)
        mean = _total(x, inside) / count
        centred = x[0].astype(jnp.float32) - mean[None, None]
        return Moments(count, mean, _total(jnp.square(centred)[None], inside))

    return jax.jit(moments)


@functools.lru_cache(maxsize=32)
def _drawn(method: Method, index: int) -> Callable:
    run = method.stages[index].run

    def drawn(variables, tile, known, origin):
        left = iter(known)
        return run(variables, tile, lambda x: _normalized(x, *next(left)), origin)

    return jax.jit(drawn)


def _normalized(x: Array, mean: Array, variance: Array) -> Array:
    """Normalise maps [1, h, w, C] by given statistics [C]."""
    scale = jax.lax.rsqrt(variance + _EPSILON)
    return ((x.astype(jnp.float32) - mean[None, None, None]) * scale[None, None, None]).astype(x.dtype)


def _inside(core: Array, tile: tuple[int, int], maps: tuple[int, int]) -> Array:
    """Tell which pixels of maps, at any scale, belong to the core of a tile: bool [h, w]."""
    sides = [
        (jnp.arange(count) >= begin * count // total) & (jnp.arange(count) < end * count // total)
        for (begin, end), total, count in zip(core, tile, maps, strict=True)
    ]
    return sides[0][:, None] & sides[1][None, :]


def _total(x: Array, inside: Array) -> Array:
    """Add up the pixels of maps [1, h, w, C] that lie inside: float32 [C]."""
    return jnp.where(inside[..., None], x[0].astype(jnp.float32), 0).sum((0, 1))
