"""A run's length from the time it may take: what goes along with it, and what is asked of the machine."""

import json

import pytest

from tests import tiny_method
from uit_jax import config, main, methods
from uit_jax.errors import UserError
from uit_jax.training import budget, loop

PERIODS = "steps_per_dispatch cycle_steps update_every content_every r1.every measuring_steps decay_lead".split()
"""Settings counted in iterations that are no share of a run."""


@pytest.fixture
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def resolved(recipe, *overrides):
    return config.resolve(recipe, [f"--config.{each}" for each in overrides])


def measured(monkeypatch, platform: str, *, on_device=False):
    """Let a step take half a second in the first phase and a quarter in the second, and reading as long again."""
    phases = [
        {"phase": name, "share": share, "steps_per_second": rate, "images_per_second": 4 * rate, "compile_seconds": 5.0}
        for name, share, rate in (("first", 5 / 12, 2.0), ("second", 7 / 12, 4.0))
    ]
    found = {"platform": platform, "initial_state_seconds": 1.0, "phases": phases}
    read = [{**phase, "read_per_second": phase["images_per_second"]} for phase in phases]
    monkeypatch.setattr(budget.measure, "measure", lambda *_: found)
    monkeypatch.setattr(budget.supply, "supply", lambda *_, **__: {"phases": read, "on_device": on_device})


@pytest.mark.parametrize("name", methods.METHODS)
def test_shares_of_a_run_stay_what_they_are(name):
    whole = config.update(config.defaults(name), {"steps": 10_000})
    short, flat, told = budget.scaled(whole, 1_250), config.flatten(whole), config.known(name)
    found = config.flatten(short)
    config.check(short)
    assert short.steps == 1_250 and whole.steps == 10_000
    for key, value in flat.items():
        follows = told[key].limits.follows
        if follows == "steps":
            assert found[key] == -(-value // 8)
        elif follows == "average":
            share = (1 - value) * whole.steps if 0 < value < 1 else (1 - value) * short.steps
            assert (1 - found[key]) * short.steps == pytest.approx(share)
        elif key not in budget.length(whole):
            assert found[key] == value
    counted = [key for key, each in told.items() if each.kind is int and "iteration" in each.limits.doc]
    known = [key for key in counted if key in budget.length(whole) or key.endswith(tuple(PERIODS))]
    assert counted == known, "settings counted in iterations: do they follow a run's length?"


def test_rates_fall_to_the_end_and_not_before():
    short = budget.scaled(config.resolve("configs/cut.py:photos"), 1_001)
    method = config.method_of(short)
    assert method.rates(1_000)["generator"] > 0 == method.rates(1_002)["generator"]
    assert method.rates(500)["generator"] == method.rates(0)["generator"]


def test_a_short_run_is_told_of_often_enough():
    short = budget.scaled(config.update(config.defaults("cut"), {"evaluate_every": 0, "log_every": 2}), 600)
    assert [short[key] for key in ("log_every", "image_every", "evaluate_every", "checkpoint_every")] == [2, 60, 0, 100]


@pytest.mark.parametrize(
    ("platform", "on_device", "seconds"),
    [
        ("cpu", False, 2 * (5 / 24 + 7 / 48)),  # both on the same cores
        ("cpu", True, 5 / 24 + 7 / 48),
        ("gpu", False, 5 / 24 + 7 / 48),  # one beside the other
    ],
)
def test_steps_are_as_many_as_there_is_time_for(recipe, monkeypatch, platform, on_device, seconds):
    measured(monkeypatch, platform, on_device=on_device)
    told = []
    fitted = budget.fitted(resolved(recipe, "hours=0.5"), note=told.append)
    # A twentieth is kept; the initial state is drawn again, the two programs are read back.
    assert fitted.steps == pytest.approx((0.95 * 1800 - 1 - 0.2 * 10) / seconds, abs=3)
    assert fitted.method.guide_steps == -(-5 * fitted.steps // 12)
    assert told[-1].startswith(f"hours=0.5: {fitted.steps} steps of ")


def test_too_little_time_is_said_with_what_is_needed(recipe, monkeypatch):
    measured(monkeypatch, "cpu")
    with pytest.raises(UserError, match=r"hours=0.0005: a step takes 0.708 s .* before it 3 s: give 0.0011 at least"):
        budget.fitted(resolved(recipe, "hours=0.0005"))


def test_a_run_keeps_its_length(recipe, tmp_path, capsys, monkeypatch):
    measured(monkeypatch, "cpu")
    short = resolved(recipe, "hours=0.01")
    loop.train(short, tmp_path / "run")
    saved = config.saved(tmp_path / "run")
    assert saved.hours == 0.01 and saved.steps > short.steps == 12
    assert f"holds {saved.steps} of {saved.steps} steps" in capsys.readouterr().err
    monkeypatch.delattr(budget.measure, "measure")  # nothing is measured again
    loop.train(short, tmp_path / "run")
    assert config.saved(tmp_path / "run").steps == saved.steps
    with pytest.raises(UserError, match="hours=1: the run was begun with 0.01, which set its steps"):
        loop.train(resolved(recipe, "hours=1"), tmp_path / "run")


def test_a_plan_tells_the_length(recipe, monkeypatch, capsys):
    measured(monkeypatch, "cpu")
    assert main.main(["plan", recipe, "--config.hours=0.01", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["hours"] == 0.01 and record["length"]["steps"] > 12 < record["length"]["method.guide_steps"]
    assert main.main(["plan", recipe, "--config.hours=0.01", "--target=v5e:2x2"]) == 2
    assert "hours=0.01: a step is measured here, not on --target=v5e:2x2" in capsys.readouterr().err


def test_a_step_is_measured(recipe):
    told = []
    assert budget.fitted(resolved(recipe, "hours=0.02"), note=told.append).steps > 100
    assert [line.partition(":")[0] for line in told] == ["hours=0.02"] * 2
