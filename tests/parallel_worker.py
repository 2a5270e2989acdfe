"""One training step on some devices, as plain numbers; run as a script, it is one process of several.

    python -m tests.parallel_worker ADDRESS PROCESSES INDEX OUT
"""

import sys

import jax
import numpy as np

from tests import method_table as table
from uit_jax.method import training_step
from uit_jax.training import devices

BATCH = 8
WAYS = ("pmap", "shard_map")


def one_step(
    how: str, count: int = 0, name: str = "tunit", configuration: str = "", **settings
) -> dict[str, np.ndarray]:
    """Train a method for one step of its last phase, views included, on this process's rows of one global batch.

    Returns the losses, and the weights, statistics and memory after the step, by their paths.
    """
    method = table.build_with_sgd(name, configuration, **settings)
    phase = table.phases(method)[-1]
    lifted = devices.lift(training_step(method), how, devices.devices_for(count))
    rows = np.split(np.arange(BATCH), jax.process_count())[jax.process_index()]
    batch = {side: values[rows] for side, values in table.batch_of(method, BATCH, phase).items()}
    state = lifted.put_state(decided(table.start(method)))
    return numbers(*lifted.step(state, lifted.put_batch(batch), phase=phase))


def alone(name: str = "tunit", configuration: str = "") -> dict[str, np.ndarray]:
    """Return the same of one device, views and update one after the other: programs that other tests compile too."""
    method = table.build_with_sgd(name, configuration)
    phase, state, (lifted, _) = table.phases(method)[-1], decided(table.start(method)), table.lift(method)
    key = jax.random.wrap_key_data(jax.random.fold_in(state.key, state.step))
    views = jax.jit(method.views)(key, table.batch_of(method, BATCH, phase))
    return numbers(*lifted.step(lifted.put_state(state), views, phase=phase))


def numbers(state, metrics) -> dict[str, np.ndarray]:
    """Return the numbers of a step by their paths."""
    learners = {learner: (each.params, each.stats) for learner, each in state.learners.items()}
    leaves = jax.tree_util.tree_leaves_with_path((metrics, learners, state.memory))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def decided(state):
    """Let the clusters differ: a fresh head is so short that the mutual information and its gradient are nearly 0."""
    if "guide" not in state.learners:
        return state
    guide = state.learners["guide"]
    cluster = {**guide.params["cluster"], "kernel": 1000 * guide.params["cluster"]["kernel"]}
    return state.with_learners({"guide": guide.replace(params={**guide.params, "cluster": cluster})})


def main(address: str, processes: str, index: str, out: str) -> None:
    jax.distributed.initialize(address, int(processes), int(index))
    for how in WAYS:
        np.savez(f"{out}/{how}_{index}.npz", **one_step(how))


if __name__ == "__main__":
    main(*sys.argv[1:])
