"""A quarter of an hour on an accelerator: what is done in which order, what it survives, and that it ends in time."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from experiments import accelerator, steps
from experiments.deadline import STOP, Minutes, Record, guarded, stopped_after
from experiments.steps import RECIPES, TOY, TRAININGS, Job, Training
from tests import tiny_method
from uit_jax import config as config_module
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.training import loop, measure

ROOT = accelerator.Path(__file__).parents[1]


class Clock:
    """Seconds that pass when somebody says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def recipe(tiny, tmp_path, monkeypatch):
    """Let the tiny method be all that there is to be measured and trained; return its recipe."""
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    job = Job("tiny-float32", "tiny", {}, profiled=True)
    training = Training(str(file), job.name)
    for module, name, value in (
        (accelerator, "RECIPES", {"tiny": str(file)}),
        (steps, "RECIPES", {}),
        (steps, "WANTED", (job,)),
        (accelerator, "TRAININGS", {"tiny": training}),
        (steps, "TRAININGS", {"tiny": training}),
        (accelerator, "TOY", {"tiny": {}}),
        (steps, "TOY", {"tiny": {}}),
        (steps, "_EXPECTED_TOY", 1.0),
        # The flag that makes toys compile quickly is the suite's own matter.
        (accelerator, "_quick", lambda: None),
    ):
        monkeypatch.setattr(module, name, value)
    return str(file)


@pytest.fixture
def timed(monkeypatch):
    """Pretend to measure: each method takes a minute and a half by a clock; return what was measured."""
    clock, done = Clock(), []

    def pretend(config, count, windows, *, profiled=False):
        done.append(config.method.name)
        clock.now += 90.0
        if config.method.name == "cyclegan":
            raise RuntimeError("RESOURCE_EXHAUSTED: out\nof memory")
        phase = {"phase": "train", "share": 1.0, "steps_per_second": 20.0, "mib": 1.0, "compile_seconds": 60.0}
        return {"phases": [phase | {"floor_seconds": 0.01}]}

    monkeypatch.setattr(measure, "measure", pretend)
    monkeypatch.setattr(measure, "table", lambda result: "")
    monkeypatch.setattr(accelerator.time, "monotonic", clock)
    return clock, done


def test_every_method_is_measured_at_the_papers_setting_in_both_precisions():
    assert set(RECIPES) == set(methods.METHODS)
    jobs = steps.wanted(accelerator.PARTS, toy=False)
    assert [job.name for job in jobs[:3]] == ["tunit-bf16", "cut-batch16-bf16", "cut-float32"]
    seen = {}
    for job in jobs:
        config = steps.configure(RECIPES[job.method], job.method, job.changes, toy=False)
        assert config.method.name == job.method and config.devices == 1
        assert seen.setdefault(job.name, job) is job
    pairs = {(job.method, job.changes.get("precision", "float32")) for job in jobs}
    assert pairs == {(name, precision) for name in RECIPES for precision in ("float32", "bf16")}
    config = steps.configure(RECIPES["cut"], "cut", jobs[1].changes, toy=False)
    assert (config.batch_size, config.data.image_size, config.precision) == (16, 256, "bf16")
    method = config_module.method_of(config)
    assert len({method.phase(step) for step in (0, config.steps - 1)}) == 1
    assert all(training.job in {job.name for job in jobs} for training in TRAININGS.values())


def test_parts_choose_what_is_measured():
    assert [job.name for job in steps.wanted(["profile"], toy=False)] == ["tunit-bf16", "cut-batch16-bf16"]
    assert not any(job.profiled for job in steps.wanted(["bench"], toy=False))
    assert [job.name for job in steps.wanted(["train"], toy=False)] == ["tunit-bf16", "cut-float32"]
    assert len(steps.wanted(accelerator.PARTS, toy=True)) == 3


@pytest.mark.parametrize("name", TRAININGS)
def test_a_run_shrinks_with_all_that_is_counted_in_steps(name):
    recipe = TRAININGS[name].recipe
    config = steps.scaled(steps.configure(recipe, name, {}, toy=False), 1_000)
    assert config.steps == 1_000
    if name == "tunit":
        assert (config.method.guide_steps, config.method.average_start) == (325, 330)
    else:
        assert dict(config.method.schedule) == {"constant_steps": 500, "decay_steps": 500}
    config_module.method_of(steps.configure(recipe, name, {}, toy=True))
    assert set(TOY) == set(TRAININGS)


