"""What a step needs of devices is read from its compiled program."""

import json
import math

import pytest

from tests import tiny_method
from uit_jax import config as config_module
from uit_jax import main
from uit_jax.errors import UserError
from uit_jax.training import plan


@pytest.fixture
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


@pytest.mark.parametrize(
    ("needed", "room", "expected"),
    [
        (lambda batch: 10 + 3 * batch, 100, 28),  # a line: 30 would take 100, and is no multiple of 4
        (lambda batch: 10 + 3 * batch + (batch > 20) * 50, 100, 20),  # more than the line says
        (lambda batch: 10 + 3 * batch, 15, None),
        (lambda batch: math.inf if batch > 12 else batch, 1e6, 12),  # what the settings rule out
        (lambda batch: 0.0, 1e9, 512),  # no more than 64 times the first
        (lambda batch: batch, math.inf, None),
    ],
)
def test_the_largest_batch_that_fits(needed, room, expected):
    assert plan.largest_batch(needed, 8, 4, room) == expected


def test_exchanges_are_read_from_a_program():
    program = """
      %a = f32[10,20]{1,0:T(8,128)} all-reduce(f32[10,20]{1,0} %x), channel_id=1
      %b = (f32[4]{0}, bf16[6]{0}) all-reduce-start(f32[4]{0} %y, bf16[6]{0} %z), channel_id=2
      %c = (f32[8]{0}, f32[16]{0}) all-gather-start(f32[8]{0} %v), dimensions={0}
      %d = f32[16]{0} all-gather-done((f32[8]{0}, f32[16]{0}) %c)
      %e = pred[3]{0} reduce-scatter(pred[6]{0} %w)
      %f = f32[7]{0} add(f32[7]{0} %a, f32[7]{0} %all-reduce.1)
    """
    reduced, gathered, scattered = 800 + 16 + 12, 64, 3
    assert plan.exchanged_bytes(program, 2) == pytest.approx(reduced + gathered / 2 + scattered)
    assert plan.exchanged_bytes(program, 1) == 0


def test_every_phase_is_planned_for_several_devices(recipe):
    config = config_module.resolve(recipe, ["--config.devices=2"])
    record = plan.plan(config, memory=2.0**30)
    assert [each["phase"] for each in record["phases"]] == ["first", "second"]
    assert sum(each["share"] for each in record["phases"]) == pytest.approx(1)
    assert (record["devices"], record["fits"], record["memory_gib"]) == (2, True, 1.0)
    for each in record["phases"]:
        assert each["gflop"] > 0 and each["traffic_gb"] > 0 and each["mib"] > 0
    # Its gradients, and some means, go over the ring.
    smallest = min(each["exchanged_mb"] for each in record["phases"])
    assert 4 * 3 * 4 <= smallest * 1e6 < 10_000
    assert "it fits" in plan.table(record) and "efficiency" not in plan.table(record)
    assert not plan.plan(config, memory=10.0)["fits"]


def test_a_plan_is_a_table_or_json(recipe, tmp_path, capsys):
    assert main.main(["plan", recipe, "--memory=1GiB", "--largest", f"--out={tmp_path / 'plan.json'}", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "plan.json").read_text()) == record
    assert record["largest_batch"] == 64 * record["batch_size"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target=v9:2x2"], "--target=v9:2x2: give here, or a TPU's topology: v4, v5e, v5p, v6e, as in v5e:2x4"),
        (["--memory=lots"], "--memory=lots: give an amount such as 80GiB"),
        (["--memory=0GB"], "--memory=0GB: give an amount"),
        (["--config.batch_size=3", "--config.devices=2"], "batch_size=3 is global"),
    ],
)
def test_what_cannot_be_planned_is_one_line(recipe, capsys, options, message):
    assert main.main(["plan", recipe, *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_step_is_compiled_for_a_tpu_that_is_not_here(recipe):
    pytest.importorskip("libtpu")
    record = plan.plan(config_module.resolve(recipe, ["--config.batch_size=8"]), target="v5e:2x2")
    assert record["devices"] == 4 and record["memory_gib"] == 16
    for each in record["phases"]:
        assert 0 < each["efficiency"] < 1 and each["floor_seconds"] > 0 and each["exchanged_mb"] > 0
    with pytest.raises(UserError, match="--target=v5e:3x7: cannot be compiled for"):
        plan.plan(config_module.resolve(recipe), target="v5e:3x7")
