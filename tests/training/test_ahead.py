"""Programs that are compiled while another phase trains: the same steps, errors where they are met, no waiting."""

import atexit
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests import method_table as table
from tests import tiny_method
from tests.tiny_method import FIRST, SECOND, Tiny
from uit_jax import checkpoint, config, programs
from uit_jax.method import phases, training_step
from uit_jax.training import devices, loop, start
from uit_jax.training.ahead import Ahead, batches_to_come
from uit_jax.training.progress import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def resolved(recipe, *overrides):
    return config.resolve(recipe, [f"--config.{each}" for each in overrides])


@pytest.fixture
def waits(monkeypatch):
    """Let what begins to compile programs wait for them."""
    begin = Ahead.begin

    def wait(self, state, batches):
        begin(self, state, batches)
        programs.compiling[-1].join()

    monkeypatch.setattr(Ahead, "begin", wait)


@pytest.mark.parametrize(("how", "count"), [("jit", 1), ("pmap", 2), ("shard_map", 2)])
def test_a_program_compiled_ahead_is_used_and_does_the_same(how, count, recipe, waits, monkeypatch):
    run, method = resolved(recipe), Tiny()
    lifted = devices.lift(training_step(method), how, devices.devices_for(count))
    batch = table.batch(side=16)
    run.batch_size = len(batch["image"])
    ends = []
    for begins in (True, False):
        ahead = Ahead(lifted)
        state = lifted.put_state(method.init(jax.random.PRNGKey(0), 8))
        state, _ = ahead.step(state, lifted.put_batch(batch), phase=FIRST)
        if begins:
            ahead.begin(state, {SECOND: batches_to_come(run, method, 1)[SECOND]})
            assert ahead.ready(SECOND) and not ahead.ready(FIRST)
            own = lifted._replace(step=None)
            monkeypatch.setattr(ahead, "_lifted", own)
        for _ in range(2):
            state, _ = ahead.step(state, lifted.put_batch(batch), phase=SECOND)
        ends.append(table.snapshot(state))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, *ends)))


def test_a_batch_of_other_shapes_than_were_expected_has_a_program_of_its_own(waits):
    asked, program = [], lambda state, batch: "ahead"
    how = dict(put_batch=dict, by_shapes=True, compiled=lambda *_, phase: program)
    lifted = SimpleNamespace(step=lambda *_, phase: "own", **how)
    ahead = Ahead(lifted)
    ahead.begin({}, {SECOND: {"image": np.zeros((2, 4), np.uint8)}})
    for shape in ((2, 4), (4, 4)):
        asked.append(ahead.step({}, {"image": np.ones(shape, np.uint8)}, phase=SECOND))
    assert asked == ["ahead", "own"]


def test_what_goes_wrong_in_the_thread_is_raised_by_the_step_that_needs_it():
    begun = threading.Event()

    def fail(state, batch, *, phase):
        begun.set()
        raise RuntimeError(f"RESOURCE_EXHAUSTED: {phase.name}")

    ahead = Ahead(SimpleNamespace(step=lambda *_, phase: phase, put_batch=dict, by_shapes=True, compiled=fail))
    ahead.begin({}, {SECOND: {}})
    assert begun.wait(60)
    assert ahead.step({}, {}, phase=FIRST) == FIRST
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED: second"):
        ahead.step({}, {}, phase=SECOND)


