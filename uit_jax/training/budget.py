"""A run as long as its time allows: how many steps that is, from what one takes here, and what shrinks or grows along.

A recipe says what share of a run its phases, schedules and averages are; with `hours` its steps are as many as there is
time for, and those shares stay.
"""

import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from uit_jax import checkpoint
from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.settings import LARGEST
from uit_jax.training import beginning, measure, supply

_MARGIN = 0.05
"""The share of the time that is kept for pictures, scores, checkpoints and what else the steps' own time lacks."""

_STEPS, _WINDOWS, _IMAGES = 3, 3, 512
_OFTEN = {"log_every": 100, "image_every": 10, "evaluate_every": 10, "checkpoint_every": 6}
"""What is due every so many steps, and how often in a run it is due at least, but every `_LEAST` steps."""
_LEAST = 10


def scaled(config: ConfigDict, steps: int, given: Collection[str] = ()) -> ConfigDict:
    """Return the config of a run of so many steps: what is a share of a run's length stays that share.

    Iterations (of phases, of schedules) are in proportion; an average over past weights spans the same share of the
    run. What is due every so many steps is due more often where a short run would have too little of it, but for what
    `given` has the keys of.
    """
    flat = config_module.flatten(config)
    changes: dict[str, float] = {}
    for key, told in config_module.known(config.method.name).items():
        if told.limits.follows == "steps":
            # Rounded up, so that no rate is 0 before the last step; there are no distances of a single batch.
            changes[key] = max(min(flat[key], 2), -(-flat[key] * steps // config.steps))
        elif told.limits.follows == "average" and 0 < flat[key] < 1:
            changes[key] = 1 - min(0.5, (1 - flat[key]) * config.steps / steps)
    for key in _OFTEN.keys() - given:
        changes[key] = flat[key] and min(flat[key], max(_LEAST, steps // _OFTEN[key]))
    return config_module.update(config.copy_and_resolve_references(), {**changes, "steps": steps})


def fitted(
    config: ConfigDict,
    *,
    began: float | None = None,
    overrides: Iterable[str] = (),
    note: Callable[[str], None] = lambda line: None,
) -> ConfigDict:
    """Return a config with as many steps as `hours` allow, by what they and reading their images take here.

    Args:
      began: from when on the time counts, by `time.monotonic`; by default from now on.
      overrides: texts "--config.key=value" that the config has in it; what is due every so many steps is left as given.
      note: told, in a line each, what is done and found.

    Raises:
      UserError: no step could be done in that time; or the steps are given as well.
    """
    began = time.monotonic() if began is None else began
    if "steps" in (given := _keys(overrides)):
        told = "set the steps of a run: give one of the two, or --config.hours=0"
        raise UserError(f"steps={config.steps}: hours={config.hours:g} {told}")
    streams = supply.opened(config)
    if jax.default_backend() == "cpu" and config.precision == "bf16":
        note("precision=bf16 is for an accelerator: a processor takes longer so; the presets `photos` are for one")
    note(f"hours={config.hours:g}: measuring what a step takes here ...")
    found = measure.measure(config, _STEPS, _WINDOWS)
    phases = found["phases"]
    # The run then begins anew, and its decays and schedules make programs that no cache has.
    compiling = sum(phase["compile_seconds"] + phase["compile_seconds_saved"] for phase in phases)
    again = found["initial_state_seconds"] + compiling

    def room() -> tuple[int, float, float]:
        each = sum(phase["share"] * _seconds(phase, found["platform"]) for phase in phases)
        before = time.monotonic() - began + again
        return _agreed((3600 * config.hours * (1 - _MARGIN) - before) / each), each, before

    steps, each, before = room()
    # Whether images are kept on the device depends on how often the run draws them.
    if not supply.keeping(scaled(config, max(steps, 1), given), streams)["on_device"]:
        phases = supply.reading(config, streams, phases, images=_IMAGES, windows=1, warm=_IMAGES)
        steps, each, before = room()
    if steps < 1:
        takes = [(before + count * each) / (1 - _MARGIN) for count in (1, config.steps / 10)]
        least, tenth = (math.ceil(seconds / 0.36) / 10_000 for seconds in takes)
        raise UserError(
            f"hours={config.hours:g}: a step takes {each:.3g} s here, and what comes before it {before:.0f} s: give"
            f" {least:g} at least, which is one step; a tenth of the recipe's {config.steps} takes {tenth:g}"
        )
    note(
        f"hours={config.hours:g}: {steps} steps of {each:.3g} s, {steps / config.steps:.3g} times the recipe's"
        f" {config.steps}; phases, schedules and averages go along"
    )
    return scaled(config, steps, given)


def of_run(
    config: ConfigDict, workdir: Path, began: float | None = None, overrides: Iterable[str] = ()
) -> ConfigDict:
    """Return the config of the run in a workdir, its length that with which it was begun or else as `fitted` has it.

    A run is begun once it has a checkpoint. Of what goes with its length the settings in `overrides`, texts
    "--config.key=value", are the config's own, in proportion where they are a share of the run.

    Raises:
      UserError: it goes by other hours, by none, or by other steps than are given; or no step could be done in them.
    """
    begun = checkpoint.begun_with(workdir) if checkpoint.steps(workdir) else None
    if not config.hours:
        _check_hours_are_named(config, begun, overrides, workdir)
        return config
    if begun is not None and begun.method.name != config.method.name:
        config_module.check_resumable(config, begun, workdir)
    if begun is None:
        beginning.check(workdir, config)
        first = jax.process_index() == 0
        note = lambda line: first and print(line, file=sys.stderr, flush=True)  # noqa: E731
        return fitted(config, began=began, overrides=overrides, note=note)
    given = _keys(overrides)
    _check_same(config, begun, given)
    own = config_module.flatten(scaled(config, begun.steps, given))
    kept = {key: own[key] if key in given else value for key, value in length(begun).items()}
    return config_module.update(config.copy_and_resolve_references(), kept)


def _check_hours_are_named(
    config: ConfigDict, begun: ConfigDict | None, overrides: Iterable[str], workdir: Path
) -> None:
    """Refuse to continue a run of hours by a recipe without them, whose steps are others."""
    if begun is None or not begun.hours or config.steps == begun.steps or "steps" in _keys(overrides):
        return
    raise UserError(
        f"{workdir} was begun with hours={begun.hours:g}, which set its steps, {begun.steps}, and what goes along: give"
        f" --config.hours={begun.hours:g} or leave out --config to continue it as it is, or give another --workdir"
    )


def _check_same(config: ConfigDict, begun: ConfigDict, given: Collection[str]) -> None:
    """Refuse to continue a run by other hours than it goes by, or by steps beside them."""
    hours = f"hours={config.hours:g}: the run"
    if not begun.hours:
        raise UserError(
            f"{hours} goes by steps={begun.steps} and no hours: leave them out to continue it as it is, or give"
            " another --workdir"
        )
    if begun.hours != config.hours:
        raise UserError(
            f"{hours} was begun with {begun.hours:g}, which set its steps: give that to continue it as it is, or"
            " another --workdir"
        )
    if "steps" in given and config.steps != begun.steps:
        raise UserError(
            f"steps={config.steps}: hours={config.hours:g} set those of the run, {begun.steps}: leave yours out to"
            " continue it as it is, or give them with --config.hours=0 and without --config"
        )


def length(config: ConfigDict) -> dict[str, Any]:
    """Return the settings that go with the length of a run, by their keys."""
    flat = config_module.flatten(config)
    keys = [key for key, told in config_module.known(config.method.name).items() if told.limits.follows]
    return {key: flat[key] for key in [*keys, *_OFTEN]}


def _keys(overrides: Iterable[str]) -> set[str]:
    """Return the keys of texts "--config.key=value"."""
    return {each.removeprefix("--config.").partition("=")[0] for each in overrides}


def _seconds(phase: Mapping[str, Any], platform: str) -> float:
    """Return what a step of a phase takes with the reading of its images, where these are read."""
    step = 1 / phase["steps_per_second"]
    reading = step * phase["images_per_second"] / phase.get("read_per_second", math.inf)
    # A processor does both with the same cores.
    return step + reading if platform == "cpu" else max(step, reading)


def _agreed(steps: float) -> int:
    """Return how many whole steps the first process has time for, in all of them."""
    steps = np.int64(min(max(math.floor(steps), 0), LARGEST))
    return int(multihost_utils.broadcast_one_to_all(steps)) if jax.process_count() > 1 else int(steps)
