"""Settings: declared once; checked, described, nested and changed from there."""

import dataclasses
import math
import typing

import pytest

from uit_jax import config, methods, settings
from uit_jax.errors import UserError
from uit_jax.settings import Adam, AreaView, Range, SquareView, changed, setting


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = setting(3, "a number of things", low=0)
    adam: Adam = Adam(1e-3)

    def rules(self):
        if self.count == 13:
            yield "count", "brings bad luck"


@dataclasses.dataclass(frozen=True)
class Outer:
    size: int = setting(8, "pixels a side", low=4, power_of_two=True, owner="data")
    precision: str = setting("float32", "of activations", choices=("float32", "bf16"), owner="")
    share: float = setting(0.5, "of the whole", low=0, below=1)
    limits: tuple[float, ...] = setting((0.5, 1.0), "of a draw", above=0, high=1, length=2, rising=True)
    stages: tuple[int, ...] = setting((1, 2), "convolutions of each stage", low=1)
    names: tuple[str, ...] = setting((), "of what is drawn", choices=("x", "y"), empty=True)
    flag: bool = setting(True, "whether")
    inner: Inner = Inner()

    def rules(self):
        if self.size == 64 and self.flag:
            yield "size", "does not go with flag"


@dataclasses.dataclass(frozen=True)
class Smaller(Outer):
    """A variant: other defaults, a narrower range."""

    share: float = changed(Outer, "share", 0.25, high=0.5)
    inner: Inner = Inner(count=1)


def built(**values):
    return settings.build(Outer, values, "method")


def refused(group, prefix="method"):
    with pytest.raises(UserError) as caught:
        settings.check(group, prefix)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 2}, "data.size=2 must be a power of two and 4 at least"),
        ({"size": 12}, "data.size=12 must be a power of two and 4 at least"),
        ({"precision": "f16"}, "precision='f16' must be 'float32' or 'bf16'"),
        ({"share": -0.1}, "method.share=-0.1 must be 0 at least and below 1"),
        ({"share": 1}, "method.share=1 must be 0 at least and below 1"),
        ({"share": math.nan}, "method.share=nan must be finite"),
        ({"share": math.inf}, "method.share=inf must be finite"),
        ({"share": "half"}, "method.share='half' must be a number"),
        ({"share": True}, "method.share=True must be a number"),
        ({"flag": 1}, "method.flag=1 must be true or false"),
        ({"size": 8.0}, "data.size=8.0 must be a whole number"),
        ({"size": False}, "data.size=False must be a whole number"),
        ({"precision": 32}, "precision=32 must be a text"),
        ({"limits": (0.5,)}, "method.limits=(0.5,) must be 2 numbers, each 1 at most and above 0, the smaller first"),
        ({"limits": (0.0, 1.0)}, "method.limits=(0.0, 1.0) must be 2 numbers"),
        ({"limits": (0.5, 1.5)}, "method.limits=(0.5, 1.5) must be 2 numbers"),
        ({"limits": (0.6, 0.5)}, "method.limits=(0.6, 0.5) must be 2 numbers"),
        ({"limits": 0.5}, "method.limits=0.5 must be a list such as (1, 2)"),
        ({"limits": (0.5, "1")}, "method.limits=(0.5, '1') must be a list such as (1, 2)"),
        ({"limits": (0.5, math.nan)}, "method.limits=(0.5, nan) must be finite"),
        ({"stages": ()}, "method.stages=() must have one entry at least"),
        ({"stages": (1, 0)}, "method.stages=(1, 0) must be 1 at least"),
        ({"names": ("x", "z")}, "method.names=('x', 'z') must be 'x' or 'y'"),
        ({"names": "x"}, "method.names='x' must be a list of names"),
        ({"size": 64}, "data.size=64 does not go with flag"),
        ({"inner": {"count": -1}}, "method.inner.count=-1 must be 0 at least"),
        ({"inner": {"count": 13}}, "method.inner.count=13 brings bad luck"),
        ({"inner": {"adam": {"b1": 1.0}}}, "method.inner.adam.b1=1.0 must be 0 at least and below 1"),
        ({"inner": 3}, "method.inner=3 must be a group of settings"),
        ({"inner": Adam()}, "must be a group of settings"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_whole_key_and_its_range(values, message):
    told = refused(built(**values))
    assert told.startswith(message) or told.endswith(message)


def test_limits_that_are_met_are_accepted():
    for values in (
        {"size": 4},
        {"share": 0},
        {"limits": (1, 1)},
        {"names": ("y", "x")},
        {"stages": (1,)},
        {"inner": Inner(5)},
        {"size": 64, "flag": False},
    ):
        settings.check(built(**values), "method")


def test_a_range_is_told_in_words():
    told = {
        Range(low=0, high=1): "0 to 1",
        Range(low=1): "1 at least",
        Range(high=0.5): "0.5 at most",
        Range(above=0): "above 0",
        Range(low=0, below=90): "0 at least and below 90",
        Range(low=0, high=2**32 - 1): "0 to 4294967295",
        Range(choices=("a", 2)): "'a' or 2",
        Range(length=2, above=0, rising=True): "2 numbers, each above 0, the smaller first",
        Range(length=3): "3 numbers",
        Range(power_of_two=True, low=4): "a power of two and 4 at least",
        Range(): "",
    }
    assert {limits.told(): told for limits, told in told.items()} == {told: told for told in told.values()}


@pytest.mark.parametrize("value", [0, -8, 3, 12])
def test_zero_and_less_are_no_powers_of_two(value):
    assert Range(power_of_two=True).refusal(value) and not Range(power_of_two=True).refusal(16)


def test_nested_values_change_what_they_name_and_leave_the_rest():
    made = built(share=0.1, inner={"adam": {"b1": 0.1}})
    assert made == Outer(share=0.1, inner=Inner(3, Adam(1e-3, b1=0.1)))
    again = settings.replace(made, {"inner": {"adam": {"b2": 0.2}, "count": 4}}, "method")
    assert again == Outer(share=0.1, inner=Inner(4, Adam(1e-3, b1=0.1, b2=0.2)))
    assert settings.build(Outer, {"inner": Inner(7)}, "method").inner.count == 7 and built() == Outer()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": 1}, "method.shape: there is no such setting; did you mean method.share?"),
        ({"inner": {"cuont": 1}}, "method.inner.cuont: there is no such setting; did you mean method.inner.count?"),
        ({"count": 1}, "method.count: there is no such setting; did you mean method.inner.count?"),
        ({"inner_count": 1}, "method.inner_count: there is no such setting; did you mean method.inner.count?"),
        ({"b2": 1}, "method.b2: there is no such setting; did you mean method.inner.adam.b2?"),
        ({"siz": 1}, "method.siz: there is no such setting; did you mean data.size?"),
    ],
)
def test_an_unknown_setting_is_told_by_its_nearest(values, message):
    with pytest.raises(UserError) as caught:
        built(**values)
    assert str(caught.value) == message


