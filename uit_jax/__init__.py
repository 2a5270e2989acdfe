"""Contrastive, label-free image-to-image translation in JAX.

`load` reads a trained run back, `train` makes one, `evaluate` scores one, `export` writes one for others to run; see
docs/api.md. Nothing heavy is imported before it is asked for.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_collections import ConfigDict

    from uit_jax.errors import UserError
    from uit_jax.evaluation import evaluate
    from uit_jax.exporting import export
    from uit_jax.runs import Trained, load
    from uit_jax.state import TrainState

__version__ = "0.2.0"
__all__ = ["Trained", "UserError", "__version__", "evaluate", "export", "load", "train"]

_PLACES = {"load": "runs", "Trained": "runs", "evaluate": "evaluation", "export": "exporting", "UserError": "errors"}


def train(
    config: "ConfigDict | str | os.PathLike[str]", workdir: str | os.PathLike[str], overrides: "Iterable[str]" = ()
) -> "TrainState":
    """Train a method, or continue the run in `workdir`, and return the final `TrainState`; `load` reads it back.

    Args:
      config: a resolved config, or a text "path/of/config.py[:preset]" as `uit train --config` takes it.
      workdir: the folder that the run is written to.
      overrides: of a text, texts such as "steps=1000" or "method.view.hue=0.2".

    Raises:
      UserError: in one line, what is wrong with the config, the data or the folder.
    """
    from uit_jax import config as configs
    from uit_jax.training import loop

    if not isinstance(config, str | os.PathLike):
        return loop.train(config, workdir)
    recipe, overrides = str(config), [f"--config.{each.removeprefix('--config.')}" for each in overrides]
    return loop.train(configs.resolve(recipe, overrides), workdir, recipe=recipe, overrides=overrides)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
