"""The real loop: what it writes, how it stops, and that a run which was stopped is the run that was not."""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests import method_table as table
from tests import tiny_method
from uit_jax import checkpoint, config, data, evaluation, methods, runs, settings
from uit_jax.errors import UserError
from uit_jax.metrics import clusters
from uit_jax.training import devices, loop, signals
from uit_jax.training import lock as lock_module
from uit_jax.training.lock import Lock
from uit_jax.training.writers import Writers
from uit_jax.verbs import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def registered():
    """Know the tiny method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """Return the folder of a run of the tiny method that was never stopped, made once for all that compare with it."""
    made = {}

    def find(*overrides):
        if overrides not in made:
            made[overrides] = tmp_path_factory.mktemp("whole")
            run(recipe, made[overrides], *overrides)
        return made[overrides]

    return find


def run(recipe, workdir, *overrides):
    return loop.train(config.resolve(recipe, [f"--config.{o}" for o in overrides]), workdir)


def command(recipe, workdir, *overrides, signal_at: str = "0:0", hosts: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start the real command in a process of its own, on as many CPU devices as this one has, or two a host."""
    # Their number decides among how many threads sums are split.
    count = 2 if hosts else jax.device_count()
    env = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}",
        "UIT_TEST_SIGNAL": signal_at,
        # Hosts agree on the step to stop at over the network, which takes longer than steps of a millisecond.
        "UIT_TEST_PACE": "0.3" if hosts else "0",
        "PYTHONPATH": str(ROOT),
    }
    arguments = [f"--config={recipe}", f"--workdir={workdir}", *(f"--config.{o}" for o in overrides), *hosts]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tiny_method", "train", *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    return errors


def assert_same_run(one, other):
    """The same metrics, byte for byte, and the same state, bit for bit."""
    assert (Path(one) / "metrics.jsonl").read_bytes() == (Path(other) / "metrics.jsonl").read_bytes()
    (_, _, a), (_, _, b) = checkpoint.restore_run(one), checkpoint.restore_run(other)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes(), jax.tree_util.keystr(path)


def records(workdir):
    return [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]


