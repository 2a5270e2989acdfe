"""One step gives one set of numbers, however many devices and processes share its global batch, and however driven."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests import parallel_worker
from tests.tiny_method import FIRST, SECOND, Tiny
from uit_jax import collectives, methods
from uit_jax.errors import UserError
from uit_jax.method import Phase, training_step
from uit_jax.training import devices

EVERY_WAY = [("jit", 1), *((how, count) for how in ("pmap", "shard_map") for count in (1, 2, 8))]


def assert_same(ours: dict, alone: dict):
    """Compare numbers by their paths; SGD moves weights in proportion to gradients, so that noise stays noise."""
    assert ours.keys() == alone.keys()
    for path, expected in alone.items():
        # A sum over examples in another order differs by what its largest terms round to.
        noise = 1e-5 + 5e-5 * np.abs(expected).max(initial=0)
        np.testing.assert_allclose(ours[path], expected, rtol=1e-3, atol=noise, err_msg=path)


@pytest.fixture(scope="module")
def alone():
    return parallel_worker.alone()


@pytest.mark.slow
@pytest.mark.parametrize("how, count", [("pmap", 2), ("shard_map", 2), ("pmap", 8), ("shard_map", 8)])
def test_tunit_gives_the_same_numbers_on_any_number_of_devices(alone, how, count):
    """Batch norm, IIC's joint, the permutation, the queue and the random views are of the global batch."""
    assert_same(parallel_worker.one_step(how, count), alone)


@functools.cache
def on_one(name: str, configuration: str) -> dict:
    """Return the numbers of a step on one device, computed once."""
    return parallel_worker.alone(name, configuration)


# Between them all that a device may have to learn from the others, and all that is drawn at random; in one of two ways,
# which TUNIT and the tiny method show to be alike.
PMAP, SHARD_MAP = ("pmap", 2), ("shard_map", 4)
OTHERS = [
    ("cluit", "patches", *PMAP),
    ("embedding", "labels", *SHARD_MAP),
    ("cut", "minibatch", *PMAP),
    ("cut", "external", *SHARD_MAP),
    ("cut", "batch_norm", *PMAP),
    ("fastcut", "mirrored", *PMAP),
    ("sincut", "single", *SHARD_MAP),
    ("cyclegan", "pools", *SHARD_MAP),
    ("drit", "concat", *PMAP),
    ("swapping_autoencoder", "pooled", *SHARD_MAP),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, configuration, how, count", OTHERS)
def test_other_methods_give_the_same_numbers_on_several_devices(name, configuration, how, count):
    """Crops, mirroring, noise, places, pairs, labels, other devices' negatives and queues are of the global batch."""
    assert_same(parallel_worker.one_step(how, count, name, configuration), on_one(name, configuration))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, configuration, how, count, settings",
    [
        ("tunit", "", "jit", 1, dict(microbatches=2)),
        ("cut", "external", "shard_map", 2, dict(microbatches=2)),
        ("cluit", "patches", "jit", 1, dict(microbatches=4, recompute="full")),
    ],
)
def test_microbatches_give_the_same_numbers(name, configuration, how, count, settings):
    """The gradient penalty's gradient, batch norm, pairs, queues and sums of the weights' gradients are the batch's."""
    assert_same(parallel_worker.one_step(how, count, name, configuration, **settings), on_one(name, configuration))


@pytest.mark.slow
def test_two_processes_of_two_devices_give_the_same_numbers(alone, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    root = Path(__file__).parents[2]
    env = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(root),
    }
    command = [sys.executable, "-m", "tests.parallel_worker", address, "2"]
    processes = [
        subprocess.Popen([*command, str(index), str(tmp_path)], cwd=root, env=env, stderr=subprocess.PIPE, text=True)
        for index in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    for how in parallel_worker.WAYS:
        for index in range(2):
            with np.load(tmp_path / f"{how}_{index}.npz") as numbers:
                assert_same(dict(numbers), alone)


TINY = Tiny()
TINY_WITH_SGD = table.with_sgd(Tiny)()


def train_tiny(method, how, count, phases=(FIRST, SECOND, SECOND)):
    """Train for some steps; return the metrics of each and the final state, as numpy."""
    lifted = devices.lift(training_step(method), how, devices.devices_for(count))
    batch = table.batch(side=16)
    state, metrics = lifted.put_state(method.init(jax.random.PRNGKey(0), 8)), []
    for phase in phases:
        state, terms = lifted.step(state, lifted.put_batch(batch), phase=phase)
        metrics.append(jax.device_get(terms))
    return metrics, table.snapshot(state)


@pytest.mark.parametrize("how, count", EVERY_WAY[1:])
def test_several_steps_are_the_same_in_every_way(how, count):
    def compare(one, other):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

    jax.tree.map(compare, train_tiny(TINY_WITH_SGD, how, count), train_tiny(TINY_WITH_SGD, "jit", 1))


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("how, count", [("pmap", 1), ("pmap", 8), ("shard_map", 2), ("shard_map", 8)])
def test_views_do_not_depend_on_the_number_of_devices(how, count, name):
    """A method's random views, gathered, are those of one device."""
    method = table.build(name)
    key = jax.random.key(3)

    def step(state, batch, *, phase, axis_name):
        views = method.views(key, batch, axis_name)
        return state, jax.tree.map(lambda rows: collectives.gather(rows, axis_name), views)

    def views(how, count):
        lifted = devices.lift(step, how, devices.devices_for(count))
        state = lifted.put_state(jnp.zeros(()))
        return jax.device_get(lifted.step(state, lifted.put_batch(shared_batch(method)), phase=Phase("any"))[1])

    ours, expected = views(how, count), views_alone(name)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-6), ours, expected)
    if "perm" in ours:
        assert sorted(ours["perm"]) == list(range(8))


