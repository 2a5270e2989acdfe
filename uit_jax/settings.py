"""Settings: declared once, where they are read, with default, meaning and range; checked and described from there.

A field made by `setting` states what it may be. Fields that belong together are a frozen dataclass of their own, a group
(`View`, `Adam`, `R1`, ...), which a config nests: `method.view.hue`. Rules between fields of a group are its `rules`.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from uit_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Range:
    """What a setting means and may be; the limits hold for every entry of a list.

    Attributes:
      doc: what it does, in a few plain words, with its unit.
      low, high: the least and the greatest value.
      above, below: what the value must lie above or below, these excluded.
      choices: the values there are.
      length: entries of a list; None for one at least.
      rising: whether no entry of a list is below the one before.
      power_of_two: whether the value is one.
      owner: the part of a config that owns it, "" for its top level; None for the one it is declared in.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple = ()
    length: int | None = None
    rising: bool = False
    power_of_two: bool = False
    owner: str | None = None

    def told(self) -> str:
        """Say what values there are: "0 to 1", "above 0", "'black' or 'edge'"; "" where all are."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        limits = ["a power of two"] if self.power_of_two else []
        if self.low is not None and self.high is not None:
            limits.append(f"{self.low:g} to {self.high:g}")
        elif self.low is not None:
            limits.append(f"{self.low:g} at least")
        elif self.high is not None:
            limits.append(f"{self.high:g} at most")
        if self.above is not None:
            limits.append(f"above {self.above:g}")
        if self.below is not None:
            limits.append(f"below {self.below:g}")
        told = " and ".join(limits)
        if self.length is not None:
            told = f"{self.length} numbers" + (f", each {told}" if told else "")
        return told + (", the smaller first" if self.rising else "")

    def holds(self, value: Any) -> bool:
        """Say whether a value of the right type lies within."""
        if self.choices:
            return value in self.choices
        if not isinstance(value, tuple):
            return self._within(value)
        right = len(value) == self.length if self.length is not None else len(value) > 0
        return right and all(map(self._within, value)) and not (self.rising and list(value) != sorted(value))

    def _within(self, value: Any) -> bool:
        if isinstance(value, str | bool):
            return True
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and not (self.power_of_two and value & (value - 1))
        )


class Described(NamedTuple):
    """A setting as a reader sees it: its whole key, default, the values there are, and its meaning."""

    key: str
    default: Any
    range: str
    doc: str


def setting(default: Any, doc: str, **limits: Any) -> Any:
    """Declare a field of a frozen dataclass: its default, what it means, and the limits of `Range`."""
    return dataclasses.field(default=default, metadata={"range": Range(doc, **limits)})


def changed(base: type, name: str, default: Any, **limits: Any) -> Any:
    """Declare a base's setting once more with another default, its meaning and range kept, but for the limits given."""
    known = _field(base, name).metadata["range"]
    return dataclasses.field(default=default, metadata={"range": dataclasses.replace(known, **limits)})


def check(group: Any, prefix: str) -> None:
    """Raise a UserError that names the first setting of a dataclass, nested ones included, that cannot be.

    Args:
      group: an instance; every field is checked against its type and its range, then the group's own `rules()`, which
        yield (field, message) for what does not go together.
      prefix: the key of the group itself, "method", which messages put before the names.
    """
    hints = typing.get_type_hints(type(group))
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            check(value, _join(prefix, field.name))
            continue
        limits = field.metadata.get("range", Range(""))
        key = key_of(group, field.name, prefix)
        if not _is_a(value, hints[field.name]):
            raise UserError(f"{key}={value!r} must be {_kind(hints[field.name])}")
        if not limits.holds(value):
            raise UserError(f"{key}={value!r} must be {limits.told() or 'a finite number'}")
    for name, message in getattr(group, "rules", tuple)():
        raise UserError(f"{key_of(group, name, prefix)}={getattr(group, name)!r} {message}")


def key_of(group: Any, name: str, prefix: str) -> str:
    """Return the key of a group's field as a user types it, such as "method.view.hue" or "data.image_size"."""
    owner = _field(group, name).metadata.get("range", Range("")).owner
    return _join(prefix if owner is None else owner, name)


def describe(group: Any, prefix: str) -> list[Described]:
    """Return every setting of a dataclass or an instance of one, groups opened, in their order."""
    found = []
    for field in dataclasses.fields(group):
        value = field.default if isinstance(group, type) else getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            found += describe(value, _join(prefix, field.name))
        else:
            limits = field.metadata.get("range", Range(""))
            found.append(Described(key_of(group, field.name, prefix), value, limits.told(), limits.doc))
    return found