def image_folder(folder: Path, count: int = 4) -> Path:
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(draw.normal(60 + 120 * k, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def test_a_run_on_png_files_writes_everything(recipe, tmp_path):
    source = image_folder(tmp_path / "data")
    work = tmp_path / "run"
    state = run(recipe, work, f"data.source={source}", "image_every=6", "evaluate_every=4", "keep_checkpoints=1")
    assert int(state.step) == 12
    found = records(work)
    assert [r["step"] for r in found] == [2, 4, 6, 8, 10, 12]
    assert [r["phase"] for r in found] == ["first", "first", "second", "second", "second", "second"]
    assert all(0 <= r["cluster_accuracy"] <= 1 and 0 <= r["cluster_nmi"] <= 1 for r in found if r["step"] % 4 == 0)
    assert "second" not in found[0] and "second" in found[-1]
    names = sorted(p.name for p in (work / "images").iterdir())
    assert names == [f"{name}_{step:08d}.png" for name in ("domains", "translations") for step in (6, 12)]
    assert Image.open(work / "images" / names[0]).size > (64, 64)
    assert config.saved(work).data.source == str(source)
    _, best = max((r["cluster_accuracy"], r["step"]) for r in found if "cluster_accuracy" in r)
    assert {int(p.name) for p in (work / "checkpoints").iterdir()} == {12, best}


def test_scores_of_a_run_are_those_of_its_evaluators(recipe, tmp_path, monkeypatch):
    """On the labelled test images alone, by the weights kept for inference; the best checkpoint is any score's."""
    source, opened = image_folder(tmp_path / "data", count=6), []

    def partly_labelled(*args, original=data.open_test_sides, **how):
        opened.append(original(*args, **how)["image"])
        opened[-1].labels = np.where(np.arange(12) % 3, opened[-1].labels, -1)
        return {"image": opened[-1]}

    monkeypatch.setattr(data, "open_test_sides", partly_labelled)
    work, how = tmp_path / "run", ("evaluate_every=4", "best_metric=style_retrieval", "keep_checkpoints=1")
    run(recipe, work, f"data.source={source}", "evaluators=('retrieval', 'clusters')", *how)
    scored = {r["step"]: r for r in records(work) if "style_retrieval" in r}
    assert set(scored) == {4, 8, 12}
    best = max(scored, key=lambda step: (scored[step]["style_retrieval"], step))
    assert {int(p.name) for p in (work / "checkpoints").iterdir()} == {12, best}
    labelled = np.flatnonzero(opened[0].labels >= 0)
    assert len(labelled) == 8
    domains = runs.load(work).cluster(list(opened[0].images(labelled))).argmax(-1)
    assert scored[12]["cluster_accuracy"] == clusters.accuracy(domains, opened[0].labels[labelled])
    # The same as is found afterwards.
    found = evaluation.evaluate(work, ("clusters", "retrieval"))["scores"]
    assert len(opened) == 2 and found == {name: scored[12][name] for name in found}


def test_translations_are_scored_while_it_trains_and_the_least_distance_is_the_best(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("UIT_INCEPTION", raising=False)
    source, name = image_folder(tmp_path / "data"), "mean_class_frechet_tunit"
    how = ("evaluate_every=4", "evaluators=('tunit_classes',)", f"best_metric=-{name}", "keep_checkpoints=1")
    run(recipe, tmp_path / "run", f"data.source={source}", *how)
    scored = {r["step"]: r[name] for r in records(tmp_path / "run") if name in r}
    assert set(scored) == {4, 8, 12}
    best = min(scored, key=lambda step: (scored[step], -step))
    assert {int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()} == {12, best}
    assert runs.load(tmp_path / "run", "best").step == best


def test_evaluators_that_cannot_run_are_left_out(recipe, tmp_path):
    source = image_folder(tmp_path / "data")
    for path in source.rglob("*.png"):
        path.rename(path.parents[1] / f"{path.parent.name}{path.name}")
    run(recipe, tmp_path / "run", f"data.source={source}", "evaluate_every=4", "evaluators=('clusters', 'judge')")
    assert not any("cluster_accuracy" in r for r in records(tmp_path / "run"))
    assert config.saved(tmp_path / "run").best_metric == "cluster_accuracy"


def test_metrics_are_means_over_their_steps(recipe, tmp_path):
    run(recipe, tmp_path / "each", "log_every=1")
    run(recipe, tmp_path / "windows", "log_every=3")
    each = records(tmp_path / "each")
    assert records(tmp_path / "windows")[0]["fit"] == pytest.approx(np.mean([r["fit"] for r in each[:3]]))


def test_tensorboard_events_hold_scalars_and_pictures(recipe, tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(recipe, tmp_path / "run", "tensorboard=true", "image_every=12", "steps=12")
    events = EventAccumulator(str(tmp_path / "run" / "tb"), size_guidance={"tensors": 0}).Reload()
    assert {"fit", "second", "images_per_second", "input_wait", "translations"} <= set(events.Tags()["tensors"])
    assert [e.step for e in events.Tensors("fit")] == [2, 4, 6, 8, 10, 12]


def test_tensorboards_curves_do_not_fold_back_after_a_kill(tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Each goes on from before the step at which the one before was killed.
    for first, last in ((0, 9), (6, 10), (8, 12)):
        writers = Writers(tmp_path)
        assert writers.resume(first) == []
        for step in range(first + 1, last + 1):
            writers.metrics(step, {"fit": first})
            writers.pictures(step, {"grid": np.zeros((4, 4, 3), np.uint8)})
        writers.close()
        torn = max((tmp_path / "tb").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        torn.write_bytes(torn.read_bytes() + b"\x18\0\0")
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0}).Reload()
    for tag in ("fit", "grid"):
        assert [e.step for e in events.Tensors(tag)] == list(range(1, 13)), tag
    assert [int(tf_value(e)) for e in events.Tensors("fit")] == [0] * 6 + [6] * 2 + [8] * 4


def tf_value(event) -> float:
    from tensorboard.util.tensor_util import make_ndarray

    return make_ndarray(event.tensor_proto).item()


LINES = [b'{"step": 2, "fit": 0.5}\n', b'{"step": 4, "fit": 0.4}\n', b'{"step": 6, "fit": 0.3}\n']
BEYOND = b'{"step": 8, "fit": 0.2}\n'
ODD = {
    "a flipped byte": b'{"step": 4, \x00fit": 0.4}\n',
    "no UTF-8": b'{"step": 4, "\xfft": 0.4}\n',
    "a carriage return": b'{"step": 4,\r "fi\rt": 0.4}\n',
    "a blank line": b"\n",
    "no object": b"[4, 0.4]\n",
    "no step": b'{"fit": 0.4}\n',
    "a step that is no number": b'{"step": "4"}\n',
    "a step beyond": b'{"step": 94, "fit": 0.4}\n',
    "nested too deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("line", ODD.values(), ids=ODD)
def test_a_damaged_line_of_metrics_stays_and_costs_no_other(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES[0] + line + LINES[2] + BEYOND)
    told = Writers(tmp_path, tensorboard=False).resume(6)
    assert path.read_bytes() == LINES[0] + line + LINES[2]
    assert len(told) == 1 and told[0].endswith("line 2") and str(path) in told[0] and "\n" not in told[0]


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        (b'{"step": 8, "fi', b""),
        (b"\0" * 40, b""),
        (BEYOND + b"\n" + BEYOND, b""),
        (BEYOND[:-1], b""),
        (b'{"step": 6, "more": 1}', b'{"step": 6, "more": 1}\n'),
        (b'{"step": 6, fit": 0.3}\n', b'{"step": 6, fit": 0.3}\n'),
        (b'{"step": 7, fit": 0.3}\n' + BEYOND, b'{"step": 7, fit": 0.3}\n'),
    ],
    ids=["cut short", "zeros", "beyond", "beyond, cut", "whole but for its newline", "damaged", "damaged, then beyond"],
)
def test_only_what_lies_behind_the_last_record_is_cut(tmp_path, tail, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(LINES) + tail)
    Writers(tmp_path, tensorboard=False).resume(6)
    assert path.read_bytes() == b"".join(LINES) + kept


def test_a_second_training_in_a_workdir_is_refused(recipe, tmp_path):
    with Lock(tmp_path) as lock:
        assert not lock.left_by
        with pytest.raises(UserError) as caught:
            run(recipe, tmp_path)
        said = str(caught.value)
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in said and "\n" not in said
        assert sorted(path.name for path in tmp_path.iterdir()) == [".training"]
    assert not list(tmp_path.iterdir())
    # A process that was killed leaves its file, but not its lock.
    (tmp_path / ".training").write_text('{"process": 7, "host": "gpu3", "since": "2026-01-01"}')
    with Lock(tmp_path) as lock:
        assert "process 7 on gpu3" in lock.left_by
        with Lock(tmp_path, active=False):
            pass
        assert list(tmp_path.iterdir())


def test_the_lock_is_given_back_however_a_training_ends(recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop.feed, "Streams", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / ".training").exists()
    run(recipe, tmp_path / "run", "steps=2")
    assert not (tmp_path / "run" / ".training").exists()
    with pytest.raises(UserError, match="step 2"):
        run(recipe, tmp_path / "nan", "log_every=1", "method.poison=2")
    assert not (tmp_path / "nan" / ".training").exists()


def test_where_there_are_no_locks_training_goes_on_without(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "flock", none)
    with Lock(tmp_path), Lock(tmp_path):
        pass
    monkeypatch.setattr(lock_module, "fcntl", None)
    with Lock(tmp_path), Lock(tmp_path):
        pass


def test_a_thread_trains_without_handlers(recipe, whole, tmp_path):
    """As in a notebook's or a server's worker, where Python lets nobody listen to signals."""
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with ThreadPoolExecutor(1) as pool:
        state = pool.submit(run, recipe, tmp_path / "run").result()
    assert int(state.step) == 12
    assert before == [signal.getsignal(number) for number in signals.SIGNALS]
    assert_same_run(whole(), tmp_path / "run")


def test_signals_that_the_shell_ignores_stay_ignored(monkeypatch):
    """`nohup uit train` goes on when its terminal is closed."""
    with _ignored(signal.SIGHUP), signals.Stop() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested()


@contextlib.contextmanager
def _ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize(("stop_at", "number"), [(5, signal.SIGTERM), (8, signal.SIGHUP), (11, signal.SIGUSR1)])
def test_continuing_equals_never_stopping(recipe, whole, tmp_path, stop_at, number, monkeypatch, capfd):
    """Stopped by a signal at a step where no checkpoint is due, in the middle of a window of metrics."""
    advance = loop.Run.advance

    def interrupted(self, state, steps):
        if stop_at - 1 in steps:
            os.kill(os.getpid(), number)
        return advance(self, state, steps)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "advance", interrupted)
        state = run(recipe, tmp_path / "parts", "log_every=3", "evaluate_every=6")
    assert int(state.step) == stop_at
    assert int(checkpoint.restore_run(tmp_path / "parts")[2].step) == stop_at
    assert signal.getsignal(number) == signal.SIG_DFL
    assert capfd.readouterr().err.count("stopping behind the steps under way") == 1
    run(recipe, tmp_path / "parts", "log_every=3", "evaluate_every=6")
    assert_same_run(whole("log_every=3", "evaluate_every=6"), tmp_path / "parts")


def test_sigterm_saves_and_exits_0(recipe, tmp_path):
    said = finish(command(recipe, tmp_path / "run", signal_at=f"{int(signal.SIGTERM)}:7"))
    assert "7 of 12 steps; the same command continues" in said
    assert int(checkpoint.restore_run(tmp_path / "run")[2].step) == 7


def test_kill_9_then_the_same_command_equals_never_stopping(recipe, whole, tmp_path):
    """Before the first checkpoint, and twice after later ones."""
    for killed_at in (3, 6, 10):
        killed = f"{int(signal.SIGKILL)}:{killed_at}"
        finish(command(recipe, tmp_path / "parts", "log_every=1", signal_at=killed), -signal.SIGKILL)
        assert records(tmp_path / "parts")[-1]["step"] < killed_at
    finish(command(recipe, tmp_path / "parts", "log_every=1"))
    assert [r["step"] for r in records(tmp_path / "parts")] == list(range(1, 13))
    assert_same_run(whole("log_every=1"), tmp_path / "parts")


@pytest.mark.slow
def test_a_closed_terminal_stops_with_a_checkpoint(recipe, tmp_path):
    """A real one, with its bar: to it nothing can be written any more, and the next command goes on."""
    environment = {**os.environ, "UIT_TEST_PACE": "0.2", "PYTHONPATH": str(ROOT)}
    arguments = ["-m", "tests.tiny_method", "train", f"--config={recipe}", f"--workdir={tmp_path / 'run'}"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, *arguments, "--config.log_every=1"], environment)
    termios.tcsetwinsize(terminal, (24, 100))
    shown = b""
    while b" 1/12 " not in shown:
        shown += os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert 1 <= int(checkpoint.restore_run(tmp_path / "run")[2].step) < 12
    assert int(run(recipe, tmp_path / "run", "log_every=1").step) == 12


@pytest.mark.slow
@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_two_processes_stop_together_and_go_on(recipe, tmp_path, how):
    """Two processes of two devices; one is told to stop, both save at the same step, and the result is the same."""

    def both(signal_at, *overrides):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        processes = [
            command(
                recipe,
                tmp_path / "parts",
                "devices=0",
                f"parallel={how}",
                *overrides,
                signal_at=signal_at if index == 1 else "0:0",
                hosts=(f"--coordinator=localhost:{port}", "--num_processes=2", f"--process_id={index}"),
            )
            for index in range(2)
        ]
        return [finish(process) for process in processes]

    said, _ = both(f"{int(signal.SIGTERM)}:5")
    assert "the same command continues" in said
    assert 5 <= int(checkpoint.restore_run(tmp_path / "parts")[2].step) < 12
    both("0:0", "data.on_device=yes")
    whole = run(recipe, tmp_path / "whole", "devices=4")
    parts = checkpoint.restore_run(tmp_path / "parts")[2]
    assert [r["step"] for r in records(tmp_path / "parts")] == [2, 4, 6, 8, 10, 12]
    for x, y in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-4)


