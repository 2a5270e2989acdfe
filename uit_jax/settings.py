"""Settings: declared once, where they are read, with default, meaning and range; checked and described from there.

A field made by `setting` states what it may be. Fields that belong together are a frozen dataclass of their own, a
group (`View`, `Adam`, `R1`, ...), which a config nests: `method.view.hue`. Rules between fields are its `rules`.
"""

import dataclasses
import difflib
import functools
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from uit_jax.errors import UserError

LARGEST = 2**31 - 1
"""The largest whole number where no other limit is declared."""


@dataclasses.dataclass(frozen=True)
class Range:
    """What a setting means and may be; the limits hold for every entry of a list.

    Attributes:
      doc: what it does, in a few plain words, with its unit.
      low, high: the least and the greatest value.
      above, below: what the value must lie above or below, these excluded.
      choices: the values there are.
      length: entries of a list; None for one at least.
      empty: whether a list may have no entry.
      rising: whether no entry of a list is below the one before.
      power_of_two: whether the value is one.
      owner: the part of a config that owns it, "" for its top level; None for the one it is declared in.
      follows: how it goes with the length of a run: "steps", as many times as many in a run so many times as long;
        "average", the decay of an average over a share of the run; "" where it is the same in any run.
    """

    doc: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple = ()
    length: int | None = None
    empty: bool = False
    rising: bool = False
    power_of_two: bool = False
    owner: str | None = None
    follows: str = ""

    def told(self) -> str:
        """Say what values there are: "0 to 1", "above 0", "'black' or 'edge'"; "" where all are."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        limits = ["a power of two"] if self.power_of_two else []
        if self.low is not None and self.high is not None:
            limits.append(f"{self.low} to {self.high}")
        elif self.low is not None:
            limits.append(f"{self.low} at least")
        elif self.high is not None:
            limits.append(f"{self.high} at most")
        limits += [f"above {self.above}"] if self.above is not None else []
        limits += [f"below {self.below}"] if self.below is not None else []
        told = " and ".join(limits)
        if self.length is not None:
            told = f"{self.length} numbers" + (f", each {told}" if told else "")
        return told + (", the smaller first" if self.rising else "")

    def refusal(self, value: Any) -> str:
        """Say what a value of the right type must be; "" where it is that."""
        entries = value if isinstance(value, tuple) else (value,)
        if not entries and not self.empty:
            return "must have one entry at least"
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in entries):
            return "must be finite"
        if self.high is None and any(isinstance(entry, int) and abs(entry) > LARGEST for entry in entries):
            return f"must be {LARGEST} at most"
        right = all(map(self._holds, entries)) and (self.length is None or len(entries) == self.length)
        ordered = not self.rising or list(entries) == sorted(entries)
        return "" if right and ordered else f"must be {self.told()}"

    def _holds(self, entry: Any) -> bool:
        if self.choices or isinstance(entry, str | bool):
            return not self.choices or entry in self.choices
        return (
            (self.low is None or entry >= self.low)
            and (self.high is None or entry <= self.high)
            and (self.above is None or entry > self.above)
            and (self.below is None or entry < self.below)
            and (not self.power_of_two or (entry > 0 and entry & (entry - 1) == 0))
        )


class Described(NamedTuple):
    """A setting as a reader sees it: its whole key, its default, the type it is declared with, and its limits."""

    key: str
    default: Any
    kind: Any
    limits: Range

    @property
    def range(self) -> str:
        """What values there are, "" where all of the type are."""
        return self.limits.told() or ("true or false" if self.kind is bool else "")


def setting(default: Any, doc: str, **limits: Any) -> Any:
    """Declare a field of a frozen dataclass: its default, what it means, and the limits of `Range`."""
    return dataclasses.field(default=default, metadata={"range": Range(doc, **limits)})


def changed(base: type, name: str, default: Any, **limits: Any) -> Any:
    """Declare a base's setting once more with another default, its meaning and range kept, but for the limits given."""
    known = limits_of(base, name)
    return dataclasses.field(default=default, metadata={"range": dataclasses.replace(known, **limits)})


def upsampling() -> Any:
    """Return the setting of how a generator doubles its maps."""
    doc = "how its maps are doubled; bilinear leaves no grid (ours)"
    return setting("nearest", doc, choices=("nearest", "bilinear"))


def check(group: Any, prefix: str) -> None:
    """Raise a UserError that names the first setting of a dataclass, nested ones included, that cannot be.

    Every field is checked against its type and its range, then the group's own `rules()`, which yield (field, message)
    for what does not go together. Messages put `prefix`, the key of the group itself, before the names.
    """
    hints = _hints(type(group))
    for field in dataclasses.fields(group):
        value, kind = getattr(group, field.name), hints[field.name]
        key = key_of(group, field.name, prefix)
        if not is_a(value, kind):
            raise UserError(f"{key}={value!r} must be {kind_of(kind)}")
        if dataclasses.is_dataclass(value):
            check(value, key)
        elif refusal := limits_of(group, field.name).refusal(value):
            raise UserError(f"{key}={value!r} {refusal}")
    for name, message in getattr(group, "rules", tuple)():
        raise UserError(f"{key_of(group, name, prefix)}={getattr(group, name)!r} {message}")


def limits_of(group: Any, name: str) -> Range:
    """Return what a setting of a dataclass, or of an instance of one, may be."""
    field = next(field for field in dataclasses.fields(group) if field.name == name)
    return field.metadata.get("range", Range())


