"""`uit config`: every setting in a table, what set it, and what differs between two."""

import json
import re

import pytest

from tests import tiny_method
from uit_jax import config as config_module
from uit_jax import main


@pytest.fixture
def path(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def told(capsys, *argv) -> str:
    assert main.main(["config", *argv]) == 0
    return capsys.readouterr().out


def test_the_table_has_every_setting_within_a_hundred_columns(path, capsys):
    text = told(capsys, path, "--config.method.width=5", f"--config.data.source={'a/long/path/' * 9}")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100 and lines[0].split() == ["key", "value", "default", "meaning"]
    first = {line.removeprefix(line[:3]).split()[0]: line for line in lines[1:] if line[3:4].strip()}
    assert set(config_module.known("tiny")) <= set(first)
    assert first["method.width"].split() == ["!", "method.width", "5", "4", *"entries of a code [1 at least]".split()]
    assert first["steps"].startswith("*  steps") and first["seed"].startswith("   seed")
    assert "* in the recipe" in lines[-1]
    value = first["data.source"].index("a/long")
    assert "a/long/path/" * 9 in "".join(line[value : value + 16] for line in lines)


@pytest.mark.parametrize("name", ["tunit", "cluit", "cut", "sincut"])
def test_the_shipped_recipes_are_told(name, capsys):
    text = told(capsys, f"configs/{name}.py")
    assert max(map(len, text.splitlines())) <= 100
    assert all(f" {key} " in text for key in config_module.known(name))


def test_the_help_of_training_lists_the_settings_of_a_config(path, capsys):
    for argv, width in (["--help"], "4"), (["--config.method.width=5", "-h"], "5"):
        assert main.main(["train", *argv, f"--config={path}"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("usage: uit train") and re.search(rf"method\.width +{width} ", text)
    with pytest.raises(SystemExit):
        main.main(["train", "--help"])
    assert "`uit config configs/NAME.py`" in " ".join(capsys.readouterr().out.split())


def test_only_what_differs_is_told_of_two(path, tmp_path, capsys):
    run = tmp_path / "run"
    config_module.save(config_module.resolve(path, ["--config.method.layers=3,4"]), run)
    text = told(capsys, str(run), f"--diff={path}", "--config.method.rate=0.5")
    lines = [line.split() for line in text.splitlines() if line]
    assert lines[0] == ["key", "run", "tiny.py", "meaning"]
    assert lines[1][:3] == ["method.rate", "0.5", "0.1"] and lines[2][:5] == ["method.layers", "(3,", "4)", "(1,", "2)"]
    assert len(lines) == 3
    assert told(capsys, path, f"--diff={path}") == "Nothing differs.\n"


def test_a_setting_that_one_of_two_has_not_is_a_dash(path, capsys):
    lines = told(capsys, path, "--diff=configs/cluit.py").splitlines()
    split = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert split["method.poison"][1:3] == ["-1", "-"] and split["method.temperature"][1:3] == ["-", "0.07"]
    assert split["method.name"][1:3] == ["tiny", "cluit"]


def test_programs_get_json(path, capsys):
    rows = {row["key"]: row for row in json.loads(told(capsys, path, "--json", "--config.seed=4"))}
    assert rows["seed"] == {
        "key": "seed",
        "value": 4,
        "default": 0,
        "set_by": "override",
        "range": "0 to 4294967295",
        "meaning": rows["seed"]["meaning"],
    }
    assert rows["method.layers"]["value"] == [1, 2]
    (row,) = json.loads(told(capsys, path, "--json", f"--diff={path}", "--config.seed=4"))
    assert (row["key"], row["value"], row["other"]) == ("seed", 4, 0)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no-such.py"], "no-such.py"),
        (["configs/cluit.py:wrld"], "did you mean world?"),
        (["configs/cluit.py", "--config.log_every=-1"], "log_every=-1 must be 0 at least"),
        (["configs/cluit.py", "--diff=no-such.py"], "no-such.py"),
        (["{folder}"], "no run was trained there"),
        (["configs/tunit.py", "--config.evaluators=cluster"], "'cluster'; did you mean clusters?"),
        (["configs/tunit.py", "--config.best_metric=fid"], "best_metric='fid' is no score of evaluators=('clusters',)"),
        (["configs/tunit.py", "--config.steps", "4"], "as in --config.steps=4"),
    ],
)
def test_a_mistake_is_one_line(argv, message, tmp_path, capsys):
    assert main.main(["config", *(each.format(folder=tmp_path) for each in argv)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