def defaults(group: Any) -> dict[str, Any]:
    """Return the settings of a dataclass or an instance as a nested dict, without those that others own."""
    found = {}
    for field in dataclasses.fields(group):
        value = field.default if isinstance(group, type) else getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            found[field.name] = defaults(value)
        elif field.metadata.get("range", Range("")).owner is None:
            found[field.name] = value
    return found


def build(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    """Make a dataclass of nested values, the rest being its defaults.

    Raises:
      UserError: a key that is none of its settings; the nearest one is named.
    """
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    given = {}
    for name, value in values.items():
        if name not in fields:
            known = [each.key for each in describe(kind, prefix)]
            raise UserError(f"{_join(prefix, name)}: there is no such setting{nearest(_join(prefix, name), known)}")
        nested = dataclasses.is_dataclass(fields[name]) and isinstance(value, Mapping)
        given[name] = replace(fields[name], value, _join(prefix, name)) if nested else value
    return kind(**given)


def replace(group: Any, values: Mapping[str, Any], prefix: str) -> Any:
    """Return a group with some of its nested values changed. Raises UserError as `build` does."""
    own = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    return build(type(group), {**own, **values}, prefix)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" for the known name most like a wrong one, or a list of them where none is.

    Of dotted names the last part counts where the whole is like none.
    """
    known = list(known)
    tails = {each.rpartition(".")[2]: each for each in known}
    near = difflib.get_close_matches(name, known, 1, 0.6)
    near = near or [tails[tail] for tail in difflib.get_close_matches(name.rpartition(".")[2], tails, 1, 0.6)]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= 24 else ""


def _field(group: Any, name: str) -> dataclasses.Field:
    return next(field for field in dataclasses.fields(group) if field.name == name)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _is_a(value: Any, hint: Any) -> bool:
    """Say whether a value is of a declared type; whole numbers are floats too, and True is no number."""
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, each) for each in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_a(entry, typing.get_args(hint)[0]) for entry in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "a list such as (1, 2)"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(hint, str(hint))


# --- the groups that methods share ---


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam with coupled L2 (`optimizers.adam`)."""

    learning_rate: float = setting(1e-4, "step size", above=0)
    b1: float = setting(0.9, "decay of the mean gradient", low=0, below=1)
    b2: float = setting(0.999, "decay of the mean squared gradient", low=0, below=1)
    weight_decay: float = setting(0.0, "coupled L2: added to the gradient, biases included", low=0)


@dataclasses.dataclass(frozen=True)
class LinearDecay:
    """A learning rate that is constant, then falls linearly to 0 (`optimizers.linear_decay`)."""

    constant_steps: int = setting(100_000, "iterations at the full rate", low=0)
    decay_steps: int = setting(100_000, "iterations in which the rate then falls to 0", low=0)


@dataclasses.dataclass(frozen=True)
class R1:
    """The gradient penalty on real images (arXiv:1801.04406), at every so many iterations only."""

    weight: float = setting(10.0, "of the penalty; 0 for none", low=0)
    every: int = setting(1, "its period in iterations; the weight grows with it", low=1)

    def on(self, step: int) -> bool:
        """Say whether an iteration has the penalty."""
        return self.weight > 0 and step % self.every == 0


@dataclasses.dataclass(frozen=True)
class View:
    """How a second view of an image is moved and recoloured (`augment.strong_view`); its kinds add the crop."""

    degrees: float = setting(20.0, "limit of the rotation, degrees", low=0, high=180)
    translate: float = setting(0.1, "limit of the translation, a share of the sides", low=0, high=1)
    shear: float = setting(10.0, "limit of the shear along x, degrees", low=0, below=90)
    brightness: float = setting(0.4, "limit of the brightness factor's distance to 1", low=0)
    contrast: float = setting(0.4, "limit of the contrast factor's distance to 1", low=0)
    saturation: float = setting(0.4, "limit of the saturation factor's distance to 1", low=0)
    hue: float = setting(0.125, "limit of the hue's turn, whole circles", low=0, high=0.5)
    fill: str = setting("black", "what the affine map brings in from outside", choices=("black", "edge"))


@dataclasses.dataclass(frozen=True)
class AreaView(View):
    """A view whose crop is drawn by its area and aspect, as torchvision's."""

    crop_scale: tuple[float, ...] = setting((0.9, 1.1), "the crop's share of the area", above=0, length=2, rising=True)
    crop_aspect: tuple[float, ...] = setting((0.9, 1.1), "the crop's width / height", above=0, length=2, rising=True)


@dataclasses.dataclass(frozen=True)
class SquareView(View):
    """A view whose crop is a square drawn by its side."""

    crop_sides: tuple[float, ...] = setting(
        (0.125, 1.0), "side of the crop, a share of the image's", above=0, high=1, length=2, rising=True
    )
