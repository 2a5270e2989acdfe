"""The procedural world: images whose domain, style and content are known, and so is the translation of any pair.

A scene is one object on a plain ground:

    species  its shape and texture, and the hue its kind tends to have: the domain
    style    the individual's colours: object, accent of the texture, ground
    pose     place, size and angle: the content

so the true translation of scene a into the style of scene b is b's species and style in a's pose.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from uit_jax.errors import UserError


def _polygon(u, v, corners: int, phase: float = 0.0, inner: float | None = None):
    """Return where (u, v) lies in a regular polygon of circumradius 1, or in a star with that inner radius."""
    angle = np.arctan2(v, u) + phase
    sector = np.pi / corners
    folded = np.abs((angle + sector) % (2 * sector) - sector)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    if inner is None:
        return x < np.cos(sector)
    # The edge runs from the tip (1, 0) to the notch at angle `sector`.
    notch_x, notch_y = inner * np.cos(sector), inner * np.sin(sector)
    return (1 - x) * notch_y > y * (1 - notch_x)


def _between(radius, inner: float, outer: float):
    return (radius > inner) & (radius < outer)


def _checker(u, v, side: float):
    return (np.floor(u / side + 0.5) + np.floor(v / side + 0.5)) % 2 == 0


def _dots(u, v):
    return (np.abs(u % 0.6 - 0.3) < 0.14) & (np.abs(v % 0.6 - 0.3) < 0.14)


def _cross(u, v):
    first, second = np.abs(u), np.abs(v)
    return ((first < 0.36) & (second < 0.95)) | ((second < 0.36) & (first < 0.95))


class Species(NamedTuple):
    """A kind of object; its functions take the object's own coordinates, in which its radius is 1."""

    name: str
    hue: float
    inside: Callable
    texture: Callable


SPECIES = (
    Species("disk", 0.00, lambda u, v: np.hypot(u, v) < 0.9, lambda u, v: (np.hypot(u, v) * 3.2 + 0.3) % 1 < 0.5),
    Species("square", 0.33, lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.8, lambda u, v: _checker(u, v, 0.54)),
    Species("triangle", 0.62, lambda u, v: _polygon(u, v, 3, -np.pi / 2), lambda u, v: (v * 1.7 + 0.1) % 1 < 0.45),
    Species("star", 0.16, lambda u, v: _polygon(u, v, 5, -np.pi / 2, 0.45), lambda u, v: np.hypot(u, v) < 0.38),
    Species("ring", 0.80, lambda u, v: _between(np.hypot(u, v), 0.5, 0.95), lambda u, v: np.zeros(u.shape, bool)),
    Species("cross", 0.48, _cross, lambda u, v: (u + v) * 1.3 % 1 < 0.5),
    Species("hexagon", 0.72, lambda u, v: _polygon(u, v, 6), _dots),
    Species(
        "crescent",
        0.08,
        lambda u, v: (np.hypot(u, v) < 0.95) & (np.hypot(u - 0.45, v) > 0.75),
        lambda u, v: v * 1.5 % 1 < 0.3,
    ),
)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """n scenes.

    Attributes:
      species: int32 [n].
      colors: float [n, 3, 3], RGB in [0, 1] of object, accent and ground.
      position: float [n, 2], x and y of the object's centre; the image spans [-1, 1].
      scale: float [n], the object's radius in the same units.
      angle: float [n], radians.
    """

    species: np.ndarray
    colors: np.ndarray
    position: np.ndarray
    scale: np.ndarray
    angle: np.ndarray

    def __getitem__(self, indices) -> "Scenes":
        return Scenes(*(getattr(self, field.name)[indices] for field in dataclasses.fields(self)))

    def __len__(self) -> int:
        return len(self.species)


def translation(content: Scenes, reference: Scenes) -> Scenes:
    """Return the true translation: the reference's species and colours in the content's pose."""
    return dataclasses.replace(content, species=reference.species, colors=reference.colors)