RUN = {
    "parallel": "jit", "devices": 1, "tensorboard": False, "steps": 6, "log_every": 1, "image_every": 0,
    "checkpoint_every": 2, "evaluate_every": 0, "data.resample": "bicubic",
}  # fmt: skip
PLAIN = {"r1": {"weight": 0.0}}
"""Without the penalty, which adds nothing to a state and takes long to compile; of CLUIT it is every second phase."""

MORE = {
    "tunit": PLAIN,
    "embedding": PLAIN | {"labelled_share": 0.5},
    "sincut": PLAIN | {"negatives": {"kind": "minibatch"}, "average": 0.5},
}
"""In what a method's run differs from its configuration in the table that has a memory."""

PHASES = {
    "tunit": ["guide"] * 2 + ["joint_lazy"] * 4,
    "cluit": ["penalised", "lazy"] * 3,
    "cut": ["cropped"] * 2 + ["uncropped"] * 4,
    "fastcut": ["cropped"] * 2 + ["uncropped"] * 4,
}


def pair_tree(folder: Path, **sizes) -> Path:
    """Write trainA, trainB, testA and testB; `sizes` gives (count, width, height) of the images of A and of B."""
    draw = np.random.default_rng(1)
    for side, (count, width, height) in sizes.items():
        for split in ("train", "test"):
            (folder / f"{split}{side}").mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (height, width, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}{side}" / f"{i}.png")
    return folder


