"""How a run begins: in which folder, as which run, and what is told to the person who begins it."""

import bisect
import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from uit_jax import checkpoint, data, evaluation, recipe_files
from uit_jax import config as config_module
from uit_jax.data import Sources
from uit_jax.errors import UserError
from uit_jax.evaluation import manifest
from uit_jax.files import read_regular, write_json
from uit_jax.method import Method, phases
from uit_jax.paths import as_path
from uit_jax.training import devices
from uit_jax.training import origin as origins
from uit_jax.training.origin import Origin
from uit_jax.types import PyTree


def rooted(config: ConfigDict) -> ConfigDict:
    """Return a config whose sources and files mean the same from any folder, so that the run can be used from there."""
    config = copy.deepcopy(config)
    config.init_from = config.init_from and str(as_path(config.init_from).absolute())
    for key in ("source", "target", "test_source", "test_target"):
        config.data[key] = data.rooted(config.data[key])
    config.data.labels = config.data.labels and str(as_path(config.data.labels).absolute())
    if landmarks := config.method.get("landmarks"):
        config.method.landmarks = str(as_path(landmarks).absolute())
    return config


def check(workdir: Path, config: ConfigDict) -> None:
    """Refuse before a step is measured what would be refused behind it, and leave nothing. Raises UserError."""
    evaluation.followed(config.evaluators, config.best_metric)
    method = config_module.method_of(config)
    made = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    prepare(workdir, config, method, jax.eval_shape(lambda: config_module.initial_state(config, method)))
    with contextlib.suppress(OSError):
        for folder in made:
            folder.rmdir()


def prepare(workdir: Path, config: ConfigDict, method: Method, shapes: PyTree) -> Origin | None:
    """Make sure that the run can be written to `workdir`, and that it is the run begun there if there is one.

    A run is begun once it has a checkpoint; return what one that is not shall begin with.
    """
    saved, origin, longest = checkpoint.steps(workdir), None, 0
    if saved and (before := checkpoint.begun_with(workdir)) is not None:
        config_module.check_resumable(config, before, workdir)
        longest = before.steps
    elif not saved and config.init_from:
        origin = origins.read(config.init_from, method, shapes)
    begun = saved[-1] if saved else 0
    # A run that stands still at its end, as it was meant to, is continued.
    if config.steps > max(begun, longest) and stands_still(method, begun):
        raise UserError(
            f"steps={config.steps}: from step {begun} on every step size is 0, so that nothing would be learnt: begin"
            f" with its weights anew, by --init_from={workdir} and another --workdir, or lengthen the schedule"
        )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe_{jax.process_index()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written to: {error.strerror}") from error
    return origin


def record(workdir: Path, recipe: str, used: Sequence[jax.Device]) -> None:
    """Write to started.json by what a run was started the last time: recipe with its settings, versions, devices.

    Where no recipe is named that of the time before stays. Raises UserError.
    """
    path, told = workdir / "started.json", {}
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        told = {key: json.loads(read_regular(path))[key] for key in ("recipe", "settings")}
    # Its file may be gone by now, which is nothing to end a training for.
    with contextlib.suppress(UserError, FileNotFoundError):
        told = {"recipe": recipe, "settings": config_module.flatten(recipe_files.read(recipe))} if recipe else told
    write_json(path, {**told, "versions": manifest.versions(), "devices": devices.told(used)})


def notes(
    config: ConfigDict, method: Method, sources: Sources, test: Sources, used: Sequence[jax.Device]
) -> Iterator[str]:
    """Yield what a person who begins a run should know, of its images and of the held-out ones."""
    last = config.steps - 1
    yield f"{data.describe(sources)}; training on {devices.told(used)}"
    if config.data.source == config_module.Data.source:
        yield (
            f"no images are named: training on the {config.data.source} world, {config.steps} steps of it;"
            " name yours by --config.data.source=PATH"
        )
    first, *others = sources
    if not test:
        none = f"no images{f' of {first.upper()}' if others else ''} are held out"
        yield f"{none}: pictures are of training images; name some by --config.data.test_source=PATH"
    for name in (each for each in others if test and each not in test):
        yield f"no images of {name.upper()} are held out: pictures show those of {first.upper()} alone"
    opened = (*sources.values(), *test.values())
    for packed in (each for each in opened if each.packed_by not in (None, each.form.resample)):
        yield (
            f"{packed.spec}: was packed by the {packed.packed_by} filter, and data.resample={packed.form.resample} is"
            f" another: `uit data pack --resample={packed.form.resample}` gives what the files themselves would"
        )
    if repeated := data.repeated(sources, config.batch_size):
        yield repeated
    known = len(next(iter(sources.values())).classes)
    if method.sampled_by_class and known < method.classes:
        yield f"of {method.classes} domains {known} have images: set method.domains to as many, or noise is sampled too"
    if not any(phase.translates for phase in phases(method, config.steps)):
        first = bisect.bisect_left(range(10**9), True, key=lambda step: method.phase(step).translates)
        behind = f", which is behind step {first}" if method.phase(first).translates else ""
        yield (
            f"steps={config.steps} end in phase {method.phase(last).name}, before the translator begins to"
            f" learn{behind}: raise them, or shorten what comes before it (`uit config` tells every setting)"
        )
    if stands_still(method, last):
        end = bisect.bisect_left(range(last), True, key=lambda step: stands_still(method, step))
        yield (
            f"steps={config.steps} go beyond the schedule: from step {end} on every step size is 0: lower them, or"
            " lengthen method.schedule"
        )


def stands_still(method: Method, step: int) -> bool:
    """Say whether nothing is learnt in an iteration, counted from 0, for every step size is 0."""
    rates = method.rates(step)
    return bool(rates) and not any(rates.values())