def key_of(group: Any, name: str, prefix: str) -> str:
    """Return the key of a group's field as a user types it, such as "method.view.hue" or "data.image_size"."""
    owner = limits_of(group, name).owner
    return _join(prefix if owner is None else owner, name)


def owned(group: Any) -> dict[str, str]:
    """Return the settings of a dataclass that other parts of a config own: their names -> their whole keys."""
    names = [field.name for field in dataclasses.fields(group)]
    return {name: key_of(group, name, "") for name in names if limits_of(group, name).owner is not None}


def describe(group: Any, prefix: str) -> list[Described]:
    """Return every setting of a dataclass or an instance of one, groups opened, in their order."""
    hints = _hints(group if isinstance(group, type) else type(group))
    found = []
    for name, value in _values(group).items():
        if dataclasses.is_dataclass(value):
            found += describe(value, _join(prefix, name))
        else:
            found.append(Described(key_of(group, name, prefix), value, hints[name], limits_of(group, name)))
    return found


def build(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    """Make a dataclass of nested values, the rest being its defaults. Raises UserError for an unknown key."""
    return kind(**_merged(kind, values, prefix))


def replace(group: Any, values: Mapping[str, Any], prefix: str) -> Any:
    """Return a group with some of its nested values changed. Raises UserError as `build` does."""
    return type(group)(**_merged(group, values, prefix))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" for the known name most like a wrong one, or a list of them where none is."""
    known = list(known)
    # Of a group inside of a group, only a setting of its own is meant.
    group = name.rpartition(".")[0]
    known = ("." in group and [each for each in known if each.rpartition(".")[0] == group]) or known
    near = max(known, key=lambda each: _likeness(name, each), default="")
    if near and _likeness(name, near)[0] >= 0.6:
        return f"; did you mean {near}?"
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= 24 else ""


def is_a(value: Any, kind: Any) -> bool:
    """Say whether a value is of a declared type; whole numbers are floats too, and True is no number."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(is_a(entry, typing.get_args(kind)[0]) for entry in value)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def kind_of(kind: Any) -> str:
    """Say what values of a declared type are."""
    if typing.get_origin(kind) is tuple:
        return "a list such as (1, 2)" if typing.get_args(kind)[0] is not str else "a list of names"
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return known.get(kind, "a group of settings")


_hints = functools.cache(typing.get_type_hints)


def _values(group: Any) -> dict[str, Any]:
    """Return the values of an instance's fields, or the defaults of a dataclass's."""
    kind = isinstance(group, type)
    return {f.name: f.default if kind else getattr(group, f.name) for f in dataclasses.fields(group)}


def _merged(group: Any, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a group's values with some changed, those of nested groups one by one."""
    merged = _values(group)
    for name, value in values.items():
        key = _join(prefix, name)
        if name not in merged:
            known = [each.key for each in describe(group, prefix)]
            raise UserError(f"{key}: there is no such setting{nearest(key, known)}")
        nested = dataclasses.is_dataclass(merged[name]) and isinstance(value, Mapping)
        merged[name] = replace(merged[name], value, key) if nested else value
    return merged


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _likeness(one: str, other: str) -> tuple[float, float]:
    """Say how alike two keys are: by their last parts or all after the first, whichever is more; then as wholes.

    Points count as underscores, which parted the words before there were groups.
    """

    def alike(a: str, b: str) -> float:
        return difflib.SequenceMatcher(None, a.replace(".", "_"), b.replace(".", "_")).ratio()

    whole, last = alike(one, other), alike(one.rpartition(".")[2], other.rpartition(".")[2])
    (first, _, rest), (first_other, _, rest_other) = one.partition("."), other.partition(".")
    return max(last, alike(rest, rest_other) if rest and first == first_other else whole), whole


# --- the groups that methods share ---


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam with coupled L2 (`optimizers.adam`)."""

    learning_rate: float = setting(1e-4, "step size", above=0)
    b1: float = setting(0.9, "decay of the mean gradient", low=0, below=1)
    b2: float = setting(0.999, "decay of the mean squared gradient", low=0, below=1)
    weight_decay: float = setting(0.0, "coupled L2: added to the gradient, biases included", low=0)


@dataclasses.dataclass(frozen=True)
class RMSprop:
    """RMSprop with coupled L2 (`optimizers.rmsprop`)."""

    learning_rate: float = setting(1e-4, "step size", above=0)
    decay: float = setting(0.99, "of the mean squared gradient", low=0, below=1)
    weight_decay: float = setting(0.0, "coupled L2: added to the gradient, biases included", low=0)


@dataclasses.dataclass(frozen=True)
class LinearDecay:
    """A learning rate that is constant, then falls linearly to 0 (`optimizers.linear_decay`)."""

    constant_steps: int = setting(100_000, "iterations at the full rate", low=0, follows="steps")
    decay_steps: int = setting(100_000, "iterations in which the rate then falls to 0", low=0, follows="steps")


@dataclasses.dataclass(frozen=True)
class StepDecay:
    """A learning rate that falls by steps (`optimizers.step_decay`)."""

    every: int = setting(100_000, "iterations between two steps; 0: the rate stays", low=0, follows="steps")
    factor: float = setting(0.5, "by which the rate is multiplied at each", above=0, high=1)


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