def test_what_the_thread_has_not_come_to_is_compiled_by_the_step_that_needs_it(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(atexit, "register", lambda function: None)
    ahead = Ahead(SimpleNamespace(step=lambda *_, phase: phase, put_batch=dict, by_shapes=True, compiled=None))
    ahead.begin({}, {FIRST: {}, SECOND: {}})
    assert ahead.step({}, {}, phase=SECOND) == SECOND
    ahead.close()
    assert ahead.step({}, {}, phase=FIRST) == FIRST


def test_phases_that_a_run_does_not_reach_are_not_compiled(recipe):
    method = Tiny(guide_steps=5)
    assert list(batches_to_come(resolved(recipe, "steps=5"), method, 1)) == [FIRST]
    assert list(batches_to_come(resolved(recipe, "steps=6"), method, 1)) == [FIRST, SECOND]
    assert list(batches_to_come(resolved(recipe, "steps=9"), method, 5)) == [SECOND]
    assert phases(method, 6, 6) == ()
    assert batches_to_come(resolved(recipe), method, 5)[SECOND]["image"].shape == (4, 16, 16, 3)


def test_a_run_compiles_its_second_phase_ahead_and_tells_of_its_start(recipe, tmp_path, waits, monkeypatch, capsys):
    state = loop.train(resolved(recipe, "steps=7"), tmp_path / "ahead")
    told = capsys.readouterr().err
    assert told.count("compiling the step of phase first") == 1 and "compiling the step of phase second" not in told
    assert "phase second begins, its step compiled ahead" in told and "drawing the initial state ..." in told
    (line,) = [line for line in told.splitlines() if line.startswith("the first step is done")]
    for part in ("loading libraries", "opening data", "initial state", "first batch", "the step"):
        assert f"{part} " in line
    monkeypatch.setattr(Ahead, "begin", lambda *_: None)
    other = loop.train(resolved(recipe, "steps=7"), tmp_path / "alone")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, *jax.device_get((state, other)))))
    assert checkpoint.steps(tmp_path / "ahead") == checkpoint.steps(tmp_path / "alone")


def test_a_run_that_is_told_to_end_does_not_wait_for_what_is_compiled_ahead(recipe, tmp_path):
    code = (
        "import sys, time; from tests import tiny_method; from uit_jax.training import ahead;"
        "ahead.Ahead._compile = lambda *_: time.sleep(1000); sys.exit(tiny_method.registered(sys.argv[1:]))"
    )
    arguments = ["train", f"--config={recipe}", f"--workdir={tmp_path / 'run'}"]
    env = {**os.environ, "UIT_TEST_SIGNAL": f"{int(signal.SIGTERM)}:3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, timeout=250)
    assert ended.returncode == 0, ended.stderr
    assert checkpoint.steps(tmp_path / "run") == [3]


@pytest.mark.parametrize("every", [4, 5])
def test_a_run_that_waits_for_a_program_ends_when_it_is_told_to(recipe, tmp_path, monkeypatch, every):
    """With a checkpoint of the step that it came to, also where there is one already."""
    begun, over = threading.Event(), threading.Event()

    def compiling(self, state, batches):
        for phase in batches:
            self._coming[phase].set_running_or_notify_cancel()
        begun.set()
        over.wait(60)

    def begin(self, *given, begin=Ahead.begin):
        begin(self, *given)
        assert begun.wait(60)

    def told(self, message, note=Progress.note):
        note(self, message)
        if message == "waiting for the step of phase second, which is being compiled ...":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Ahead, "_compile", compiling)
    monkeypatch.setattr(Ahead, "begin", begin)
    monkeypatch.setattr(Progress, "note", told)
    state = loop.train(resolved(recipe, f"checkpoint_every={every}"), tmp_path / "run")
    over.set()
    assert int(state.step) == 5 and checkpoint.steps(tmp_path / "run") == sorted({every, 5})


def test_nothing_is_read_back_where_no_programs_are_kept():
    stepping = start.Stepping(None, None, SimpleNamespace(step=None), None, None)
    before = jax.config.jax_enable_compilation_cache, jax.config.jax_compilation_cache_dir
    try:
        for enabled, told in ((True, ", or reading it back from folder ..."), (False, " ...")):
            jax.config.update("jax_compilation_cache_dir", "folder")
            jax.config.update("jax_enable_compilation_cache", enabled)
            assert stepping._waits_for(FIRST) == f"compiling the step of phase first{told}"
    finally:
        jax.config.update("jax_enable_compilation_cache", before[0])
        jax.config.update("jax_compilation_cache_dir", before[1])


def test_parts_of_the_time_to_the_first_step_add_up(monkeypatch):
    times = iter([10.0, 12.5, 13.0])
    monkeypatch.setattr(start.time, "monotonic", lambda: next(times))
    clock = start.Start()
    clock.done("opening data")
    clock.done("the step")
    assert clock.told() == "the first step is done, 3.0 s after the start: opening data 2.5, the step 0.5"
