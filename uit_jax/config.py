"""The settings of a run: defaults, config files with presets, command-line overrides, and their record in the workdir.

A config is a locked `ConfigDict`: a misspelt key fails, and the failure names the nearest known one.
Below `methods.build` there are typed arguments only.
"""

import ast
import dataclasses
import difflib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.types import Method, PyTree

# What `methods.build` is told by other parts of the config.
_GIVEN = ("image_size", "channels", "target_channels", "precision", "sync_statistics")

# What may differ when a run is continued: none of it changes what an update computes from its batch.
_FREE = frozenset(
    "steps log_every image_every checkpoint_every evaluate_every keep_checkpoints best_metric tensorboard devices"
    " parallel data.source data.target data.test_source data.test_target data.max_unreadable_share".split()
)


def defaults(method: str = "tunit") -> ConfigDict:
    """Return every setting with its default, locked; `config.method` holds the method's own hyper-parameters."""
    config = ConfigDict(
        dict(
            seed=0,
            steps=200_000,
            batch_size=32,  # global: all devices of all processes together
            precision="float32",  # or bf16: activations only; weights, norms and losses stay float32
            parallel="pmap",  # or shard_map, jit
            devices=0,  # 0: all there are
            sync_statistics=True,  # batch-norm and IIC statistics of the global batch
            log_every=100,
            image_every=5_000,
            checkpoint_every=5_000,
            evaluate_every=5_000,
            keep_checkpoints=2,  # the latest ones; the best is kept beside them
            best_metric="cluster_accuracy",  # the larger the better
            tensorboard=True,
            data=dict(
                source="procedural",
                target="",  # pairs of domains: where domain B is, if not beside A
                direction="AtoB",  # or BtoA
                test_source="",
                test_target="",
                image_size=_settings(method)["image_size"],
                channels=3,
                target_channels=0,  # of domain B; 0: as many as A
                depth=8,  # or 16: bits of a pixel that reach the network
                resample="bilinear",  # or bicubic
                max_unreadable_share=0.01,
            ),
            method=dict(name=method, **method_defaults(method)),
        )
    )
    return config.lock()


def method_defaults(name: str) -> dict[str, Any]:
    """Return the hyper-parameters of a method with their defaults."""
    return {key: value for key, value in _settings(name).items() if key not in _GIVEN}


def _settings(name: str) -> dict[str, Any]:
    if name not in methods.METHODS:
        raise UserError(f"method.name: no method is called {name!r}{_nearest(name, methods.METHODS)}")
    return {field.name: field.default for field in dataclasses.fields(methods.METHODS[name][0])}


def build_method(config: ConfigDict) -> Method:
    """Build the method that a config describes."""
    hparams = config.method.to_dict()
    name = hparams.pop("name")
    for key in _settings(name).keys() & set(_GIVEN):
        hparams[key] = config.data[key] if key in config.data else config[key]
    return methods.build(name, **hparams)


def initial_state(config: ConfigDict, method: Method) -> PyTree:
    """Draw the state a run begins with; under `jax.eval_shape`, the shapes of any state of that run."""
    batch = batch_shapes(config, method, method.phase(0))
    # A raw key: over several processes shard_map cannot lay out a typed one.
    # As one program: compiling the draw of each weight apart takes longer.
    return jax.jit(lambda key: method.init(key, batch))(jax.random.PRNGKey(config.seed))


def batch_shapes(config: ConfigDict, method: Method, phase: str) -> dict[str, jax.ShapeDtypeStruct]:
    """Return what the global batch of a phase looks like; images of their own size stand in at twice the training's."""
    wanted, size = config.data, method.batch_size(phase, config.batch_size)
    side = wanted.image_size if method.load_size is None else method.load_size(phase) or 2 * wanted.image_size
    dtype = np.uint8 if wanted.depth == 8 else np.uint16

    def images(channels):
        return jax.ShapeDtypeStruct((size, side, side, channels), dtype)

    if method.layout == "pair":
        return {"a": images(wanted.channels), "b": images(wanted.target_channels or wanted.channels)}
    return {"image": images(wanted.channels), "label": jax.ShapeDtypeStruct((size,), np.int32)}


