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


SHIPPED = [f"configs/{file.name}" for file in sorted((Path(config.__file__).parents[1] / "configs").glob("*.py"))]


def offered(file):
    """Return the presets of a recipe, by what it answers to one that it has not."""
    with pytest.raises(UserError, match="no preset is called 'no-such-preset'") as caught:
        config.resolve(f"{file}:no-such-preset")
    return str(caught.value).partition("there are: ")[2].split(", ")


def recipes():
    for file in SHIPPED:
        yield file
        yield from (f"{file}:{name}" for name in offered(file))
    yield from ("configs/cut.py:fastcut", "configs/cut.py:fastcut,cat2dog,bf16", "configs/sincut.py:quick,bf16")


LENGTHS = ("steps", "method.constant_steps", "method.decay_steps")
_seen = {}


def initial_learners(c, method):
    """Return the learners that a run begins with; recipes that differ in a schedule's length alone are one case."""
    key = json.dumps({key: value for key, value in config.flatten(c).items() if key not in LENGTHS})
    if key not in _seen:
        _seen[key] = set(jax.eval_shape(lambda: config.initial_state(c, method)).learners)
    return _seen[key]


@pytest.mark.parametrize("spec", list(recipes()))
def test_every_shipped_recipe_builds(spec):
    c = config.resolve(spec)
    method = config.build_method(c)
    assert initial_learners(c, method)
    for step in (0, c.steps - 1):
        assert isinstance(method.phase(step), str)


@pytest.mark.parametrize("file", SHIPPED)
def test_the_docstring_of_a_recipe_names_its_presets(file):
    text = runpy.run_path(str(config._find(file)))["__doc__"]
    assert [name for name in offered(file) if name not in text] == []
    assert f"uit train --config={file}" in text


def test_presets_of_cut_set_what_their_names_say():
    def lengths(spec):
        c = config.resolve(spec)
        assert c.steps == c.method.constant_steps + c.method.decay_steps
        return c.method.name, c.steps, c.method.constant_steps

    # Epochs are those of the larger domain: 200 + 200 of them, or 150 + 50.
    assert lengths("configs/cut.py") == lengths("configs/cut.py:horse2zebra") == ("cut", 400 * 1_334, 200 * 1_334)
    assert lengths("configs/cut.py:cat2dog") == ("cut", 400 * 5_153, 200 * 5_153)
    assert lengths("configs/cut.py:fastcut") == ("fastcut", 200 * 1_334, 150 * 1_334)
    assert lengths("configs/cut.py:fastcut,cityscapes") == ("fastcut", 200 * 2_975, 150 * 2_975)
    assert lengths("configs/sincut.py") == ("sincut", 100_000, 50_000)
    fast = config.resolve("configs/cut.py:fastcut,bf16")
    assert (fast.method.nce_weight, fast.method.identity, fast.precision) == (10, False, "bf16")
    single = config.resolve("configs/sincut.py").method
    assert (single.crops, single.load_size, single.negatives, single.r1_weight) == (16, 0, "minibatch", 1)


def misspelt(key):
    """Double the last letter of a key."""
    return key + key[-1]


@pytest.mark.parametrize("file", SHIPPED)
def test_every_key_of_a_recipe_is_found_when_misspelt(file):
    c = config.resolve(file)
    for key in config.flatten(c):
        with pytest.raises(UserError, match="there is no such key; did you mean") as caught:
            config.override(c, [f"--config.{misspelt(key)}=1"])
        assert str(caught.value).endswith(f"did you mean {key}?") and "\n" not in str(caught.value)


WRONG = {
    int: {"many": "a whole number", "1.5": "a whole number", "true": "a whole number", "(1,)": "a whole number"},
    float: {"fast": "a number", "": "a number", "false": "a number", "(0.5,)": "a number"},
    bool: {"1": "true or false", "yes": "true or false"},
    tuple: {"3": "a list", "abc": "a list"},
}


@pytest.mark.parametrize("file", SHIPPED)
def test_every_key_of_a_recipe_refuses_another_type(file):
    c = config.resolve(file)
    before = c.to_dict()
    for key, value in config.flatten(c).items():
        for text, expected in WRONG.get(type(value), {}).items():
            with pytest.raises(UserError) as caught:
                config.override(c, [f"--config.{key}={text}"])
            assert str(caught.value) == f"config.{key}={text}: expected {expected}" + (
                " such as (1,2)" if expected == "a list" else ""
            )
    assert c.to_dict() == before


@pytest.mark.parametrize("file", SHIPPED)
def test_what_a_recipe_says_comes_back_from_the_command_line(file):
    """Each value, written as Python writes it, replaces itself."""
    c, again = config.resolve(file), config.resolve(file)
    config.override(again, [f"--config.{key}={value}" for key, value in config.flatten(c).items()])
    assert again.to_dict() == c.to_dict()


def table_of_settings():
    """Yield the settings that a row of docs/cut.md names, and the three methods' defaults as it prints them."""
    page = (Path(config.__file__).parents[1] / "docs" / "cut.md").read_text()
    for line in page.partition("## Settings")[2].partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names, *columns = (cell.strip() for cell in line.strip("|").split("|"))
            names = [name.strip("` ") for name in names.split(",")]
            yield names, [eval(f"({cell},)" if len(names) > 1 else f"[{cell}]", {}) for cell in columns[:3]]


def test_the_settings_of_cut_are_told_with_their_defaults():
    told = {method: {} for method in ("cut", "fastcut", "sincut")}
    for names, columns in table_of_settings():
        for defaults, values in zip(told.values(), columns, strict=True):
            defaults.update(zip(names, values, strict=True))
    for method, defaults in told.items():
        assert defaults == config.method_defaults(method)
    recipes = {"cut": "configs/cut.py", "fastcut": "configs/cut.py:fastcut", "sincut": "configs/sincut.py"}
    for method, recipe in recipes.items():
        assert config.resolve(recipe).method.to_dict() == told[method] | {"name": method}
