"""A run as the trainer writes it, of random weights, for the tests that ask one and train none."""

from pathlib import Path

import jax
import numpy as np

from tests import method_table as table
from uit_jax import checkpoint
from uit_jax import config as configs

SIZE = 16


def save(workdir: Path, name: str, **settings) -> None:
    """Write config and checkpoint of a tiny method, of the table, with some settings by their keys; compile nothing."""
    tiny = configs.flatten({"method": table.TINY[name]}) | {"data.image_size": SIZE, "batch_size": 4}
    tiny.pop("method.image_size")
    config = configs.update(configs.defaults(name), tiny | settings)
    method, rng = configs.method_of(config), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: configs.initial_state(config, method))

    def draw(path, leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.5
        drawn = rng.normal(0, scale, leaf.shape).astype(leaf.dtype)
        return np.abs(drawn) if "'var'" in jax.tree_util.keystr(path) else drawn

    state = jax.tree_util.tree_map_with_path(draw, shapes)
    workdir.mkdir(parents=True)
    configs.save(config, workdir)
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(1, state, {})
    checkpoints.close()