def method_recipe(name: str, folder: Path) -> str:
    """Write a config of a tiny method and the images it learns from; of two sides unequal in numbers and sizes."""
    kind, size = methods.kind(name), 2
    if len(kind().sides) == 1:
        data, size = image_folder(folder / "data", count=12), 4
    elif name == "sincut":
        data, size = pair_tree(folder / "data", A=(1, 40, 24), B=(1, 22, 30)), 1
    else:
        data = pair_tree(folder / "data", A=(5, 24, 20), B=(3, 30, 40))
    own = config.flatten(table.values(name, table.SHARING.get(name, table.first(name)), **MORE.get(name, {})))
    keys = settings.owned(kind)
    changes = RUN | {keys.get(key, f"method.{key}"): value for key, value in own.items()}
    changes |= {"data.source": str(data), "batch_size": size}
    body = f"return config.update(config.defaults({name!r}), {changes})"
    (folder / f"{name}.py").write_text(f"from uit_jax import config\n\n\ndef get_config(_):\n    {body}\n")
    return str(folder / f"{name}.py")


def lifted_once():
    """Return `devices.lift` that gives the same for the same step, so that runs of equal settings trace it once."""
    plain = devices.lift
    lift = functools.cache(lambda step, how, chosen: plain(step, how, list(chosen)))
    return lambda step, how, chosen: lift(step, how, tuple(chosen))


