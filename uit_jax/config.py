"""The settings of a run: defaults, config files with presets, command-line overrides, and their record in the workdir.

A config is a locked `ConfigDict` of nested values; what they mean and may be is declared by `Top`, `Data` and the
method's class. A misspelt key fails, and the failure names the nearest known one.
"""

import ast
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import __version__, drawing, files, foreign_names, methods, recipe_files, settings
from uit_jax.errors import UserError
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.method import DIRECTIONS, Method
from uit_jax.paths import PathLike, as_path
from uit_jax.settings import Described, changed, setting
from uit_jax.state import TrainState

ON_DEVICE = ("auto", "yes", "no")


@dataclasses.dataclass(frozen=True)
class Data:
    """The images that a run learns from: what `config.data` holds."""

    source: str = setting("procedural", "where the images are: a folder, a packed set, tfds:NAME or procedural")
    target: str = setting("", "of a pair of domains: where B is, if not beside A")
    direction: str = setting("AtoB", "of a pair: which domain is translated into which", choices=DIRECTIONS)
    test_source: str = setting("", "where held-out images are, if not beside the source")
    test_target: str = setting("", "of a pair: where held-out images of B are, if not beside A's")
    labels: str = setting("", "a file of the training images' labels (`uit data label`), instead of the source's own")
    image_size: int = changed(Method, "image_size", 128, owner=None)
    channels: int = changed(Method, "channels", 3, owner=None)
    target_channels: int = setting(0, "channels of domain B's images; 0: as many as A's", low=0)
    depth: int = setting(8, "bits of a pixel's channel that reach the network", choices=(8, 16))
    resample: str = setting("bilinear", "how images are resized when they are read", choices=("bilinear", "bicubic"))
    max_unreadable_share: float = setting(0.01, "of the images that may be unreadable", low=0, high=1)
    max_pixels: int = setting(MAX_PIXELS, "of an image file; larger ones are unreadable, by their header", low=1)
    on_device: str = setting(
        "auto", "whether all images are kept on the device, decoded once; auto: where they are few", choices=ON_DEVICE
    )


@dataclasses.dataclass(frozen=True)
class Top:
    """What a config holds beside its method."""

    seed: int = setting(0, "of all that is random: weights, the order of images, views", low=0, high=2**32 - 1)
    steps: int = setting(200_000, "iterations of the whole run", low=1, follows="steps")
    hours: float = setting(
        0.0,
        "what a run may take: steps, and what goes with them, are set by what one takes here; 0: no limit",
        low=0,
        high=10_000,
    )
    batch_size: int = setting(32, "images of a step, from each side, over all devices of all processes", low=1)
    precision: str = changed(Method, "precision", "float32", owner=None)
    parallel: str = setting("pmap", "how a step is spread over devices", choices=("pmap", "shard_map", "jit"))
    devices: int = setting(0, "how many devices take part; 0: all there are", low=0)
    steps_per_dispatch: int = setting(1, "iterations that a device is told to do at once, of short ones", low=1)
    sync_statistics: bool = changed(Method, "sync_statistics", True, owner=None)
    recompute: str = changed(Method, "recompute", "none", owner=None)
    microbatches: int = changed(Method, "microbatches", 1, owner=None)
    log_every: int = setting(100, "iterations from one line of metrics to the next; 0: none", low=0)
    image_every: int = setting(5_000, "iterations from one picture of translations to the next; 0: none", low=0)
    checkpoint_every: int = setting(5_000, "iterations between checkpoints; 0: the last step alone", low=0)
    evaluate_every: int = setting(5_000, "iterations between evaluations; 0: none", low=0)
    evaluators: tuple[str, ...] = setting((), "names of what is scored then; by default the method's own", empty=True)
    keep_checkpoints: int = setting(2, "the latest checkpoints that are kept; the best stands beside them", low=1)
    best_metric: str = setting("", "the score that a best checkpoint has most of, behind a minus least; none if empty")
    tensorboard: bool = setting(True, "whether metrics are also written for TensorBoard")
    report: bool = setting(True, "whether `uit train` ends with the run's page, report.html, as `uit report` does")
    init_from: str = setting("", "whose weights to begin with: WORKDIR, WORKDIR:STEP or a file of published ones")
    data: Data = Data()


