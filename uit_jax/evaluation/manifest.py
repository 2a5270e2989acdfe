"""What every record of an evaluation says of where its numbers come from."""

import hashlib
import json
from importlib import metadata

from ml_collections import ConfigDict

from uit_jax import __version__


def versions() -> dict[str, str]:
    """Return the versions of this library and of those that numbers depend on."""
    return {"uit_jax": __version__, **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}}


def config_hash(config: ConfigDict) -> str:
    """Return the SHA-256 of all settings of a run: equal for equal settings."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True, default=str).encode()).hexdigest()