def test_nearest_counts_last_parts_as_much_as_the_way_there():
    known = "data.size method.flip method.view.fill method.r1.weight method.r1.every method.style_weight".split()
    for name, near in {
        "method.fill": "method.view.fill",
        "fill": "method.view.fill",
        "method.r1_weight": "method.r1.weight",
        "method.r1.wieght": "method.r1.weight",
        "method.flipp": "method.flip",
        "method.size": "data.size",
    }.items():
        assert settings.nearest(name, known) == f"; did you mean {near}?"
    known = ["method.negatives.kind", "method.augmentation.kinds"]
    assert settings.nearest("method.augmentation.kind", known) == "; did you mean method.augmentation.kinds?"
    assert settings.nearest("zzz", ["a", "b"]) == "; there are: a, b"
    assert settings.nearest("zzz", []) == "" and settings.nearest("zzz", map(str, range(99))) == ""


def test_a_dataclass_and_its_instances_describe_themselves():
    told = settings.describe(Outer, "method")
    assert [each.key for each in told] == [
        "data.size", "precision", "method.share", "method.limits", "method.stages", "method.names", "method.flag",
        "method.inner.count", "method.inner.adam.learning_rate", "method.inner.adam.b1", "method.inner.adam.b2",
        "method.inner.adam.weight_decay",
    ]  # fmt: skip
    by_key = {each.key: each for each in told}
    share = by_key["method.share"]
    assert (share.default, share.kind, share.range) == (0.5, float, "0 at least and below 1")
    assert share.limits.doc == "of the whole" and by_key["method.flag"].range == "true or false"
    assert by_key["method.inner.adam.learning_rate"].default == 1e-3
    assert settings.describe(Outer(share=0.1), "")[2][:2] == ("share", 0.1)
    assert settings.owned(Outer) == {"size": "data.size", "precision": "precision"}


