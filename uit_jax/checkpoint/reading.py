"""The run in a workdir, read back: its checkpoints' steps, its settings, its state."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.checkpoint import records, weights
from uit_jax.checkpoint.manager import Checkpoints, quiet
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.paths import PathLike, as_path
from uit_jax.types import PyTree

_log = logging.getLogger(__name__)


def steps(workdir: PathLike) -> list[int]:
    """Return the steps of a workdir's checkpoints, ascending; [] where a run has saved none, or nothing is there."""
    folder = as_path(workdir) / "checkpoints"
    return sorted(int(each.name) for each in folder.iterdir() if each.name.isdecimal()) if folder.is_dir() else []


def restore_run(workdir: PathLike, which: str | int = "latest") -> tuple[Any, Method, PyTree]:
    """Read back a trained run: (config, method, state), the state on the host.

    Args:
      workdir: the folder `uit train` wrote.
      which: "latest", "best", or a step.

    Raises:
      UserError: there is no such run or checkpoint.
    """
    config = begun_with(workdir)
    if config is None:
        raise UserError(f"--workdir={workdir}: no run was trained there (it has no config.json)")
    method = config_module.method_of(config)
    if weights.are_alone(workdir):
        raise UserError(f"--workdir={workdir}: holds the weights that translate alone: name the run they are of")
    if not (as_path(workdir) / "checkpoints").is_dir():
        raise UserError(f"--workdir={workdir}: the run has saved no checkpoint yet")
    with quiet():
        checkpoints = Checkpoints(workdir, best_metric=config.best_metric, read_only=True)
    try:
        step = checkpoints.best_step() if which == "best" else int(which) if str(which).isdecimal() else None
        if which == "best" and step is None:
            raise UserError(f"--workdir={workdir}: no checkpoint was scored, so none is the best (evaluate_every)")
        if which != "latest" and step not in checkpoints.steps:
            raise UserError(f"--workdir={workdir}: no checkpoint is {which!r}; there are: {checkpoints.steps}")
        shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
        restored = checkpoints.restore(lambda record: of_run(record, config, shapes), step, state_alone=True)
    finally:
        checkpoints.close()
    if restored is None:
        raise UserError(f"--workdir={workdir}: the run has saved no checkpoint yet")
    return config, method, restored[1]


def restore_variables(workdir: PathLike, which: str | int = "latest") -> tuple[Any, Method, PyTree, int]:
    """Read back what inference needs of a run, or of an export of its weights: (config, method, variables, step).

    Args:
      which: as `restore_run` has it; of an export its own step, or "latest".

    Raises:
      UserError: there is no such run or checkpoint.
    """
    if weights.are_alone(workdir):
        return weights.restore(workdir, which)
    config, method, state = restore_run(workdir, which)
    return config, method, method.variables(state), int(state.step)


def begun_with(workdir: PathLike) -> ConfigDict | None:
    """Return the settings of the run in a workdir; None if there is none.

    They are those of config.json. Where the record of the latest checkpoint that has a whole one differs, or
    config.json is damaged, the record holds, which is said.

    Raises:
      UserError: config.json is not the config of a run, and no record tells its settings.
    """
    record = records.newest(as_path(workdir) / "checkpoints")
    try:
        config = config_module.saved(workdir)
        if record is None:
            return config
        missing = "" if config else f"{workdir} has no config.json"
    except UserError as error:
        if record is None:
            raise
        config, missing = None, str(error)
    where = f"the record of checkpoint {record['step']}"
    if config is None:
        _tell_once(f"{missing}; the settings are those in {where}")
        return config_module.read(record["config"], f"{workdir}: {where}")
    if found := config_module.differing(config, record["config"]):
        path = as_path(workdir) / "config.json"
        _tell_once(f"{path} differs from {where}, which holds: {', '.join(found.values())}")
        config = config_module.corrected(config, record["config"], f"{workdir}: {where}")
    return config


@functools.cache
def _tell_once(text: str) -> None:
    """Warn of what a verb reads more than once."""
    _log.warning("%s", text)


def of_run(record: Mapping[str, Any], config: ConfigDict, shapes: PyTree) -> PyTree:
    """Return the shapes of a run's state, if a checkpoint's record says that it is of this run. Raises UserError."""
    found = config_module.differing(config, record["config"]) if records.covers(record) and "config" in record else {}
    if found:
        raise UserError(f"it is of another run: {', '.join(found.values())}")
    return shapes