def test_what_there_is_no_time_for_is_skipped_and_what_fails_is_told(tmp_path, timed):
    clock, done = timed
    record = Record(tmp_path / "report.json")
    jobs = [Job(name, name, {}) for name in ("cut", "cyclegan", "munit", "gcgan")]
    accelerator.bench(jobs, record, Minutes(5, clock), toy=False)
    # A minute and a half each; the last would end behind the five minutes.
    assert done == ["cut", "cyclegan", "munit"]
    found = json.loads(record.path.read_text())
    assert list(found["measured"]) == ["cut", "munit"] and found["running"] == ""
    assert found["failed"] == {"cyclegan": "RuntimeError: RESOURCE_EXHAUSTED: out of memory"}
    assert found["skipped"] == {"gcgan": "takes about 90 s, and 30 s were left"}
    assert "Traceback" in (tmp_path / "failures.log").read_text()
    told = accelerator.table(found | {"device": "NVIDIA X", "platform": "gpu", "jax": "0", "toy": False})
    assert re.search(r"munit, train +50 +5.00 +1 +60.0 +-", told) and "skipped: gcgan takes about" in told


def test_the_next_command_goes_on_with_what_is_not_done(tmp_path, timed):
    clock, done = timed
    jobs = [Job(name, name, {}) for name in ("cyclegan", "cut", "munit")]
    accelerator.bench(jobs[:2], Record(tmp_path / "report.json"), Minutes(60, clock), toy=False)
    done.clear()
    record = Record(tmp_path / "report.json")
    accelerator.bench(jobs, record, Minutes(60, clock), toy=False)
    # What failed is tried again, last.
    assert done == ["munit", "cyclegan"]
    assert not accelerator.measured(record, jobs[1]._replace(profiled=True))


def test_a_step_that_cannot_be_profiled_is_measured_all_the_same(tmp_path, timed, monkeypatch):
    clock, _ = timed
    phase = {"phase": "train", "steps_per_second": 2.0, "profile": {"failed": "no tracer"}}
    monkeypatch.setattr(measure, "measure", lambda *_, **__: {"phases": [phase]})
    record, job = Record(tmp_path / "report.json"), Job("cut", "cut", {}, profiled=True)
    accelerator.bench([job], record, Minutes(5, clock), toy=False)
    assert record.found["failed"] == {"cut": "UserError: measured, but not profiled: no tracer"}
    assert accelerator.measured(record, job) and not list(tmp_path.glob("*.png"))


def test_expectations_follow_the_pace_of_the_machine_and_time_is_kept_for_training(tmp_path, timed):
    clock, done = timed
    record = Record(tmp_path / "report.json")
    record.found["measured"]["tunit"] = {"seconds": 30.0, "expected": 150.0}
    jobs = [Job("munit", "munit", {}), Job("gcgan", "gcgan", {})]
    accelerator.bench(jobs, record, Minutes(2, clock), toy=False, kept=100.0)
    # Of the two minutes twenty seconds may be used, and eighteen are expected.
    assert done == ["munit"] and "gcgan" in record.found["skipped"]


def test_steps_are_as_many_as_there_is_time_for(tmp_path, timed):
    record = Record(tmp_path / "report.json")
    with pytest.raises(UserError, match="tunit-bf16 was not measured"):
        accelerator.affordable("tunit-bf16", record, 100.0)
    phases = [dict(share=0.5, steps_per_second=100.0), dict(share=0.5, steps_per_second=10.0)]
    record.found["measured"]["tunit-bf16"] = {"seconds": 40.0, "phases": phases}
    assert accelerator.affordable("tunit-bf16", record, 150.0) == 1800
    with pytest.raises(UserError, match="in 41 s, of which 40 go into compiling"):
        accelerator.affordable("tunit-bf16", record, 41.0)


def interrupted(self, state, steps, advance=loop.Run.advance):
    """Do steps, the third with a signal that tells the process to end."""
    if 2 in steps:
        os.kill(os.getpid(), signal.SIGTERM)
    return advance(self, state, steps)


