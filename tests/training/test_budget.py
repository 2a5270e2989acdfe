"""A run's length from the time it may take: what goes along with it, and what is asked of the machine."""

import json
import time

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests import tiny_method
from uit_jax import config, main, methods, programs
from uit_jax.errors import UserError
from uit_jax.settings import LARGEST
from uit_jax.training import beginning, budget, loop, measure

PERIODS = "steps_per_dispatch cycle_steps update_every content_every r1.every".split()
"""Settings counted in iterations that are no share of a run."""


@pytest.fixture
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def resolved(recipe, *overrides):
    return config.resolve(recipe, [f"--config.{each}" for each in overrides])


def measured(monkeypatch, platform: str, *, on_device=False, saved=0.0):
    """Let a step take half a second in the first phase and a quarter in the second, and reading as long again; of five
    seconds of compiling a cache saves so many."""
    compiled = {"compile_seconds": 5.0 - saved, "compile_seconds_saved": saved}
    phases = [
        {"phase": name, "share": share, "steps_per_second": rate, "images_per_second": 4 * rate, **compiled}
        for name, share, rate in (("first", 5 / 12, 2.0), ("second", 7 / 12, 4.0))
    ]
    found = {"platform": platform, "initial_state_seconds": 1.0, "phases": phases}
    read = [{**phase, "read_per_second": phase["images_per_second"]} for phase in phases]
    monkeypatch.setattr(budget.measure, "measure", lambda *_: found)
    monkeypatch.setattr(budget.supply, "reading", lambda *_, **__: read)
    monkeypatch.setattr(budget.supply, "keeping", lambda *_: {"on_device": on_device})


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


def test_a_decay_that_is_early_is_so_by_a_share_of_the_run():
    short = budget.scaled(config.resolve("configs/cyclegan.py:parity"), 2_700)
    method = config.method_of(short)
    last = short.steps - short.method.decay_lead
    assert method.rates(last - 1)["generator_ab"] > 0 == method.rates(last + 1)["generator_ab"]
    assert short.method.decay_lead == 14  # of 2,700, as 1,334 are of 266,800


@pytest.mark.parametrize(("steps", "measured"), [(12_000, 300), (300, 8), (20, 2)])
def test_distances_are_measured_in_a_share_of_the_run(steps, measured):
    short = budget.scaled(config.resolve("configs/distancegan.py:photos"), steps)
    assert short.method.measuring_steps == measured
    phases = [config.method_of(short).phase(step) for step in (measured - 1, measured)]
    assert [phase.translates for phase in phases] == [False, True]


@pytest.mark.parametrize(("name", "averages"), [("tunit", 2), ("embedding", 2), ("cluit", 1), ("cut", 1)])
def test_averages_follow_where_they_are_what_translates(name, averages):
    told = [key for key, each in config.known(name).items() if each.limits.follows == "average"]
    assert len(told) == averages and ("method.key_average" in told) == (averages == 2)


def test_a_short_run_is_told_of_often_enough():
    short = budget.scaled(config.update(config.defaults("cut"), {"evaluate_every": 0, "log_every": 2}), 600)
    assert [short[key] for key in ("log_every", "image_every", "evaluate_every", "checkpoint_every")] == [2, 60, 0, 100]