def resolve(spec: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """Load `path/of/config.py[:preset]` and apply `--config.a.b=value` overrides in order.

    Raises:
      UserError: no such file or preset, a misspelt key, a value of the wrong type.
    """
    return override(_load(spec), overrides)


def override(config: ConfigDict, overrides: Iterable[str]) -> ConfigDict:
    """Apply `--config.a.b=value` arguments in place."""
    for argument in overrides:
        key, equals, text = argument.removeprefix("--config.").partition("=")
        if not equals:
            raise UserError(f"{argument}: write the value behind an equals sign, as in --config.{key}=VALUE")
        _set(config, key, lambda current, key=key, text=text: _parse(key, text, current))
    return config


def update(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Set dotted keys to values in place; an unknown key or a value of another type is a `UserError`."""
    for key, value in changes.items():
        _set(config, key, lambda current, value=value: value)
    return config


def preset(config: ConfigDict, names: str, table: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Apply presets by name, several joined by commas: each a mapping of dotted keys to values."""
    for name in filter(None, names.split(",")):
        if name not in table:
            raise UserError(f"no preset is called {name!r}{_nearest(name, table)}; there are: {', '.join(table)}")
        update(config, table[name])
    return config


def split(argv: Iterable[str]) -> tuple[list[str], list[str]]:
    """Separate a command line into its other arguments and its `--config.key=value` overrides."""
    argv = list(argv)
    return [a for a in argv if not a.startswith("--config.")], [a for a in argv if a.startswith("--config.")]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys -> values."""
    flat = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping | ConfigDict)
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value})
    return flat


def save(config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Write the resolved config to `workdir`/config.json, whole or not at all."""
    path = Path(workdir) / "config.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    partial.replace(path)


def saved(workdir: str | os.PathLike) -> ConfigDict | None:
    """Read back the config of a workdir; None if it has none yet."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        return None
    try:
        return ConfigDict(_tuples(json.loads(path.read_text()))).lock()
    except ValueError as error:
        raise UserError(f"{path} is not the config of a run: {error}") from error


def check_resumable(config: ConfigDict, before: ConfigDict, workdir: str | os.PathLike) -> None:
    """Refuse to continue a run under settings that would make it another run; the message names the key."""
    old, new = flatten(_tuples(before.to_dict())), flatten(_tuples(config.to_dict()))
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in _FREE and (key not in old or key not in new or old[key] != new[key]):
            was, now = (repr(side[key]) if key in side else "absent" for side in (old, new))
            raise UserError(
                f"{workdir} was begun with config.{key} {was}, not {now}: give that value to continue it,"
                " or another --workdir to begin anew"
            )


def _load(spec: str) -> ConfigDict:
    name, _, chosen = spec.partition(":")
    path = _find(name)
    module_spec = importlib.util.spec_from_file_location(f"uit_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        config = module.get_config(chosen)
    except UserError:
        raise
    except (AttributeError, KeyError, TypeError, SyntaxError, ImportError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    return config.lock()


def _find(name: str) -> Path:
    """Find a config file: as given, else among those shipped beside the package or, when installed, inside it."""
    package = Path(__file__).resolve().parent
    shipped = Path("configs") / Path(name).name
    for path in (Path(name), package.parent / shipped, package / shipped):
        if path.is_file():
            return path
    raise UserError(f"--config={name}: no such file, here or among the configs that ship with uit_jax")


def _set(config: ConfigDict, key: str, value_of) -> None:
    known = flatten(config)
    if key not in known:
        raise UserError(f"config.{key}: there is no such key{_nearest(key, known)}")
    *outer, last = key.split(".")
    for part in outer:
        config = config[part]
    try:
        config[last] = value_of(config[last])
    except TypeError as error:
        raise UserError(f"config.{key}: {error}") from error


def _parse(key: str, text: str, current: Any) -> Any:
    """Read a command-line value as the type of the one it replaces."""
    if isinstance(current, str):
        return text
    if isinstance(current, bool):
        if text.lower() not in ("true", "false"):
            raise UserError(f"config.{key}={text}: expected true or false")
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if current is None or value is None:
        return value
    accepted, meaning = _TYPES[type(current)]
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise UserError(f"config.{key}={text}: expected {meaning}")
    return type(current)(value)


_TYPES = {
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    tuple: ((tuple, list), "a list such as (1,2)"),
}


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    tails = {key.rpartition(".")[2]: key for key in known}
    near = difflib.get_close_matches(name, known, 1, 0.6)
    near = near or [tails[t] for t in difflib.get_close_matches(name.rpartition(".")[2], tails, 1, 0.6)]
    return f"; did you mean {near[0]}?" if near else ""


def _tuples(value: Any) -> Any:
    """Turn lists into tuples throughout: JSON has no tuples, and hyper-parameters are hashed."""
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list | tuple) else value