def test_the_command_measures_profiles_trains_and_evaluates(recipe, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    argv = [f"--out={out}", "--minutes=60", "--data=procedural:count=24"]
    monkeypatch.setattr(accelerator, "affordable", lambda *_: 8)
    with monkeypatch.context() as told:
        told.setattr(loop.Run, "advance", interrupted)
        assert accelerator.main(argv) == 130
    found = json.loads((out / "report.json").read_text())
    assert found["ended"] == "told to stop at step 3 of tiny" and found["trained"]["tiny"]["step"] == 3
    # The same command goes on.
    assert accelerator.main(argv) == 0
    found = json.loads((out / "report.json").read_text())
    assert found["ended"] == "all was done" and not found["failed"] and found["toy"] and found["chip"] is None
    (measured,) = found["measured"].values()
    for phase in measured["phases"]:
        assert phase["profile"]["kinds"] and phase["floor_seconds"] is None and phase["compile_seconds"] > 0
        with Image.open(out / f"profile_tiny-float32_{phase['phase']}.png") as picture:
            assert picture.width > 500
    trained = found["trained"]["tiny"]
    assert trained["step"] == trained["steps"] == 8 and trained["source"]["data.source"] == "procedural:count=24"
    assert "cluster_accuracy" in trained["scores"]
    assert [path.name for path in out.glob("tiny_*.png")]
    told = capsys.readouterr().err
    assert "toys of tiny: there is no accelerator here" in told and "not known" in told and "8 of 8 steps" in told
    # All that is done is left as it is.
    monkeypatch.setattr(measure, "measure", lambda *_, **__: pytest.fail("was measured already"))
    assert accelerator.main(argv) == 0


def test_what_is_asked_for_is_looked_at_first(tmp_path):
    for argv, told in (
        (["--only=bench,trian"], "--only=bench,trian: there is no 'trian'; did you mean train?"),
        (["--methods=cyclgan"], "did you mean cyclegan?"),
        (["--minutes=0.2"], "--minutes=0.2: give more than 0.25, and 1440 at most"),
        (["--minutes=nan"], "--minutes=nan: give more than 0.25"),
        (["--minutes=inf"], "--minutes=inf: give more than 0.25"),
        (["--toy", "--data=/nowhere"], "/nowhere: no such folder"),
        (["--toy", "--pair=procedural:count=9#0,/nowhere"], "/nowhere: no such folder"),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            accelerator.main([f"--out={tmp_path}", *argv])
    entries = ('{"measured": []}', '{"failed": {"a": 1}}', '{"trained": {"cut": {}}}')
    for text in ("[", "[1]", "null", "[" * 10**5, *entries):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(UserError, match="is no report of this command"):
            accelerator.main([f"--out={tmp_path}"])


def test_the_process_ends_whatever_fails_while_it_does(tmp_path, monkeypatch):
    """The time may be over before the device is known, or the terminal be gone."""
    ended = []
    monkeypatch.setattr(accelerator.os, "_exit", ended.append)
    with pytest.raises(KeyError, match="device"):
        accelerator.end(Record(tmp_path / "report.json"), "the time was over", 3)
    assert ended == [3] and json.loads((tmp_path / "report.json").read_text())["ended"].startswith("the time was over")


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
def test_a_guard_ends_what_does_not_return(number):
    ended, over = [], threading.Event()

    def end(*why):
        ended.append(why)
        over.set()

    before = signal.getsignal(signal.SIGTERM)
    with guarded(0.2 if number is None else 60, end):
        if number is not None:
            os.kill(os.getpid(), STOP)  # which ends nothing
            os.kill(os.getpid(), number)
        assert over.wait(10)
    expected = ("the time was over", 0) if number is None else (f"told to end by {number.name}", 128 + number)
    assert ended == [expected] and signal.getsignal(signal.SIGTERM) == before


def test_a_run_is_stopped_by_a_signal_when_its_time_is_over():
    heard = []
    with contextlib.ExitStack() as undo:
        undo.callback(signal.signal, STOP, signal.signal(STOP, lambda *_: heard.append(1)))
        with stopped_after(0.05) as stopped:
            time.sleep(0.5)
        assert stopped.is_set() and heard == [1]
        with stopped_after(60) as stopped:
            pass
        assert not stopped.is_set()


HANGS = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu", "tensorboard"):
    sys.modules[name] = None
from experiments import accelerator, steps
steps._EXPECTED_TOY = 0.0
from uit_jax.training import measure
def compiles(*_, **__):
    while True:
        pass
measure.measure = compiles
accelerator.main([sys.argv[1], "--minutes=0.3", "--toy"])
"""


def test_the_process_ends_in_time_whatever_it_is_doing(tmp_path):
    """Without TensorFlow, too."""
    done = subprocess.run(
        [sys.executable, "-c", HANGS, f"--out={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["ended"] == "the time was over, in tunit-bf16" in done.stderr