class Explained(NamedTuple):
    """A setting as it is declared, its value in a config, and what set that: "" for the default."""

    told: Described
    value: Any
    origin: str


# What may differ when a run is continued: none of it changes what an update computes from its batch, but for rounding.
FREE = frozenset(
    "steps hours log_every image_every checkpoint_every evaluate_every evaluators keep_checkpoints best_metric"
    " tensorboard report devices parallel steps_per_dispatch recompute microbatches data.source data.target"
    " data.test_source data.test_target data.labels data.max_unreadable_share data.max_pixels data.on_device"
    " method.landmarks".split()
)


def defaults(method: str) -> ConfigDict:
    """Return every setting with its default, locked; `config.method` holds the method's name and its own settings."""
    nested: dict[str, Any] = {}
    for key, told in known(method).items():
        *groups, name = key.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = told.default
    return ConfigDict(nested).lock()


def known(method: str) -> dict[str, Described]:
    """Return every setting of a method's configs by its key, in order; what the method reads has the method's range."""
    kind = methods.kind(method)
    chosen = {"evaluators": kind.followed, "best_metric": kind.best_metric}
    top = [told._replace(default=chosen.get(told.key, told.default)) for told in settings.describe(Top, "")]
    choices = settings.Range("whose settings these are; fixed by the config file", choices=tuple(methods.METHODS))
    name = Described("method.name", method, str, choices)
    return {told.key: told for told in (*top, name, *settings.describe(kind, "method"))}


def method_of(config: ConfigDict) -> Method:
    """Check all that a config says and build its method. Raises UserError with the key of what cannot be."""
    values = flatten(config)
    if missing := [key for key in known(config.method.name) if key not in values]:
        raise UserError(f"{missing[0]} is missing")
    top = config.to_dict()
    hparams = top.pop("method")
    settings.check(settings.build(Top, top, ""), "")
    kind = methods.kind(hparams.pop("name"))
    owned = {name: values[key] for name, key in settings.owned(kind).items()}
    return settings.build(kind, {**hparams, **owned}, "method")


def check(config: ConfigDict) -> None:
    """Raise a UserError with the key of the first setting of a config, its method's included, that cannot be."""
    method_of(config)


def initial_state(config: ConfigDict, method: Method) -> TrainState:
    """Draw the state a run begins with; under `jax.eval_shape`, the shapes of any state of that run."""
    # A raw key: over several processes shard_map cannot lay out a typed one.
    return drawing.draw(lambda key: method.init(key, config.batch_size), jax.random.PRNGKey(config.seed))


