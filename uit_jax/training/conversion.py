"""Runs made of published files, and published files made of runs."""

import contextlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from uit_jax import checkpoint, convert, methods, settings, tensors
from uit_jax import config as config_module
from uit_jax.convert.papers import Paper, is_whole
from uit_jax.convert.state_dicts import with_path
from uit_jax.errors import UserError
from uit_jax.files import check_places, check_writable, write_json
from uit_jax.method import Method
from uit_jax.paths import PathLike, as_path, is_remote
from uit_jax.state import Learner, Learners, TrainState
from uit_jax.training import beginning


class Imported(NamedTuple):
    """What a run was made of.

    Attributes:
      config: its settings.
      networks: published name of each network that was read -> the name of its file.
      anew: published names of those that no file holds, which begin at random.
    """

    config: ConfigDict
    networks: dict[str, PathLike]
    anew: list[str]


def import_run(
    files: Sequence[PathLike], workdir: PathLike, config: str, overrides: Iterable[str] = ()
) -> Imported:
    """Make a run, of no steps yet, whose networks are those of published files.

    What their shapes tell of its settings is taken from them. Without an override no images are named in it.

    Args:
      files: of one model: .pth, .pt, .ckpt, .npz or .safetensors.
      workdir: where no run is yet.
      config: "path/of/config.py[:preset]", of the model's method.
      overrides: as "--config.method.width=32".

    Raises:
      UserError: one cannot be read, does not fit, or what translates is not among them; nothing is written then.
    """
    workdir = as_path(workdir)
    if (workdir / "config.json").exists() or checkpoint.steps(workdir):
        raise UserError(f"--workdir={workdir} holds a run already: name another one")
    chosen = config_module.resolve(config)
    kind = methods.kind(chosen.method.name)
    paper = with_path(f"--config={config}", convert.of, kind)
    gathered = paper.gather(files)
    told = f"{', '.join(dict.fromkeys(str(found.path) for found in gathered.values()))}: no networks of {config}"
    with_path(told, config_module.update, chosen, {"data.source": "", **_keys(kind, paper.settings(gathered))})
    config_module.override(chosen, overrides)
    chosen = beginning.rooted(chosen)
    method = with_path(f"{files[0]}: with the settings that it tells", config_module.method_of, chosen)
    shapes = jax.eval_shape(lambda: config_module.initial_state(chosen, method))
    given = [name for name, own in paper.import_state(gathered, method, shapes).learners.items() if is_whole(own)]
    anew = paper.missing(gathered, shapes)
    if lacking := [network for network in paper.needed if network in anew]:
        raise UserError(
            f"{files[0]}: holds {', '.join(gathered)}, and to translate takes {', '.join(lacking)} too: give its file"
        )
    check_writable(workdir, "--workdir")
    _begin(workdir, chosen, paper.import_state(gathered, method, _drawn(chosen, method, shapes, given)))
    files_read = {network: found.path for network, found in gathered.items()}
    write_json(workdir / convert.CONVERTED, {network: as_path(path).name for network, path in files_read.items()})
    return Imported(chosen, files_read, anew)


def export_run(
    workdir: PathLike, out: PathLike, which: str | int = "latest", *, overwrite: bool = False
) -> list[Path]:
    """Write the networks of a run as its paper's published code has them; return the names of the files.

    Args:
      out: a folder, for files of the names that the published code gives them; or one file for all networks: .pth,
        .pt, .ckpt, .npz or .safetensors.
      which: "latest", "best", or a step.
      overwrite: whether files that are there may be replaced.

    Raises:
      UserError: there is no such run, nothing was published of its method, or the place cannot be written.
    """
    config, method, state = checkpoint.restore_run(workdir, which)
    paper, out = with_path(f"--workdir={workdir}", convert.of, type(method)), as_path(out)
    files = _laid_out(paper, paper.export_state(method, state), int(state.step), out)
    check_places({path.name: path for path in files}, overwrite=overwrite)
    for path, values in files.items():
        tensors.write(path, values)
    return list(files)


def _laid_out(paper: Paper, networks: dict, step: int, out: Path) -> dict[Path, dict]:
    """Return what each file is to hold."""
    laid = paper.files(networks, step)
    if out.suffix not in convert.SUFFIXES or out.is_dir():
        return {out / name: values for name, values in laid.items()}
    return {out: networks if len(laid) > 1 else next(iter(laid.values()))}


def _begin(workdir: Path, config: ConfigDict, state: TrainState) -> None:
    """Write a run of no steps, which began with no images, whole or not at all."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        checkpoint.check_room(workdir, state, keep=1, best=False)
        checkpoints = checkpoint.Checkpoints(workdir)
        with contextlib.closing(checkpoints):
            checkpoints.save(0, state, {"config": config.to_dict(), "data": {"next_step": 0}, "window": [], "best": {}})
        config_module.save(config, workdir)
    except BaseException:
        with contextlib.suppress(OSError):
            _clear(workdir)
        raise


def _clear(workdir: Path) -> None:
    """Take away the checkpoint of a run that was not begun in the end, and its folder if nothing else is there."""
    if is_remote(workdir):
        for file in (workdir / "checkpoints").files():
            file.unlink()
        return
    shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
    workdir.rmdir()


def _drawn(config: ConfigDict, method: Method, shapes: TrainState, given: Iterable[str]) -> TrainState:
    """Draw the state that a run begins with; in place of the weights of learners that are `given` it has shapes."""

    def draw() -> TrainState:
        state = config_module.initial_state(config, method)
        return state.with_learners(_with_weights_of(state, dict.fromkeys(given, Learner(None, None, None))))

    # What is not asked for is not compiled either.
    state = jax.jit(draw)()
    return state.with_learners(_with_weights_of(state, {name: shapes.learners[name] for name in given}))


def _with_weights_of(state: TrainState, others: Mapping[str, Learner]) -> Learners:
    """Return learners of a state with the weights of others, and their own optimisers."""
    return {
        name: state.learners[name].replace(params=other.params, stats=other.stats, ema=other.ema)
        for name, other in others.items()
    }


def _keys(kind: type[Method], nested: dict) -> dict[str, object]:
    """Return a method's settings, nested, by their keys in a config."""
    owned = settings.owned(kind)
    return {owned.get(key, f"method.{key}"): value for key, value in config_module.flatten(nested).items()}