@dataclasses.dataclass(frozen=True)
class World:
    """A distribution of scenes and fixed train and test sets sampled from it.

    Attributes:
      species: number of domains, 2 to 8.
      size: side of the images.
      count, test_count: images of the two sets.
      seed: of both sets.
      hue_spread, ground_hue_spread: how far an individual's hue may lie from its species', and a ground's from 0,
        in turns (0.5: anywhere).
      place: how far an object's centre may lie from the image's, which spans [-1, 1].
      turn: how far it may be turned either way, in radians.
    """

    species: int = 6
    size: int = 32
    count: int = 4000
    test_count: int = 600
    seed: int = 0
    hue_spread: float = 0.06
    ground_hue_spread: float = 0.5
    place: float = 0.26
    turn: float = 0.35

    def __post_init__(self):
        if not 2 <= self.species <= len(SPECIES):
            raise UserError(f"procedural: species={self.species} must lie in 2 to {len(SPECIES)}")
        if self.size < 16 or self.count < 1 or self.test_count < 1:
            raise UserError("procedural: size must be 16 at least, count and test_count 1 at least")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(kind.name for kind in SPECIES[: self.species])

    def sample(self, seed, n: int) -> Scenes:
        """Sample n scenes; `seed` is anything that numpy's generator takes."""
        rng = np.random.default_rng(seed)
        species = rng.integers(self.species, size=n).astype(np.int32)
        hues = np.array([kind.hue for kind in SPECIES])[species]
        object_hue = hues + rng.uniform(-self.hue_spread, self.hue_spread, n)
        ground_hue = rng.uniform(-self.ground_hue_spread, self.ground_hue_spread, n)
        objects = _rgb(object_hue, rng.uniform(0.65, 1.0, n), rng.uniform(0.8, 1.0, n))
        accents = _rgb(object_hue + 0.08, rng.uniform(0.5, 0.9, n), rng.uniform(0.3, 0.45, n))
        grounds = _rgb(ground_hue, rng.uniform(0.25, 0.6, n), rng.uniform(0.35, 0.75, n))
        return Scenes(
            species,
            np.stack([objects, accents, grounds], 1),
            rng.uniform(-self.place, self.place, (n, 2)),
            rng.uniform(0.52, 0.72, n),
            rng.uniform(-self.turn, self.turn, n),
        )

    def scenes(self, split: str) -> Scenes:
        """Return the scenes of "train" or "test"."""
        count = {"train": self.count, "test": self.test_count}[split]
        return self.sample((self.seed, {"train": 0, "test": 1}[split]), count)

    def render(self, scenes: Scenes) -> np.ndarray:
        """Render scenes: uint8 [n, S, S, 3]."""
        images = np.einsum("nhwp,npc->nhwc", masks(scenes, self.size), scenes.colors.astype(np.float32))
        return np.round(images * 255).astype(np.uint8)


def masks(scenes: Scenes, size: int, samples: int = 3) -> np.ndarray:
    """Return the share of each pixel that is object without texture, texture, and ground: float32 [n, S, S, 3]."""
    fine = size * samples
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    out = np.empty((len(scenes), size, size, 3), np.float32)
    for i in range(len(scenes)):
        x = (axis[None, :] - scenes.position[i, 0]) / scenes.scale[i]
        y = (axis[:, None] - scenes.position[i, 1]) / scenes.scale[i]
        cos, sin = np.cos(scenes.angle[i]), np.sin(scenes.angle[i])
        u, v = cos * x + sin * y, cos * y - sin * x
        kind = SPECIES[scenes.species[i]]
        body = kind.inside(u, v)
        accent = body & kind.texture(u, v)
        parts = np.stack([body & ~accent, accent, ~body], -1).astype(np.float32)
        out[i] = parts.reshape(size, samples, size, samples, 3).mean((1, 3))
    return out


def _rgb(hue, saturation, value) -> np.ndarray:
    """Turn hue (in turns), saturation and value [n] into RGB [n, 3]."""
    k = (np.array([5.0, 3.0, 1.0]) + hue[:, None] * 6) % 6
    return value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1))