def resolve(spec: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """Load `path/of/config.py[:preset]`, apply `--config.a.b=value` overrides in order, and check. Raises UserError."""
    check(config := override(recipe_files.read(spec), overrides))
    return config


def override(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """Apply `--config.a.b=value` arguments in place, read as the declared types."""
    for argument in overrides:
        key, equals, text = argument.removeprefix("--config.").partition("=")
        if not equals:
            raise UserError(f"{argument}: write the value behind an equals sign, as in --config.{key}=VALUE")
        _set(config, key, lambda kind, text=text: _parse(text, kind), f"{key}={text}")
    return config


def update(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Set dotted keys to values in place; an unknown key or a value of another type is a `UserError`."""
    for key, value in changes.items():
        value = value.item() if isinstance(value, np.generic) else value
        _set(config, key, lambda kind, value=value: _tuples(value), f"{key}={value!r}")
    return config


def preset(config: ConfigDict, names: str, table: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Apply presets by name, several joined by commas: each a mapping of dotted keys to values."""
    for name in filter(None, names.split(",")):
        if name not in table:
            near = settings.nearest(name, table).partition("; there are")[0]
            found = f"there are: {', '.join(table)}" if table else "this recipe has none"
            raise UserError(f"no preset is called {name!r}{near}; {found}")
        update(config, table[name])
    return config


def split(argv: Iterable[str]) -> tuple[list[str], list[str]]:
    """Separate a command line into its other arguments and its `--config.key=value` overrides. Raises UserError."""
    argv = list(argv)
    for argument, following in itertools.zip_longest(argv, argv[1:], fillvalue="-"):
        if argument.startswith("--config.") and "=" not in argument:
            value = "VALUE" if following.startswith("-") else following
            raise UserError(f"{argument}: write the value behind an equals sign, as in {argument}={value}")
    return [a for a in argv if not a.startswith("--config.")], [a for a in argv if a.startswith("--config.")]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys -> values."""
    flat = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping | ConfigDict)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat


def explain(spec: str, overrides: Iterable[str] = (), run: ConfigDict | None = None) -> list[Explained]:
    """Return every setting of `path/of/config.py[:preset]`, or of the run in a workdir, in the config's order.

    `run` are the settings of the run, where they are known better than from its config.json.
    `origin` is "recipe", "preset", "run" or "override": the first of them that has the value. Raises UserError.
    """
    if as_path(spec).is_dir():
        if (config := run or saved(spec)) is None:
            raise UserError(f"{spec}: no run was trained there (it has no config.json)")
        layers = {"run": flatten(config)}
    else:
        config = recipe_files.read(spec)
        layers = {"recipe": flatten(recipe_files.read(spec.partition(":")[0])), "preset": flatten(config)}
    check(override(config, overrides))
    values, rows = flatten(config), []
    for key, told in known(config.method.name).items():
        origin = next((name for name, flat in layers.items() if flat.get(key) == values[key]), "override")
        rows.append(Explained(told, values[key], "" if values[key] == told.default else origin))
    return rows


def save(config: ConfigDict, workdir: PathLike) -> None:
    """Write the resolved config to `workdir`/config.json, with the version that wrote it, whole or not at all."""
    files.write_json(as_path(workdir) / "config.json", {"version": __version__, **config.to_dict()})


def saved(workdir: PathLike) -> ConfigDict | None:
    """Read back the config of a workdir; None if it has none yet. Raises UserError where it is not this version's."""
    path = as_path(workdir) / "config.json"
    if not path.exists():
        return None
    try:
        values = json.loads(files.read_regular(path))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} is not the config of a run: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not the config of a run: it holds no settings")
    if not isinstance(values.get("method"), dict) or "name" not in values["method"]:
        raise UserError(f"{path} is not the config of a run: it names no method")
    version = values.pop("version", None)
    if not isinstance(version, str | None):
        raise UserError(f"{path} is not the config of a run: its version is {version!r}")
    if version is None:
        raise UserError(
            f"{path} was written by uit_jax 0.1.0, whose settings have other names: this version cannot read it;"
            " check out version 0.1.0 (commit 288f2e2) to use or continue that run"
        )
    return read(values, f"{path}, written by uit_jax {version}")


def read(values: Mapping[str, Any], where: str) -> ConfigDict:
    """Build a config from what was read of a JSON file, and check it. Raises UserError, which begins with `where`."""
    try:
        # Runs of version 0.2.0 had no such settings, and did this.
        later = ("init_from", "steps_per_dispatch", "recompute", "microbatches", "hours", "report")
        values = {name: getattr(Top, name) for name in later} | values
        if not isinstance(values.get("data"), Mapping):
            raise UserError("data holds no settings")
        later = ("max_pixels", "on_device", "labels")
        values["data"] = {name: getattr(Data, name) for name in later} | values["data"]
        kind, later = methods.kind(values["method"]["name"]), ("augmentation", "upsampling")
        added = {name: getattr(kind, name) for name in later if hasattr(kind, name)}
        added = {name: vars(each) if dataclasses.is_dataclass(each) else each for name, each in added.items()}
        values["method"] = added | values["method"]
        config = ConfigDict(_tuples(values)).lock()
        check(config)
    # Whatever does not fit, to a user it means one thing.
    except Exception as error:
        raise UserError(f"{where}: {' '.join(str(error).split()) or type(error).__name__}") from error
    return config


def differing(config: ConfigDict, told: Mapping[str, Any]) -> dict[str, str]:
    """Return which settings make a checkpoint's record another run's, each with a message; {} if it is the same."""
    old, new = flatten(config), flatten(_tuples(told))
    keys = [key for key in new if key in old and key not in FREE and old[key] != new[key]]
    return {key: f"{key}={new[key]!r}, not {old[key]!r}" for key in keys}


def corrected(config: ConfigDict, told: Mapping[str, Any], where: str) -> ConfigDict:
    """Give a run's settings the values of a checkpoint's record, but where they may differ. Raises UserError."""
    if config.method.name != told["method"]["name"]:
        return read(told, where)
    values, new = config.to_dict(), flatten(_tuples(told))
    for key in differing(config, told):
        *groups, name = key.split(".")
        functools.reduce(lambda place, group: place[group], groups, values)[name] = new[key]
    return read(values, where)


def check_resumable(config: ConfigDict, before: ConfigDict, workdir: PathLike) -> None:
    """Refuse to continue a run under settings that would make it another run; the message names the key."""
    old, new = flatten(_tuples(before.to_dict())), flatten(_tuples(config.to_dict()))
    for key in dict.fromkeys(["method.name", *old, *new]):
        if key not in FREE and (key not in old or key not in new or old[key] != new[key]):
            was, now = (repr(side[key]) if key in side else "absent" for side in (old, new))
            raise UserError(
                f"{workdir} was begun with {key}={was}, not {now}: give that value to continue it,"
                " or another --workdir to begin anew"
            )


def _find(config: ConfigDict, key: str) -> Described:
    """Return what is known of a key. Raises UserError where it is none, which tells what is meant."""
    told = known(config.method.name)
    if key in told:
        return told[key]
    if members := [each for each in told if each.startswith(f"{key}.")]:
        raise UserError(f"{key} is a group of settings: set {', '.join(members[:8] + ['...'] * (len(members) > 8))}")
    if meant := foreign_names.SETTINGS.get(key.rpartition(".")[2]):
        raise UserError(f"{key}: there is no such setting; here it is {meant}")
    raise UserError(f"{key}: there is no such setting{settings.nearest(key, told)}")


def _set(config: ConfigDict, key: str, read: Callable[[Any], Any], typed: str) -> None:
    """Set a key in place to what is read as its type; `typed` is what the user wrote."""
    kind = _find(config, key).kind
    value = read(kind)
    if not settings.is_a(value, kind):
        raise UserError(f"{typed} must be {settings.kind_of(kind)}")
    if key == "method.name" and value != config.method.name:
        raise UserError(f"{typed} is fixed by the config file: another method has other settings")
    group, _, name = key.rpartition(".")
    for part in filter(None, group.split(".")):
        config = config[part]
    try:
        config[name] = float(value) if kind is float else value
    except OverflowError:
        raise UserError(f"{typed} must be finite") from None


def _parse(text: str, kind: Any) -> Any:
    """Read a command-line value as its declared type; what cannot be read so stays as it is."""
    if kind is str:
        return text
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return tuple(filter(None, map(str.strip, text.split(",")))) if kind == tuple[str, ...] else text
    return tuple(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    """Turn lists into tuples throughout: JSON has no tuples, and hyper-parameters are hashed."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list | tuple) else value