@pytest.mark.parametrize("saved", [0.0, 4.0])
@pytest.mark.parametrize(
    ("platform", "on_device", "seconds"),
    [
        ("cpu", False, 2 * (5 / 24 + 7 / 48)),  # both on the same cores
        ("cpu", True, 5 / 24 + 7 / 48),
        ("gpu", False, 5 / 24 + 7 / 48),  # one beside the other
    ],
)
def test_steps_are_as_many_as_there_is_time_for(recipe, monkeypatch, platform, on_device, seconds, saved):
    measured(monkeypatch, platform, on_device=on_device, saved=saved)
    told = []
    fitted = budget.fitted(resolved(recipe, "hours=0.5"), note=told.append)
    # A twentieth is kept; the initial state is drawn again, and two programs of other schedules are compiled, which no
    # cache has.
    assert fitted.steps == pytest.approx((0.95 * 1800 - 1 - 10) / seconds, abs=3)
    assert fitted.method.guide_steps == -(-5 * fitted.steps // 12)
    assert told[-1].startswith(f"hours=0.5: {fitted.steps} steps of ")


def test_too_little_time_is_said_with_what_is_needed(recipe, monkeypatch):
    measured(monkeypatch, "cpu")
    told = r"hours=0.0005: a step takes 0.708 s .* before it 11 s: give 0.0035 at least, .* recipe's 12 takes 0.0035"
    with pytest.raises(UserError, match=told):
        budget.fitted(resolved(recipe, "hours=0.0005"))


@pytest.mark.parametrize(
    "override, message",
    [("best_metric=nothing", "is no score of"), ("evaluators=('nobody',)", "nobody"), ("init_from=nowhere", "nowhere")],
)
def test_what_no_run_could_begin_with_is_told_before_a_step_is_measured(
    recipe, tmp_path, monkeypatch, override, message
):
    monkeypatch.setattr(budget, "fitted", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(UserError, match=message):
        loop.train(resolved(recipe, "hours=1", override), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written to"):
        loop.train(resolved(recipe, "hours=1"), tmp_path / "file")


def test_a_year_is_no_budget(recipe):
    with pytest.raises(UserError, match="hours"):
        resolved(recipe, "hours=1e300")
    assert budget._agreed(1e12) == LARGEST


def test_a_second_set_is_refused_where_a_method_has_one(recipe):
    with pytest.raises(UserError, match="data.target=dogs: tiny learns from data.source alone: leave it out"):
        budget.fitted(resolved(recipe, "hours=1", "data.target=dogs"))


def test_looking_before_a_run_leaves_no_folder(recipe, tmp_path):
    beginning.check(tmp_path / "some/new/run", resolved(recipe))
    assert not (tmp_path / "some").exists()
    (tmp_path / "old").mkdir()
    beginning.check(tmp_path / "old/run", resolved(recipe))
    assert list((tmp_path / "old").iterdir()) == []


def test_shares_of_phases_of_a_very_long_run_are_estimated():
    method = methods.kind("cluit")()
    few, many = measure.shares(method, 1_600), measure.shares(method, 10**12)
    assert list(few) == list(many) and sum(few.values()) == pytest.approx(1)
    assert many == pytest.approx(few, abs=1e-3)


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
    with pytest.raises(UserError, match=f"was begun with hours=0.01, .* steps, {saved.steps}, .* give --config.hours"):
        loop.train(resolved(recipe), tmp_path / "run")
    assert config.saved(tmp_path / "run") == saved


def test_images_that_are_kept_on_the_device_are_not_read_to_measure(recipe, monkeypatch):
    measured(monkeypatch, "cpu", on_device=True)
    monkeypatch.delattr(budget.supply, "reading")
    assert budget.fitted(resolved(recipe, "hours=0.5")).steps > 12


def test_whether_images_are_kept_depends_on_the_length_that_the_run_has(recipe, monkeypatch):
    """Not on the recipe's, which is 12 steps."""
    measured(monkeypatch, "cpu")
    read = budget.fitted(resolved(recipe, "hours=0.5")).steps
    monkeypatch.setattr(budget.supply, "keeping", lambda config, _: {"on_device": config.steps > 3_000})
    assert budget.fitted(resolved(recipe, "hours=0.5")).steps == pytest.approx(2 * read, abs=9)
    monkeypatch.setattr(budget.supply, "keeping", lambda config, _: {"on_device": config.steps < 3_000})
    assert budget.fitted(resolved(recipe, "hours=0.5")).steps == pytest.approx(read, abs=9)


def test_a_run_without_a_checkpoint_is_measured_again(recipe, tmp_path, monkeypatch):
    measured(monkeypatch, "cpu")
    begun = budget.of_run(resolved(recipe, "hours=0.01"), tmp_path)
    config.save(begun, tmp_path)
    measured(monkeypatch, "cpu", on_device=True)
    assert budget.of_run(resolved(recipe, "hours=0.01"), tmp_path).steps > 1.5 * begun.steps
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    assert budget.of_run(resolved(recipe, "hours=0.01"), tmp_path).steps == begun.steps


@pytest.fixture
def begun(recipe, tmp_path, monkeypatch):
    """Return how a command with some settings continues a run that was begun with others, and the run's settings."""
    measured(monkeypatch, "cpu")

    def begin(*settings):
        first = [f"--config.{each}" for each in settings]
        own = budget.of_run(config.resolve(recipe, first), tmp_path, overrides=first)
        config.save(own, tmp_path)
        (tmp_path / "checkpoints/5").mkdir(parents=True)

        def follow(*more, spec=recipe):
            given = [f"--config.{each}" for each in more]
            now = config.resolve(spec, given) if spec else config.override(config.saved(tmp_path), given)
            return budget.of_run(now, tmp_path, overrides=given)

        return own, follow

    return begin


def test_a_run_of_another_method_is_refused_before_a_step_is_measured(begun, tmp_path, monkeypatch):
    begun("hours=0.01")
    monkeypatch.setattr(budget, "fitted", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(UserError, match="method.name"):
        loop.train(config.update(config.defaults("cluit"), {"hours": 0.01}), tmp_path)


def test_what_is_due_as_often_as_is_given_stays_so(begun):
    own, follow = begun("hours=0.01", "image_every=11")
    assert own.image_every == 11 and own.log_every == 2
    again = follow("hours=0.01", "checkpoint_every=500", "log_every=7")
    assert (again.checkpoint_every, again.log_every, again.image_every) == (500, 7, 11)
    assert follow("image_every=3", spec="").image_every == 3


def test_steps_beside_hours_are_refused(recipe, begun):
    with pytest.raises(UserError, match="steps=9: hours=0.01 set the steps of a run: give one of the two"):
        begun("hours=0.01", "steps=9")
    own, follow = begun("hours=0.01")
    for spec, settings in ((recipe, ["hours=0.01"]), ("", [])):
        with pytest.raises(UserError, match=f"steps=9: hours=0.01 set those of the run, {own.steps}: leave yours out"):
            follow(*settings, "steps=9", spec=spec)
        assert follow(*settings, f"steps={own.steps}", spec=spec).steps == own.steps
    longer = follow("hours=0", "steps=99", spec="")
    assert longer.steps == 99 and longer.method.guide_steps == own.method.guide_steps


def test_another_share_of_the_run_is_no_longer_that_run(begun, tmp_path):
    own, follow = begun("hours=0.01", "method.guide_steps=6")
    assert follow("hours=0.01", "method.guide_steps=6") == own == follow(spec="")
    for settings, spec in ((["hours=0.01", "method.guide_steps=3"], None), (["method.guide_steps=3"], "")):
        other = follow(*settings) if spec is None else follow(*settings, spec=spec)
        with pytest.raises(UserError, match=f"was begun with method.guide_steps={own.method.guide_steps}, not "):
            config.check_resumable(other, own, tmp_path)


def test_a_run_of_so_many_steps_has_no_hours(recipe, tmp_path):
    config.save(resolved(recipe), tmp_path)
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    with pytest.raises(UserError, match="hours=1: the run goes by steps=12 and no hours: leave them out to continue"):
        budget.of_run(resolved(recipe, "hours=1"), tmp_path)


def test_the_command_tells_what_it_was_given(recipe, tmp_path, monkeypatch):
    measured(monkeypatch, "cpu")
    # The time of a run counts from when its process began, which here has done other tests before.
    monkeypatch.setattr(programs, "began", time.monotonic())
    command = ["train", f"--config={recipe}", "--config.hours=0.02", f"--workdir={tmp_path / 'run'}"]
    assert main.main([*command, "--config.report=false", "--config.image_every=11"]) == 0
    assert config.saved(tmp_path / "run").image_every == 11
    assert main.main([*command, "--config.report=false", "--config.steps=4"]) == 2


def test_a_plan_tells_the_length(recipe, monkeypatch, capsys):
    measured(monkeypatch, "cpu")
    assert main.main(["plan", recipe, "--config.hours=0.01", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["hours"] == 0.01 and record["length"]["steps"] > 12 < record["length"]["method.guide_steps"]
    assert main.main(["plan", recipe, "--config.hours=0.01", "--target=v5e:2x2"]) == 2
    assert "hours=0.01: a step is measured here, not on --target=v5e:2x2" in capsys.readouterr().err


@pytest.fixture
def empty_cache(tmp_path):
    """Programs of any size are kept, in a new folder."""
    wanted = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in wanted}

    def use(values):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()

    use(wanted)
    yield
    use(before)


def test_what_the_cache_saves_is_told(recipe, empty_cache):
    first, second = (measure.measure(resolved(recipe), 1, 1)["phases"] for _ in range(2))
    assert [phase["compile_seconds_saved"] for phase in first] == [0, 0]
    assert all(phase["compile_seconds_saved"] for phase in second)


def test_a_step_is_measured(recipe):
    told = []
    assert budget.fitted(resolved(recipe, "hours=0.02"), note=told.append).steps > 100
    assert [line.partition(":")[0] for line in told] == ["hours=0.02"] * 2
