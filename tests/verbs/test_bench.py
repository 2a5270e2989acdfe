"""`uit bench` measures every phase of a config, with neither data nor TensorFlow, or the reading of a source."""

import json
import re

import pytest

from tests import tiny_method
from uit_jax.errors import UserError
from uit_jax.verbs import bench


@pytest.fixture
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


@pytest.mark.parametrize(("how", "devices"), [("pmap", 2), ("shard_map", 2), ("jit", 1)])
def test_every_phase_is_measured(recipe, tmp_path, capsys, how, devices):
    out = tmp_path / "bench.json"
    overrides = [f"--config.parallel={how}", f"--config.devices={devices}", "--config.data.source=not-needed"]
    bench.main([f"--config={recipe}", "--steps=2", "--windows=3", f"--out={out}", *overrides])
    printed, shown = capsys.readouterr()
    (result,) = json.loads(printed)
    assert json.loads(out.read_text()) == [result]
    assert (result["devices"], result["batch_size"], result["parallel"]) == (devices, 4, how)
    assert result["parameters"] == 3 * 4 + 4 * 6
    assert [p["phase"] for p in result["phases"]] == ["first", "second"]
    first = result["phases"][0]
    parts = (result["initial_state_seconds"], first["compile_seconds"], first["first_run_seconds"])
    assert min(parts) > 0 and result["first_step_seconds"] == pytest.approx(sum(parts))
    assert f"first step after {sum(parts):.1f} s" in shown
    assert sum(p["share"] for p in result["phases"]) == pytest.approx(1)
    for phase in result["phases"]:
        assert len(phase["windows"]) == 3 and phase["steps_per_second"] == sorted(phase["windows"])[1]
        assert phase["images_per_second"] == pytest.approx(4 * phase["steps_per_second"])
        assert phase["compile_seconds"] > 0 and phase["gflop_per_step"] > 0
        assert phase["mib_argument"] > 0 and phase["mib"] > 0
    assert "images/s" in shown and "second" in shown


def test_a_step_is_profiled(recipe, capsys):
    bench.main([f"--config={recipe}", "--steps=1", "--windows=1", "--config.devices=1", "--profile"])
    printed, shown = capsys.readouterr()
    profiles = [phase["profile"] for phase in json.loads(printed)[0]["phases"]]
    for profile in profiles:
        assert sum(profile["kinds"].values()) == pytest.approx(profile["busy_seconds"]) and profile["largest"]
        # The method has no network of Flax's; its optimiser is told all the same.
        assert "model" in profile["networks"] and "optimizer" in profile["kinds"]
    # The first phase makes no use of noise.
    assert "views" in profiles[1]["networks"]
    assert "by network" in shown and "optimizer" in shown
    with pytest.raises(UserError, match="--profile tells of the steps of a --config"):
        bench.main(["--data=procedural", "--profile"])


def test_a_history_grows_and_tells_what_changed(recipe, tmp_path, capsys):
    how = [f"--config={recipe}", "--steps=1", "--windows=1", f"--record={tmp_path / 'history'}"]
    bench.main(how)
    (path,) = (tmp_path / "history").iterdir()
    first = json.loads(path.read_text())
    assert "times as fast" not in capsys.readouterr().err
    twice = [dict(phase, steps_per_second=phase["steps_per_second"] / 1e6) for phase in first["phases"]]
    path.write_text(json.dumps({**first, "phases": twice}) + "\n")
    bench.main(how)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["config"] for line in lines] == [recipe, recipe] and lines[0]["phases"] == twice
    assert lines[1]["product_seconds"] > 0 and lines[1]["machine"] == first["machine"]
    told = capsys.readouterr().err
    (times,) = re.findall(r"first: ([\d.]+) times as fast as on 20", told)
    assert float(times) > 1e4 and f"recorded in {path}" in told
    with pytest.raises(UserError, match=f"{path} is a file"):
        bench.main([*how, f"--record={path}"])
    path.write_text("no history")
    with pytest.raises(UserError, match="is no history of `uit bench --record`"):
        bench.main(how)


def test_several_configs_are_rows_of_one_result(recipe, capsys):
    bench.main([f"--config={recipe}", f"--config={recipe}", "--steps=1", "--windows=1"])
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("wrong", ["--steps=0", "--windows=0", "--out=/no/such/folder/x.json"])
def test_bad_arguments_are_refused_before_measuring(recipe, wrong):
    with pytest.raises(UserError, match=wrong.split("=")[0].lstrip("-")):
        bench.main([f"--config={recipe}", wrong])


def test_the_reading_of_a_source_is_measured(tmp_path, capsys):
    out = tmp_path / "bench.json"
    how = ["--size=16", "--batch_size=4", "--images=16", "--windows=2"]
    bench.main(["--data=procedural:count=24", *how, f"--out={out}"])
    printed, shown = capsys.readouterr()
    found = json.loads(printed)
    assert json.loads(out.read_text()) == found and found["windows"] == 2
    assert found["images_per_second"] > 0 and found["source"].startswith("procedural:count=24: 24 images, 16 px")
    assert "images/s on" in shown and "images per CPU second   (median of 2)" in shown
    with pytest.raises(UserError, match="bench.json is there already: name another place, or replace by --overwrite"):
        bench.main(["--data=procedural:count=24", *how, f"--out={out}"])
    bench.main(["--data=procedural:count=24#0", "--target=procedural:count=24#1", *how])
    assert "A procedural" in capsys.readouterr().err


def test_whether_a_source_is_read_as_fast_as_a_step_takes_it(recipe, capsys):
    how = [f"--config={recipe}", "--steps=1", "--windows=1", "--images=16", "--config.data.on_device=yes"]
    with pytest.raises(UserError, match="nowhere"):
        bench.main([*how, "--data=nowhere"])
    for data in (["--data=procedural"], []):
        with pytest.raises(UserError, match="--size: of a --config it is what its settings say"):
            bench.main([*how, *data, "--size=16"])
    with pytest.raises(UserError, match="--target=procedural is the second domain of --data: give it too"):
        bench.main([*how, "--target=procedural"])
    bench.main([*how, "--data=procedural:count=24", "--config.steps_per_dispatch=2"])
    printed, shown = capsys.readouterr()
    (found,) = json.loads(printed)
    assert found["on_device"] and found["image_bytes"] == 2 * 24 * 16 * 16 * 3
    for phase in found["phases"]:
        ratio = phase["read_per_second"] / phase["images_per_second"]
        assert phase["keeps_up"] == pytest.approx(ratio) and phase["waits"] == pytest.approx(max(0, 1 - ratio))
        assert f"{phase['phase']}: the images are read at" in shown
    assert "data.on_device=yes: a run keeps all of them on the device, 0.0369 MB" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a --config whose step is measured, --data whose reading is, or both"),
        (["--data=procedural", "--config.steps=3"], "--config.steps=3: --data alone measures no config"),
        (["--data=nowhere"], "nowhere"),
        (["--data=procedural", "--record=x"], "--record keeps what the steps of a --config cost"),
    ],
)
def test_a_source_that_cannot_be_measured_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        bench.main(arguments)
