"""What every record of an evaluation says of where its numbers come from."""

import hashlib
import json
from importlib import metadata
from typing import Any

from ml_collections import ConfigDict

from uit_jax import __version__
from uit_jax.runs import Trained


def versions() -> dict[str, str]:
    """Return the versions of this library and of those that numbers depend on."""
    return {"uit_jax": __version__, **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}}


def of_run(trained: Trained) -> dict[str, Any]:
    """Return which weights of which run were scored: `averaged` names the networks whose running average they are."""
    method = trained.method
    return {
        "run": str(trained.workdir),
        "step": trained.step,
        "averaged": [name for name in method.kept if method.networks[name].averaged],
        "training_seed": trained.config.seed,
        "config_sha256": config_hash(trained.config),
        "versions": versions(),
    }


def config_hash(config: ConfigDict) -> str:
    """Return the SHA-256 of all settings of a run: equal for equal settings."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True, default=str).encode()).hexdigest()
