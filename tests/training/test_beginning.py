"""How a run begins: what is refused before anything is made, what is told, and with whose weights."""

import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests import method_table as table
from tests import tiny_method
from tests.convert.published import assert_equal, state_of
from uit_jax import checkpoint, config, methods, settings, tensors
from uit_jax import method as method_module
from uit_jax.convert.pooled import CYCLEGAN
from uit_jax.data import packing
from uit_jax.errors import UserError
from uit_jax.optimizers import Optimizer
from uit_jax.training import beginning, devices, feed, loop, origin
from uit_jax.training.progress import Progress


@pytest.fixture(autouse=True)
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def resolved(recipe, *overrides):
    return config.resolve(recipe, [f"--config.{each}" for each in overrides])


def run(recipe, workdir, *overrides):
    return loop.train(resolved(recipe, *overrides), workdir)


def refused(recipe, workdir, *overrides) -> str:
    """Return how a run is refused, which leaves nothing."""
    with pytest.raises(UserError) as caught:
        run(recipe, workdir, *overrides)
    assert not Path(workdir).exists()
    return str(caught.value)


def test_the_landmarks_of_faces_are_read_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = config.update(config.defaults("starganv2"), {"method.landmarks": "wing.npz"})
    assert beginning.rooted(faces).method.landmarks == str(tmp_path / "wing.npz")
    assert beginning.rooted(config.defaults("starganv2")).method.landmarks == ""


