"""Settings: locked, typed, overridable, recorded, and compared when a run is continued."""

import json
import runpy
from pathlib import Path

import jax
import pytest

from tests import tiny_method
from uit_jax import config
from uit_jax.errors import UserError


@pytest.fixture
def path(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def test_defaults_hold_the_methods_own_settings_with_theirs():
    c = config.defaults("tunit")
    assert c.method.name == "tunit" and c.method.domains == 10 and c.method.guide_stages == (1, 1, 2, 2, 2)
    assert "image_size" not in c.method and c.data.image_size == 128
    assert c.parallel == "pmap" and c.sync_statistics


def test_overrides_take_the_type_of_what_they_replace(path):
    c = config.resolve(
        path,
        [
            "--config.method.rate=1",
            "--config.method.stages=(3,4)",
            "--config.data.source=1234",
            "--config.sync_statistics=false",
            "--config.steps=7",
        ],
    )
    assert c.method.rate == 1.0 and isinstance(c.method.rate, float)
    assert c.method.stages == (3, 4) and c.data.source == "1234" and c.sync_statistics is False and c.steps == 7


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.batch_sise=3", ["config.batch_sise", "did you mean batch_size?"]),
        ("--config.method.gide_steps=3", ["config.method.gide_steps", "did you mean method.guide_steps?"]),
        ("--config.image_size=3", ["config.image_size", "did you mean data.image_size?"]),
        ("--config.zzzz=3", ["config.zzzz", "no such key"]),
        ("--config.method=3", ["config.method", "no such key"]),
        ("--config.steps=many", ["config.steps=many", "a whole number"]),
        ("--config.steps=1.5", ["config.steps=1.5", "a whole number"]),
        ("--config.steps=true", ["config.steps=true", "a whole number"]),
        ("--config.method.rate=fast", ["config.method.rate=fast", "a number"]),
        ("--config.method.stages=3", ["config.method.stages=3", "a list"]),
        ("--config.sync_statistics=1", ["config.sync_statistics=1", "true or false"]),
        ("--config.steps", ["--config.steps=VALUE"]),
    ],
)
def test_a_wrong_override_is_named_in_one_line(path, argument, words):
    with pytest.raises(UserError) as caught:
        config.resolve(path, [argument])
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_preset_are_named(path):
    with pytest.raises(UserError, match="no-such.py"):
        config.resolve("no-such.py")
    with pytest.raises(UserError, match="did you mean semi"):
        config.resolve("configs/tunit.py:semy")


@pytest.mark.parametrize("line", ["c.bach_size = 3", "c.steps = 'many'", "c.method.domanis = 3", "import nothing_such"])
def test_a_mistake_inside_a_config_file_names_the_file(tmp_path, line):
    file = tmp_path / "wrong.py"
    file.write_text(f"from uit_jax import config\ndef get_config(preset=''):\n    c = config.defaults()\n    {line}\n")
    with pytest.raises(UserError, match="wrong.py") as caught:
        config.resolve(str(file))
    assert "\n" not in str(caught.value)


def test_shipped_configs_are_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.resolve("configs/tunit.py").steps == 200_000


def test_presets_join():
    c = config.resolve("configs/tunit.py:256,f")
    assert c.data.image_size == 256 and c.batch_size == 16 and c.method.joint_training == "frozen"


def test_the_record_is_read_back_as_it_was(path, tmp_path):
    c = config.resolve(path, ["--config.method.rate=0.3"])
    config.save(c, tmp_path)
    back = config.saved(tmp_path)
    assert back.to_dict() == c.to_dict() and back.method.stages == (1, 2) and back.is_locked
    assert json.loads((tmp_path / "config.json").read_text())["method"]["rate"] == 0.3
    assert config.saved(tmp_path / "nowhere") is None


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": ')
    with pytest.raises(UserError, match="config.json"):
        config.saved(tmp_path)


def test_only_what_leaves_the_updates_alone_may_change(path):
    before = config.resolve(path)
    free = ["--config.steps=99", "--config.log_every=1", "--config.devices=1", "--config.parallel=jit"]
    config.check_resumable(config.resolve(path, free), before, "run")
    for override, key in (("seed=3", "seed"), ("method.rate=0.5", "method.rate"), ("batch_size=8", "batch_size")):
        with pytest.raises(UserError, match=f"config.{key} ") as caught:
            config.check_resumable(config.resolve(path, [f"--config.{override}"]), before, "run")
        assert "\n" not in str(caught.value)


def recipes():
    for file in sorted((Path(config.__file__).parents[1] / "configs").glob("*.py")):
        yield f"configs/{file.name}"
        module = runpy.run_path(str(file))
        yield from (f"configs/{file.name}:{name}" for name in module.get("PRESETS", {}))


@pytest.mark.parametrize("spec", list(recipes()))
def test_every_shipped_recipe_builds(spec):
    c = config.resolve(spec)
    method = config.build_method(c)
    state = jax.eval_shape(lambda: config.initial_state(c, method))
    assert state.learners
    for step in (0, c.steps - 1):
        assert isinstance(method.phase(step), str)


def test_the_docstring_of_the_paper_recipe_names_its_presets():
    module = runpy.run_path(str(config._find("configs/tunit.py")))
    assert all(name in module["__doc__"] for name in module["PRESETS"])