@functools.cache
def views_alone(name):
    method = table.build(name)
    return jax.device_get(jax.jit(method.views)(jax.random.key(3), shared_batch(method)))


def shared_batch(method):
    """Return a batch of which each of eight devices has as many images as a method needs at least."""
    return table.batch_of(method, 8 * method.batch_multiple)


@pytest.mark.parametrize("how, count", EVERY_WAY)
def test_later_steps_compile_nothing(how, count, caplog):
    lifted = devices.lift(training_step(TINY), how, devices.devices_for(count))
    batch = table.batch(side=16)
    state = lifted.put_state(TINY.init(jax.random.PRNGKey(0), 8))

    def compilations(phase):
        nonlocal state
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("DEBUG"):
            state, _ = lifted.step(state, lifted.put_batch(batch), phase=phase)
        return sum("Finished XLA compilation" in record.getMessage() for record in caplog.records)

    assert [compilations(phase) > 0 for phase in (FIRST, SECOND)] == [True, True]
    assert [compilations(phase) for phase in (FIRST, SECOND, SECOND)] == [0, 0, 0]


@pytest.mark.parametrize("how, count", [("pmap", 2), ("shard_map", 2)])
def test_the_state_has_no_device_axis(how, count):
    fresh = TINY.init(jax.random.PRNGKey(0), 8)
    _, state = train_tiny(TINY, how, count)
    assert jax.tree.map(jnp.shape, state.learners) == jax.tree.map(jnp.shape, fresh.learners)
    assert state.step.shape == () and int(state.step) == 3


@pytest.mark.parametrize("how, count", [("jit", 1), ("pmap", 2), ("shard_map", 2)])
def test_the_state_is_donated(how, count):
    lifted = devices.lift(training_step(TINY), how, devices.devices_for(count))
    batch = table.batch(side=16)
    state = lifted.put_state(TINY.init(jax.random.PRNGKey(0), 8))
    mix = state.learners["model"].params["mix"]
    lifted.step(state, lifted.put_batch(batch), phase=FIRST)
    assert mix.is_deleted()


@pytest.mark.parametrize("how, count", [("jit", 1), ("pmap", 2), ("shard_map", 2)])
def test_a_compiled_step_tells_its_costs(how, count):
    lifted = devices.lift(training_step(TINY), how, devices.devices_for(count))
    batch = table.batch(side=16)
    state = lifted.put_state(TINY.init(jax.random.PRNGKey(0), 8))
    assert lifted.compiled(state, lifted.put_batch(batch), phase=FIRST).memory_analysis() is not None


def test_a_batch_that_cannot_be_divided_is_refused():
    devices.check_batch(16, devices.devices_for(8))
    with pytest.raises(UserError, match="batch_size=12 .* multiple of the 8 devices"):
        devices.check_batch(12, devices.devices_for(8))


def test_a_share_that_a_method_cannot_divide_is_refused():
    four = devices.devices_for(4)
    devices.check_batch(8, four, 2)
    for size, share, multiple, fitting in ((12, 3, 2, 8), (4, 1, 2, 8), (8, 2, 3, 12)):
        line = f"batch_size={size} .* 4 devices {share} images, .* by {multiple}: use a multiple of {fitting}$"
        with pytest.raises(UserError, match=line):
            devices.check_batch(size, four, multiple)
        devices.check_batch(fitting, four, multiple)


def test_devices_are_counted_from_1_and_0_is_all():
    assert len(devices.devices_for()) == len(devices.devices_for(8)) == 8
    assert devices.devices_for(3) == jax.devices()[:3]
    for count in (-1, 9):
        with pytest.raises(UserError, match=f"devices={count}, but there are 8 cpu"):
            devices.devices_for(count)


def test_ways_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match="parallel='jit' runs on one device, not on 2"):
        devices.lift(lambda *_: None, "jit", devices.devices_for(2))
    with pytest.raises(UserError, match="parallel='pjit' must be"):
        devices.lift(lambda *_: None, "pjit", devices.devices_for(1))