def test_a_variant_keeps_meaning_and_range_but_for_what_it_says():
    told = {each.key: each for each in settings.describe(Smaller, "method")}
    share = told["method.share"]
    assert (share.default, share.limits.doc, share.limits.high, share.limits.below) == (0.25, "of the whole", 0.5, 1)
    assert told["method.inner.count"].default == 1
    assert refused(Smaller(share=0.6)).startswith("method.share=0.6 must be 0 to 0.5")
    settings.check(Smaller(), "method")


def test_the_shared_groups_stand_by_their_defaults():
    for group in (Adam(), AreaView(), SquareView(), settings.LinearDecay(), settings.StepDecay(), settings.R1()):
        settings.check(group, "method.group")
    assert [settings.R1(1.0, every=4).on(step) for step in range(5)] == [True, False, False, False, True]
    assert not settings.R1(0.0).on(0)
    for view, message in (
        (SquareView(crop_sides=(0.5, 2.0)), "method.view.crop_sides=(0.5, 2.0) must be 2 numbers"),
        (AreaView(crop_scale=(1.1, 0.9)), "method.view.crop_scale=(1.1, 0.9) must be 2 numbers"),
        (AreaView(fill="white"), "method.view.fill='white' must be 'black' or 'edge'"),
        (AreaView(hue=0.6), "method.view.hue=0.6 must be 0 to 0.5"),
    ):
        assert refused(view, "method.view").startswith(message)


# --- every setting there is: of the config's top level, of its data, and of every method ---

EVERY = {name: config.known(name) for name in methods.METHODS}
NUMBERS = (int, float)


def number_outside(limits: Range, kind: type):
    """Yield numbers of a type just outside each of a range's limits."""
    step = 1 if kind is int else 1e-3
    yield from (limit - step for limit in [limits.low] if limit is not None)
    yield from (limit + step for limit in [limits.high] if limit is not None)
    yield from (limit for limit in (limits.above, limits.below) if limit is not None)
    if limits.power_of_two:
        yield 3 * 2 ** max(int(limits.low or 1), 4)
    if kind is float:
        yield from (math.nan, math.inf, -math.inf)


def outside(told):
    """Yield values that a setting cannot have, of its type and of others."""
    kind, limits = told.kind, told.limits
    if typing.get_origin(kind) is tuple:
        entry, good = typing.get_args(kind)[0], told.default
        yield from (None, good[0] if good else 1)
        if not limits.empty:
            yield ()
        if limits.length is not None:
            yield good[:-1]
            yield (*good, good[-1])
        if limits.rising and good[0] != good[-1]:
            yield good[::-1]
        if entry in NUMBERS:
            yield from ((*good[:-1], wrong) for wrong in number_outside(limits, entry))
            yield ("one",) * len(good)
        return
    yield from {int: ("one", 1.5, True, None), float: ("one", True, None), bool: (1, "true"), str: (1, None)}[kind]
    if kind in NUMBERS and not limits.choices:
        yield from number_outside(limits, kind)
    if limits.choices:
        yield "no-such-choice" if kind is str else max(limits.choices) + 1


def set_to(flat, key, value):
    """Return the nested dict of flat values with one of them changed, whatever it is."""
    nested = {}
    for each, own in {**flat, key: value}.items():
        *groups, name = each.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = own
    return config.ConfigDict(nested)


@pytest.mark.parametrize("name", EVERY)
def test_what_no_setting_can_be_is_refused_with_its_whole_key(name):
    flat = config.flatten(config.defaults(name))
    config.check(config.defaults(name))
    for key, told in EVERY[name].items():
        for value in () if key == "method.name" else outside(told):
            with pytest.raises(UserError) as caught:
                config.check(set_to(flat, key, value))
            assert str(caught.value).startswith(f"{key}={value!r} must "), (key, value)


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_has_a_meaning_and_every_number_a_limit(name):
    for key, told in EVERY[name].items():
        assert told.limits.doc and not told.limits.doc.endswith("."), f"{key} has no meaning, or a sentence for one"
        entry = typing.get_args(told.kind)[0] if typing.get_origin(told.kind) is tuple else told.kind
        if entry in NUMBERS:
            assert told.limits.told() or "any" in told.limits.doc, f"{key} has no limit and does not say why"
        assert settings.is_a(told.default, told.kind), key


@pytest.mark.parametrize("name", EVERY)
def test_what_others_own_stands_in_the_config(name):
    top = {told.key: told for told in settings.describe(config.Top, "")}
    for field, key in settings.owned(methods.METHODS[name]).items():
        assert key in top and top[key].kind == EVERY[name][key].kind, field