def test_labels_are_read_from_any_folder_and_before_anything_is_made(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = beginning.rooted(resolved(recipe, "data.labels=labels.csv"))
    assert config.data.labels == str(tmp_path / "labels.csv")
    assert beginning.rooted(resolved(recipe)).data.labels == ""
    told = refused(recipe, tmp_path / "run", "data.labels=labels.csv")
    assert told.startswith(f"data.labels={tmp_path / 'labels.csv'}: cannot be read (")


def records(workdir):
    return [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]


def images(folder: Path, count: int, value=None, side: int = 20) -> Path:
    """Write images of one value, or of random ones."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for index in range(count):
        pixels = draw.integers(0, 256, (side, side, 3)) if value is None else np.full((side, side, 3), value)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return folder


def tabled(name: str, folder: Path, **changes) -> str:
    """Write a recipe of a method at its tiniest."""
    # As the tests of the loop have it: what these compiled need not be compiled again.
    more = {"r1": {"weight": 0.0}} if name == "tunit" else {}
    own = config.flatten(table.values(name, table.SHARING[name], **more))
    keys = settings.owned(methods.kind(name))
    chosen = {keys.get(key, f"method.{key}"): value for key, value in own.items()}
    chosen |= {"parallel": "jit", "devices": 1, "tensorboard": False, "image_every": 0, "evaluate_every": 0}
    chosen |= {"checkpoint_every": 0, "log_every": 1, "steps": 3, "batch_size": 2, **changes}
    body = f"return config.update(config.defaults({name!r}), {chosen})"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(f"from uit_jax import config\ndef get_config(_):\n    {body}")
    return str(folder / f"{name}.py")


# --- what cannot be ---


def test_what_cannot_be_is_refused_before_anything_is_made(recipe, tmp_path):
    work = tmp_path / "run"
    assert "data.image_size=1048576 must be 1 to 16384" in refused(recipe, work, "data.image_size=1048576")
    assert "must be 2147483647 at most" in refused(recipe, work, "method.width=9999999999")
    told = refused(recipe, work, "method.width=2000000000")
    assert "GB" in told and "lower widths in method.*" in told
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(recipe, work, f"data.source={tmp_path / 'empty'}")
    told = refused(recipe, work, f"init_from={tmp_path}/nowhere")
    assert told == f"init_from={tmp_path}/nowhere: no run was trained there (it has no config.json)"


def test_every_phase_of_a_run_is_checked(tmp_path):
    """Its own batch size by its name, its stream, and what is cut out of its images."""
    source = images(tmp_path / "set" / "train" / "a", 6).parents[1]
    images(source / "train" / "b", 6)
    tunit = tabled("tunit", tmp_path / "r", **{"data.source": str(source), "data.image_size": 8})
    work = tmp_path / "run"
    told = refused(tunit, work, "method.guide_batch_size=13")
    assert told.endswith("12 images are fewer than method.guide_batch_size=13: lower it")
    told = refused(tunit, work, "method.domains=13")
    assert "12 images cannot be sorted into method.domains=13 pseudo domains: set it to 12 at most" in told
    told = refused(tunit, work, "method.labels.share=0.9", "batch_size=4", "steps=40")
    assert told.endswith("2 unlabelled images are fewer than batch_size=4: lower it")
    sincut = tabled("sincut", tmp_path / "r", **{"batch_size": 1, "data.source": str(source / "train/a/0.png")})
    where = f"data.target={source / 'train/b/0.png'}"
    assert "20 x 20 are smaller than the crops" in refused(sincut, work, where, "data.image_size=32")
    cut = tabled("cut", tmp_path / "r", **{"data.source": str(source / "train/a"), "data.target": str(source / "none")})
    assert "none" in refused(cut, work)


def test_the_phases_of_a_run_are_found_without_a_look_at_every_step():
    tunit = methods.build("tunit", table.TINY["tunit"], guide_steps=30_000)
    names = [phase.name for phase in method_module.phases(tunit, 10**9)]
    assert names[0] == "guide" and set(names) == {"guide", "joint"}
    assert [phase.name for phase in method_module.phases(tunit, 30_000)] == ["guide"]
    assert [phase.name for phase in method_module.phases(tunit, 30_001)] == ["guide", "joint"]


def test_a_state_that_fits_no_memory_is_refused_by_its_shapes(monkeypatch):
    monkeypatch.setattr(devices, "memory_of", lambda device: 4000)
    state, used = jax.ShapeDtypeStruct((500,), np.float32), jax.devices()[:2]
    devices.check_memory(state, jax.ShapeDtypeStruct((1000,), np.uint8), used)
    with pytest.raises(UserError, match="but 1 x cpu has 0.0 GB: lower"):
        devices.check_memory(state, jax.ShapeDtypeStruct((1100,), np.uint8), used)


def test_a_run_that_saved_nothing_begins_anew_with_other_settings(recipe, tmp_path):
    with pytest.raises(UserError, match="step 1: fit is nan.*no checkpoint was saved yet"):
        run(recipe, tmp_path / "run", "log_every=1", "method.poison=1")
    assert config.saved(tmp_path / "run").method.poison == 1
    run(recipe, tmp_path / "run", "log_every=1", "method.width=5", "steps=4")
    assert config.saved(tmp_path / "run").method.width == 5
    assert [r["step"] for r in records(tmp_path / "run")] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="was begun with method.width=5, not 4"):
        run(recipe, tmp_path / "run", "log_every=1", "steps=4")


# --- schedules ---


def test_step_sizes_are_among_the_metrics_and_leave_the_step_alone(recipe, tmp_path, monkeypatch):
    state = run(recipe, tmp_path / "plain", "steps=4")
    optax_s = tiny_method.Tiny.optimizer
    told = staticmethod(lambda rate: Optimizer(*optax_s(rate), lambda step: rate * (step < 3)))
    monkeypatch.setattr(tiny_method.Tiny, "optimizer", told)
    same = run(recipe, tmp_path / "told", "steps=4")
    assert [r["model/rate"] for r in records(tmp_path / "told")] == [0.1, 0.0]
    assert "model/rate" not in records(tmp_path / "plain")[0]
    jax.tree.map(np.testing.assert_array_equal, state, same)


def test_every_method_tells_its_step_sizes():
    for name in methods.METHODS:
        if name != "tiny":
            method = table.build(name)
            assert method.rates(0).keys() == method.networks.keys() and min(method.rates(0).values()) > 0
    cut = table.build("cut")  # two constant steps, then four of decay
    rates = [cut.rates(step)["generator"] / cut.adam.learning_rate for step in range(8)]
    np.testing.assert_allclose(rates, [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0], atol=1e-6)


def test_training_beyond_a_schedule_is_told_and_nothing_but_that_is_refused(recipe, tmp_path, monkeypatch, capsys):
    adam = tiny_method.Tiny.optimizer
    until = staticmethod(lambda rate: Optimizer(*adam(rate), lambda step: rate * (step < 4)))
    monkeypatch.setattr(tiny_method.Tiny, "optimizer", until)
    run(recipe, tmp_path / "run", "steps=4")
    assert "beyond the schedule" not in capsys.readouterr().err
    run(recipe, tmp_path / "run", "steps=2")
    assert "run holds 4 steps, and steps=2 ask for no more" in capsys.readouterr().err
    with pytest.raises(UserError, match="steps=8: from step 4 on every step size is 0.*--init_from=.*run and another"):
        run(recipe, tmp_path / "run", "steps=8")
    run(recipe, tmp_path / "long", "steps=6", "checkpoint_every=5")
    assert "steps=6 go beyond the schedule: from step 4 on every" in capsys.readouterr().err
    (tmp_path / "long" / "checkpoints" / "6").rename(tmp_path / "six")
    run(recipe, tmp_path / "long", "steps=6", "checkpoint_every=5")  # it was meant to stand still
    never = staticmethod(lambda rate: Optimizer(*adam(rate), lambda step: 0.0))
    monkeypatch.setattr(tiny_method.Tiny, "optimizer", never)
    assert "from step 0 on every step size is 0" in refused(recipe, tmp_path / "none")


# --- with whose weights ---


def test_a_run_begins_with_the_weights_of_another_once(recipe, tmp_path, capsys):
    first = run(recipe, tmp_path / "first", "steps=8")
    how = (f"init_from={tmp_path / 'first'}:4", "seed=3", "method.rate=0.5", "steps=3", "checkpoint_every=1")
    c = resolved(recipe, *how)
    shapes = jax.eval_shape(lambda: config.initial_state(c, config.method_of(c)))
    found = origin.read(c.init_from, config.method_of(c), shapes)
    begun = found.begin(config.initial_state(c, config.method_of(c)))
    four = checkpoint.restore_run(tmp_path / "first", 4)[2]
    for part in ("params", "stats", "ema"):
        mine, own = (getattr(state.learners["model"], part) for state in (begun, four))
        jax.tree.map(np.testing.assert_array_equal, mine, own)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(begun.learners["model"].opt_state)) and int(begun.step) == 0
    whole = run(recipe, tmp_path / "whole", *how)
    assert "beginning with model of" in capsys.readouterr().err
    assert config.saved(tmp_path / "whole").init_from.endswith("first:4")
    # Stopped and continued: what it began with is not put in again, and may be gone.
    run(recipe, tmp_path / "parts", *how[:-2], "steps=2", how[-1])
    (tmp_path / "first").rename(tmp_path / "gone")
    jax.tree.map(np.testing.assert_array_equal, run(recipe, tmp_path / "parts", *how), whole)
    assert int(first.step) == 8


def test_another_network_is_refused_by_its_entry(recipe, tmp_path):
    run(recipe, tmp_path / "first", "steps=4")
    begun = f"init_from={tmp_path / 'first'}"
    told = refused(recipe, tmp_path / "run", begun, "method.width=5")
    assert "its model is another network: params/heads is (4, 6), and (5, 6) with these settings" in told
    assert "no checkpoint is '9'; there are: [4]" in refused(recipe, tmp_path / "run", f"{begun}:9")
    cut = tabled("cyclegan", tmp_path / "r", **{"data.source": "procedural", "init_from": str(tmp_path / "first")})
    assert "its networks (model) are none of this method's (discriminator_a," in refused(cut, tmp_path / "run")


def test_a_run_begins_with_published_weights(tmp_path):
    method, tiny = table.build("cyclegan"), table.TINY["cyclegan"]
    state, fresh = (state_of("cyclegan", tiny, seed) for seed in (5, 6))
    published = CYCLEGAN.export_state(state)
    tensors.write(tmp_path / "g.npz", {"G_A": published["G_A"]})
    shapes = jax.eval_shape(lambda: method.init(jax.random.PRNGKey(0), 2))
    found = origin.read(str(tmp_path / "g.npz"), method, shapes)
    begun = found.begin(fresh)
    for name, other in {"generator_ab": state, "generator_ba": fresh}.items():
        assert_equal(begun.learners[name].params, other.learners[name].params)
    assert found.describe(begun).endswith("g.npz; anew: discriminator_a, discriminator_b, generator_ba")
    published["G_A"]["model.1.bias"] = np.full_like(published["G_A"]["model.1.bias"], np.nan)
    tensors.write(tmp_path / "g.npz", {"G_A": published["G_A"]})
    with pytest.raises(UserError, match="g.npz: the checkpoint's G_A is damaged: model.1.bias holds NaN or infinity"):
        origin.read(str(tmp_path / "g.npz"), method, shapes)


# --- images that are all alike, few, or learnt from too fast ---


def test_tunit_learns_from_images_of_one_colour(tmp_path):
    """All of them identical, too: every loss stays finite."""
    source = images(tmp_path / "set", 4, 77)
    run(tabled("tunit", tmp_path / "r", **{"data.source": str(source), "batch_size": 4}), tmp_path / "run")
    assert [r["step"] for r in records(tmp_path / "run")] == [1, 2, 3]


def test_cut_learns_from_one_image_a_side_and_a_batch_larger_than_a_side_is_told(tmp_path, capsys):
    a, b = images(tmp_path / "a", 1, 0), images(tmp_path / "b", 1, 0)
    run(tabled("cut", tmp_path / "r", **{"data.source": str(a), "data.target": str(b)}), tmp_path / "run", "steps=2")
    assert len(records(tmp_path / "run")) == 2
    assert "there are 1 of A and 1 of B: a batch of 2 holds images of it more than once" in capsys.readouterr().err


def test_a_rate_that_is_far_too_large_is_stopped_at_its_step(recipe, tmp_path):
    with pytest.raises(UserError) as caught:
        run(recipe, tmp_path / "run", "log_every=1", "checkpoint_every=1", "method.rate=1e38", "method.guide_steps=0")
    assert "step 2: " in str(caught.value) and " is " in str(caught.value)
    assert "the last good checkpoint is step 1" in str(caught.value)


def test_a_disk_that_fills_up_is_told_with_what_could_not_be_written(recipe, tmp_path, monkeypatch):
    checked = loop.Run.advance

    def fill(self, state, steps):
        if steps[0] == 2:
            monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10))
        return checked(self, state, steps)

    monkeypatch.setattr(loop.Run, "advance", fill)
    with pytest.raises(UserError, match=r"speed.jsonl cannot be written: No space left on device$"):
        run(recipe, tmp_path / "run", "log_every=2")
    assert [r["step"] for r in records(tmp_path / "run")] == [2]


# --- what is told ---


def test_a_run_tells_its_devices_its_compilations_and_the_world_that_nobody_named(recipe, tmp_path, capsys):
    run(recipe, tmp_path / "run", "steps=6")
    told = capsys.readouterr().err
    assert "training on 2 x cpu" in told and "no images are named" not in told
    for name in ("first", "second"):
        kept = rf"(, or reading it back from {re.escape(os.environ['JAX_COMPILATION_CACHE_DIR'])})?"
        begins = rf"(compiling the step of phase {name}{kept}|phase {name} begins, its step compiled ahead) \.\.\."
        assert re.search(rf"{begins}\n\.\.\. and done with the first one after ", told)
    run(recipe, tmp_path / "world", "steps=2", "data.source=procedural")
    told = capsys.readouterr().err
    assert "no images are named: training on the procedural world, 2 steps of it; name yours by --config.data" in told


@pytest.mark.parametrize("held_out", ["none", "packed too small", "a class of its own", "no images", "torn"])
def test_held_out_images_may_be_missing_but_not_unreadable(recipe, tmp_path, capsys, held_out):
    root = tmp_path / "kinds"
    images(root / "train" / "cat", 8)
    test, told = root / "test", "no images are held out: pictures are of training images"
    if held_out == "packed too small":
        packing.pack(str(images(tmp_path / "few", 2)), test, size=4)
    elif held_out == "a class of its own":
        test = images(root / "test" / "dog", 2)
    elif held_out == "no images":
        test.mkdir()
    elif held_out == "torn":
        test.mkdir()
        (test / "torn.png").write_bytes(b"torn")
    source = f"data.source={root if held_out != 'none' else root / 'train'}"
    if held_out == "none":
        run(recipe, tmp_path / "run", source, "steps=1")
        assert told in capsys.readouterr().err
    else:
        assert refused(recipe, tmp_path / "run", source).startswith(f"{test}: ")


@pytest.mark.parametrize(
    "held_out, line",
    [
        (("testA", "testB"), ""),
        (("testA",), "no images of B are held out: pictures show those of A alone"),
        (("testB",), "no images of A are held out: pictures are of training images; name some by --config"),
    ],
)
def test_a_pair_is_told_which_of_its_images_are_held_out(tmp_path, held_out, line):
    for part in ("trainA", "trainB", *held_out):
        images(tmp_path / part, 2)
    own = config.update(config.defaults("cut"), {"data.source": str(tmp_path), "data.image_size": 32})
    method = config.method_of(own)
    told = [*beginning.notes(own, method, *feed.open_sources(own, method), jax.local_devices())]
    found = [each for each in told if each.startswith("no images")]
    assert len(found) == bool(line) and all(each.startswith(line) for each in found)


@pytest.mark.parametrize(
    "filters, told", [(("bicubic", "bilinear"), True), (("bicubic", "bicubic"), False), ((None, "bicubic"), False)]
)
def test_a_set_packed_by_another_filter_is_told_of(recipe, tmp_path, capsys, filters, told):
    by, wanted = filters
    files = str(images(tmp_path / "files", 8, side=16))
    packing.pack(files, tmp_path / "set", **(dict(size=0) if by is None else dict(size=16, resample=by)))
    run(recipe, tmp_path / "run", f"data.source={tmp_path / 'set'}", f"data.resample={wanted}", "steps=1")
    said = f"{tmp_path / 'set'}: was packed by the {by} filter, and data.resample={wanted} is another: "
    assert (said in capsys.readouterr().err) == told


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_shows_losses_and_the_time_left_is_told_once():
    for stream in (Terminal(), io.StringIO()):
        progress = Progress(100, stream=stream)
        progress.begin(0)
        for _ in range(40):
            progress.advance("joint", 4)
        progress.lap(40, {"phase": "joint", "generator/cycle": 0.25})
        progress.close()
        assert "generator/cycle 0.25" in stream.getvalue()
        assert stream.getvalue().count("80 steps to go: about 00:0") == 1


def test_waiting_for_images_is_told_where_it_is_much_and_what_to_do_once(monkeypatch):
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(100, stream=stream)
    progress.begin(0)
    shares = []
    for lap, waited in enumerate((9.0, 0.3, 2.0, 4.0)):
        now += 10.0
        progress.advance("joint", 4)
        progress.wait(waited)
        shares.append(progress.lap(lap + 1, {}).input_wait)
    assert shares == [0.9, 0.03, 0.2, 0.4]
    lines = stream.getvalue().splitlines()
    # What is read before the first lap ends was not read ahead.
    assert [line.partition("images/s")[2][:34] for line in lines if "ETA" in line] == [
        "  ETA 16:30  ",
        "  ETA 16:20  ",
        ", 20% of the time waiting for imag",
        ", 40% of the time waiting for imag",
    ]
    assert sum("uit bench --data=PATH" in line for line in lines) == 1


def test_a_note_stays_on_one_line_whatever_the_name():
    stream = io.StringIO()
    Progress(3, stream=stream).note("runs/a\n\x1b[2Kb holds 3 of 3 steps")
    assert stream.getvalue() == "runs/a\\n\\x1b[2Kb holds 3 of 3 steps\n"