OTHERS = [name for name in methods.METHODS if name != "tiny"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_method_that_goes_on_equals_never_stopping(tmp_path, name, monkeypatch):
    """Every weight, optimiser state, average, statistic and memory, and every metric, bit for bit.

    What goes on is a copy of the workdir as it was before the last step; processes that are killed come below.
    """
    advance, parts = loop.Run.advance, tmp_path / "parts"

    def copying(self, state, steps):
        if steps[0] == 5 and not parts.exists():
            self.checkpoints.wait()
            shutil.copytree(self.workdir, parts)
        return advance(self, state, steps)

    recipe = method_recipe(name, tmp_path)
    monkeypatch.setattr(loop.Run, "advance", copying)
    # What goes on is traced and read from the cache where processes are killed, below; here it has the run's programs.
    monkeypatch.setattr(loop.devices, "lift", lifted_once())
    state = run(recipe, tmp_path / "whole", "image_every=6")
    assert (records(parts)[-1]["step"], checkpoint.steps(parts)[-1]) == (5, 4)
    run(recipe, parts, "image_every=6")
    assert_same_run(tmp_path / "whole", parts)
    if name in PHASES:
        assert [record["phase"] for record in records(tmp_path / "whole")] == PHASES[name]
    assert list((tmp_path / "whole" / "images").iterdir())
    if name == "embedding":  # its queue holds classes, and images without
        assert set(np.asarray(state.memory["labels"].keys).tolist()) == {-1, 0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tunit", "cyclegan"])
def test_a_process_killed_by_kill_9_equals_never_stopping(tmp_path, name):
    """Bit for bit, the run that is never stopped being this process's, the others processes of their own.

    One has a queue in its memory and phases, the other pools.
    """
    recipe = method_recipe(name, tmp_path)
    run(recipe, tmp_path / "whole")
    finish(command(recipe, tmp_path / "parts", signal_at=f"{int(signal.SIGKILL)}:6"), -signal.SIGKILL)
    assert records(tmp_path / "parts")[-1]["step"] < 6
    finish(command(recipe, tmp_path / "parts"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


# By default two processes of the tiny method and one of another are killed; UIT_KILLS=N kills N of four methods.
KILLS = int(os.environ.get("UIT_KILLS", "0"))
KILLED = {name: -(-KILLS // 4) for name in ("tunit", "cluit", "cut", "cyclegan")} if KILLS else {"tiny": 2, "cut": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_kill_9_at_any_moment(recipe, tmp_path, name, capsys):
    """Killed from outside again and again, wherever it is: reading, compiling, training, saving, deleting."""
    pick, parts = random.Random(name), tmp_path / "parts"
    overrides = ("log_every=1", "checkpoint_every=2", "steps=40")
    if name == "tiny":
        overrides = ("log_every=1", "checkpoint_every=3", "steps=150")
    else:
        recipe = method_recipe(name, tmp_path)
        if "method.schedule.constant_steps" in config.known(name):
            overrides += ("method.schedule.constant_steps=20", "method.schedule.decay_steps=20")
    kills = 0
    for nth in range(KILLED[name]):
        process = command(recipe, parts, *overrides)
        # Most in the middle of training, every fourth whenever it is.
        if nth % 4 == 3:
            time.sleep(pick.uniform(0, 12))
        else:
            wait_for_a_step(process, parts / "metrics.jsonl")
            time.sleep(pick.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=300)
        kills += process.returncode == -signal.SIGKILL
    assert kills
    if KILLS:
        with capsys.disabled():
            reached = records(parts)
            print(f"\n{name}: {kills} killed, the last at step {reached[-1]['step'] if reached else 0}")
    finish(command(recipe, parts, *overrides))
    run(recipe, tmp_path / "whole", *overrides)
    assert_same_run(tmp_path / "whole", parts)


def wait_for_a_step(process: subprocess.Popen, path: Path) -> None:
    """Wait until a run has written metrics of a further step, or ends."""
    before = None  # at its start a run may make the file, or cut it
    while process.poll() is None:
        size = path.stat().st_size if path.exists() else 0
        if before is not None and size > before:
            return
        before = size
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [("method.poison=7", "step 7: fit is nan"), ("method.poison_weights=7", "learners/model")],
)
@pytest.mark.parametrize("how", ["log", "save"])
def test_nan_stops_and_leaves_the_last_good_checkpoint(recipe, tmp_path, spoilt, words, how, capsys):
    cadence = ("log_every=1", "checkpoint_every=4") if how == "log" else ("log_every=100", "checkpoint_every=1")
    if how == "log" and "weights" in spoilt:
        words = "step 8:"  # its first effect on a term
    with pytest.raises(UserError) as caught:
        run(recipe, tmp_path / "run", *cadence, spoilt)
    message = str(caught.value)
    good = 4 if how == "log" else 6
    assert words in message and f"last good checkpoint is step {good}" in message and "\n" not in message
    state = checkpoint.restore_run(tmp_path / "run")[2]
    assert int(state.step) == good and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    # The same command goes on from it, and comes to the same.
    with pytest.raises(UserError) as again:
        run(recipe, tmp_path / "run", *cadence, spoilt)
    assert str(again.value) == message and f"from step {good}" in capsys.readouterr().err


def test_nan_exits_not_0_with_one_line(recipe, tmp_path):
    said = finish(command(recipe, tmp_path / "run", "log_every=1", "method.poison=6"), 2)
    assert said.splitlines()[-1].startswith("uit: step 6: fit is nan") and "Traceback" not in said


def test_a_resumed_run_falls_back_over_a_damaged_checkpoint(recipe, whole, tmp_path):
    shutil.copytree(whole(), tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "12" / "state")
    run(recipe, tmp_path / "parts")
    assert_same_run(whole(), tmp_path / "parts")


def test_a_finished_run_stays_as_it_is_and_more_steps_extend_it(recipe, whole, tmp_path):
    run(recipe, tmp_path / "parts", "steps=8")
    before = (tmp_path / "parts" / "metrics.jsonl").read_bytes()
    run(recipe, tmp_path / "parts", "steps=8")
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == before
    run(recipe, tmp_path / "parts")
    assert_same_run(whole(), tmp_path / "parts")


@pytest.mark.parametrize("how", ["jit", "shard_map"])
def test_another_number_of_devices_continues_a_run(recipe, whole, tmp_path, how):
    run(recipe, tmp_path / "run", "steps=6")
    state = run(recipe, tmp_path / "run", f"parallel={how}", f"devices={1 if how == 'jit' else 4}")
    other = checkpoint.restore_run(whole())[2]
    for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    "learning, told",
    [
        ((), "before the translator begins to learn: raise them"),
        (range(10, 10**10), "before the translator begins to learn, which is behind step 10: raise them"),
        ((1,), ""),
    ],
    ids=["never", "later", "in between"],
)
def test_a_run_in_which_the_translator_never_learns_says_so(recipe, tmp_path, monkeypatch, capsys, learning, told):
    """Not one whose last step is of the others that there are in between."""
    phase = tiny_method.Tiny.phase

    def patched(self, step):
        return dataclasses.replace(phase(self, step), translates=step in learning)

    monkeypatch.setattr(tiny_method.Tiny, "phase", patched)
    run(recipe, tmp_path / "run", "steps=3")
    said = capsys.readouterr().err
    assert told in said and ("before the translator begins" in said) == bool(told)


def test_other_settings_or_other_images_do_not_continue_a_run(recipe, tmp_path):
    run(recipe, tmp_path / "run", "steps=4")
    with pytest.raises(UserError, match=r"method\.rate=0\.1, not 0\.2"):
        run(recipe, tmp_path / "run", "method.rate=0.2")
    with pytest.raises(UserError, match="images 30, the run began with 24"):
        run(recipe, tmp_path / "run", "data.source=procedural:count=30")
    assert config.saved(tmp_path / "run").data.source == "procedural:count=24"


def test_another_runs_checkpoint_in_a_workdir_stops_it_and_is_left_alone(recipe, tmp_path):
    """With networks of the same shapes: another method, or the same with other settings."""
    run(recipe, tmp_path / "run", "steps=4")
    run(recipe, tmp_path / "other", "steps=8", "method.rate=0.2")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "8", tmp_path / "run" / "checkpoints" / "8")
    with pytest.raises(UserError, match=r"was begun with method\.rate=0\.2, not 0\.1"):
        run(recipe, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"4", "8"}


def test_bad_input_is_one_line_and_leaves_nothing(recipe, tmp_path):
    few = image_folder(tmp_path / "few", count=1)
    for overrides, words in (
        ((f"data.source={tmp_path / 'nowhere'}",), "nowhere"),
        ((f"data.source={few}",), "2 images are fewer than batch_size=4"),
        (("batch_size=5",), "batch_size=5"),
        (("devices=99",), "devices=99"),
        (("keep_checkpoints=0",), "keep_checkpoints=0 must be 1 at least"),
        (("parallel=threads",), "parallel='threads'"),
        (("method.name=tiny2",), "tiny2"),
        (("method.domains=0",), "method.domains=0 must be 1 at least"),
        (("evaluators=('cluster',)",), "no evaluator is called 'cluster'; did you mean clusters?"),
        (("best_metric=style_retrieval",), "best_metric='style_retrieval' is no score of evaluators=('clusters',)"),
    ):
        with pytest.raises(UserError) as caught:
            run(recipe, tmp_path / "run", *overrides)
        assert words in str(caught.value) and "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_an_unwritable_workdir_and_a_full_disk_are_reported_first(recipe, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot be written to") as caught:
            run(recipe, workdir)
        assert str(workdir) in str(caught.value)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
    with pytest.raises(UserError, match="make room"):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_command_without_config_needs_a_run(tmp_path):
    with pytest.raises(UserError, match="no run to continue"):
        train.main([f"--workdir={tmp_path}"])


def test_a_relative_source_is_found_from_any_folder(recipe, tmp_path, monkeypatch):
    for name in ("train/a/0", "train/b/0", "test/a/0", "test/b/0"):
        file = tmp_path / "home" / "my set" / f"{name}.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.full((16, 16, 3), 80, np.uint8)).save(file)
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    given = ("data.source=my set", "batch_size=2", "devices=1", "steps=2", "evaluate_every=2")
    run(recipe, tmp_path / "run", *given)
    assert config.saved(tmp_path / "run").data.source == str(tmp_path / "home" / "my set")
    monkeypatch.chdir(tmp_path / "away")
    trained = runs.load(tmp_path / "run")
    assert evaluation.evaluate(trained)["images"] == 2 and len(trained.search(count=1).gallery.codes) == 2
    # As it was told to begin with, from where it was begun, the run goes on.
    monkeypatch.chdir(tmp_path / "home")
    assert run(recipe, tmp_path / "run", *given, "steps=3").step == 3
    shutil.move(tmp_path / "home", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "away")
    for ask in (evaluation.evaluate, lambda trained: trained.search(count=1)):
        with pytest.raises(UserError, match=r"^data.source=.*/home/my set of this run is not there: .* by --source$"):
            ask(trained)
    with pytest.raises(UserError, match=r"^data.source=.* is not there: .* by --references$"):
        trained.domain_styles()
    trained.config.data.source = "my set"  # as version 0.2.0 kept it
    with pytest.raises(UserError, match=r"^data.source=my set of this run is not there \(seen from .*/away\): "):
        evaluation.evaluate(trained)
    assert evaluation.evaluate(trained, source=str(tmp_path / "elsewhere" / "my set"))["images"] == 2
