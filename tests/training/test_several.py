"""Several steps as one program are the steps one by one, cut short wherever anything is due."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from tests import method_table as table
from tests import tiny_method
from tests.tiny_method import FIRST, SECOND, Tiny
from tests.training.test_loop import assert_same_run
from uit_jax import config
from uit_jax.errors import UserError
from uit_jax.training import devices, loop, several

EVERY_WAY = [("jit", 1), ("pmap", 2), ("shard_map", 2)]


@pytest.fixture(autouse=True)
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def run(recipe, workdir, *overrides):
    return loop.train(config.resolve(recipe, [f"--config.{each}" for each in overrides]), workdir)


def trained(how, count, room, groups):
    """Do groups of a phase's steps, each on a batch of its own; return the metrics of all steps and the state."""
    method = Tiny()
    lifted = devices.lift(several.step_of(method, room), how, devices.devices_for(count))
    state, found, done = lifted.put_state(method.init(jax.random.PRNGKey(0), 8)), [], 0
    for phase, length in groups:
        batches = [{**table.batch(side=16), "label": np.full(8, done)} for done in range(done, done + length)]
        for each in batches:
            each["image"] = np.roll(each["image"], int(each["label"][0]), 1)
        state, metrics = lifted.step(state, lifted.put_batch(several.stack(batches, room)), phase=phase)
        rows = jax.device_get(metrics)
        found += [{name: np.reshape(each, -1)[nth] for name, each in rows.items()} for nth in range(length)]
        done += length
    return found, table.snapshot(state)


@pytest.mark.parametrize("how, count", EVERY_WAY)
def test_several_steps_are_the_steps_one_by_one(how, count):
    """To what sums in another order round to; in whatever groups they come, bit for bit."""
    whole = trained(how, count, 4, [(FIRST, 4), (FIRST, 2), (SECOND, 3)])
    cut = trained(how, count, 4, [(FIRST, 1), (FIRST, 3), (FIRST, 2), (SECOND, 1), (SECOND, 2)])
    jax.tree.map(np.testing.assert_array_equal, whole, cut)
    single = trained(how, count, 1, [(FIRST, 1)] * 6 + [(SECOND, 1)] * 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, single)


def test_groups_end_where_anything_is_due_and_a_run_goes_on_in_the_middle(recipe, tmp_path, monkeypatch):
    """At the end of a phase, at metrics and checkpoints; stopped between them, and then in other groups."""
    advance, groups, stop_at = loop.Run.advance, [], 0

    def watched(self, state, steps):
        groups.append((steps.start, steps.stop))
        if stop_at - 1 in steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self, state, steps)

    monkeypatch.setattr(loop.Run, "advance", watched)
    run(recipe, tmp_path / "whole", "log_every=10", "checkpoint_every=8", "steps_per_dispatch=3")
    assert groups == [(0, 3), (3, 5), (5, 8), (8, 10), (10, 12)]
    run(recipe, tmp_path / "parts", "log_every=10", "checkpoint_every=8", "steps_per_dispatch=3", "steps=2")
    stop_at = 7
    state = run(recipe, tmp_path / "parts", "log_every=10", "checkpoint_every=8", "steps_per_dispatch=3")
    assert int(state.step) == 8 and groups[-1] == (5, 8)
    stop_at, groups[:] = 0, []
    run(recipe, tmp_path / "parts", "log_every=10", "checkpoint_every=8", "steps_per_dispatch=20")
    assert groups == [(8, 10), (10, 12)]
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    records = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [10]


def test_there_is_room_for_no_more_steps_than_come_together(recipe):
    """A hundred million would fill any memory."""
    for given, expected in (("log_every=3", 3), ("log_every=0", 4), ("checkpoint_every=0", 2)):
        c = config.resolve(recipe, [f"--config.{each}" for each in ("steps_per_dispatch=100000000", given)])
        assert several.room_of(c) == expected


def test_more_batches_at_once_than_fit_are_refused(recipe, tmp_path):
    huge = [f"{name}_every=0" for name in ("log", "checkpoint")]
    with pytest.raises(UserError, match="100000000 batches .* lower .*steps_per_dispatch"):
        run(recipe, tmp_path / "run", "steps_per_dispatch=100000000", *huge)
    assert not (tmp_path / "run").exists()


def test_a_group_cut_short_compiles_nothing(caplog):
    lifted = devices.lift(several.step_of(Tiny(), 4), "pmap", devices.devices_for(2))
    state, counts = lifted.put_state(Tiny().init(jax.random.PRNGKey(0), 8)), []
    for length in (4, 1, 3, 4):
        caplog.clear()
        batch = lifted.put_batch(several.stack([table.batch(side=16)] * length, 4))
        with jax.log_compiles(), caplog.at_level("DEBUG"):
            state, _ = lifted.step(state, batch, phase=FIRST)
        counts.append(sum("Finished XLA compilation" in record.getMessage() for record in caplog.records))
    assert counts[0] > 0 and counts[1:] == [0, 0, 0] and int(state.step) == 12


def test_a_step_that_is_no_longer_finite_is_named_in_its_group(recipe, tmp_path):
    with pytest.raises(UserError, match="step 7: fit is nan"):
        run(recipe, tmp_path / "run", "steps_per_dispatch=5", "log_every=100", "checkpoint_every=0", "method.poison=7")
