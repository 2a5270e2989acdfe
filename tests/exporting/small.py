"""Tiny models with random weights, as runs that were read back; nothing is compiled to make one."""

from pathlib import Path

import jax
import numpy as np

from tests import method_table as table
from uit_jax import config as configs
from uit_jax.runs import Trained

SIDE = 16


def run(workdir: Path, name: str, **settings) -> Trained:
    """Return a tiny run of a method of the table, trained on the procedural world's side of 16 pixels."""
    tiny = configs.flatten({"method": table.values(name)}) | {"data.source": "procedural:count=24", "batch_size": 4}
    side = max(SIDE, tiny.pop("method.image_size"))
    config = configs.update(configs.defaults(name), tiny | {"data.image_size": side} | settings)
    method, rng = configs.method_of(config), np.random.default_rng(0)

    def draw(leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.5
        drawn = rng.normal(0, scale, leaf.shape).astype(leaf.dtype)
        return drawn if len(leaf.shape) > 1 else np.abs(drawn)  # variances among them

    state = jax.tree.map(draw, jax.eval_shape(lambda: configs.initial_state(config, method)))
    return Trained(workdir, config, method, jax.device_put(method.variables(state)), 3)
