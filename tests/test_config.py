"""Configs: locked, typed, checked, overridable, explained, recorded, and compared when a run is continued."""

import json
import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import uit_jax
from tests import tiny_method
from tests.pieces import shapes_once
from uit_jax import checkpoint, config, methods, recipe_files
from uit_jax.errors import UserError
from uit_jax.method import Phase


@pytest.fixture
def path(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


def test_defaults_hold_the_methods_own_settings_with_theirs():
    c = config.defaults("tunit")
    assert c.method.name == "tunit" and c.method.domains == 10 and c.method.guide.stages == (1, 1, 2, 2, 2)
    assert "image_size" not in c.method and c.data.image_size == 128
    assert c.parallel == "pmap" and c.sync_statistics and c.is_locked
    assert list(config.known("tunit"))[:2] == ["seed", "steps"]


def test_defaults_follow_the_method(tiny):
    c = config.defaults("tiny")
    assert (c.data.image_size, c.evaluators, c.best_metric) == (16, ("clusters",), "cluster_accuracy")
    with pytest.raises(UserError, match="method.name='cluitt' is unknown; did you mean cluit?"):
        config.defaults("cluitt")


def test_a_method_gets_what_other_parts_of_the_config_own(path):
    c = config.resolve(path, ["--config.data.channels=4", "--config.precision=bf16", "--config.method.width=3"])
    method = config.method_of(c)
    assert (method.image_size, method.channels, method.precision, method.width) == (16, 4, "bf16", 3)
    assert method == config.method_of(c) and hash(method) == hash(config.method_of(c))


def test_overrides_take_the_type_of_what_they_replace(path):
    c = config.resolve(
        path,
        [
            "--config.method.rate=1",
            "--config.method.layers=3,4",
            "--config.evaluators=clusters,oracle",
            "--config.data.source=1234",
            "--config.sync_statistics=false",
            "--config.steps=7",
        ],
    )
    assert c.method.rate == 1.0 and isinstance(c.method.rate, float)
    assert c.method.layers == (3, 4) and c.evaluators == ("clusters", "oracle")
    assert config.override(c, ["--config.method.layers=[5, 6]", "--config.evaluators="]).method.layers == (5, 6)
    assert c.evaluators == () and c.data.source == "1234" and c.sync_statistics is False and c.steps == 7


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("batch_sise=3", "batch_sise: there is no such setting; did you mean batch_size?"),
        ("method.gide_steps=3", "method.gide_steps: there is no such setting; did you mean method.guide_steps?"),
        ("image_size=3", "image_size: there is no such setting; did you mean data.image_size?"),
        ("method.image_size=3", "method.image_size: there is no such setting; did you mean data.image_size?"),
        ("zzzz=3", "zzzz: there is no such setting"),
        ("data=3", "data is a group of settings: set data.source, data.target, data.direction,"),
        ("method=3", "method is a group of settings: set method.name, method.domains, method.width"),
        ("method.name=cluit", "method.name=cluit is fixed by the config file"),
        ("steps=many", "steps=many must be a whole number"),
        ("steps=1.5", "steps=1.5 must be a whole number"),
        ("steps=true", "steps=true must be a whole number"),
        ("method.rate=fast", "method.rate=fast must be a number"),
        ("method.layers=3", "method.layers=3 must be a list such as (1, 2)"),
        ("method.layers=a,b", "method.layers=a,b must be a list such as (1, 2)"),
        ("evaluators=3", "evaluators=3 must be a list of names"),
        ("sync_statistics=1", "sync_statistics=1 must be true or false"),
        ("epochs=4", "epochs: there is no such setting; here it is steps, the iterations of the whole run"),
        ("lr=4", "lr: there is no such setting; here it is method.adam.learning_rate"),
        ("gpu_ids=0", "gpu_ids: there is no such setting; here it is devices"),
        ("method.dataroot=x", "method.dataroot: there is no such setting; here it is data.source"),
        ("data.image_size=1048576", "data.image_size=1048576 must be 1 to 16384"),
        ("seed=1180591620717411303424", "seed=1180591620717411303424 must be 0 to 4294967295"),
        ("steps=-5", "steps=-5 must be 1 at least"),
        ("steps", "--config.steps: write the value behind an equals sign, as in --config.steps=VALUE"),
        ("log_every=-1", "log_every=-1 must be 0 at least"),
        ("seed=-1", "seed=-1 must be 0 to 4294967295"),
        ("steps=0", "steps=0 must be 1 at least"),
        ("batch_size=0", "batch_size=0 must be 1 at least"),
        ("devices=-1", "devices=-1 must be 0 at least"),
        ("keep_checkpoints=0", "keep_checkpoints=0 must be 1 at least"),
        ("parallel=threads", "parallel='threads' must be 'pmap' or 'shard_map' or 'jit'"),
        ("precision=f16", "precision='f16' must be 'float32' or 'bf16'"),
        ("data.image_size=0", "data.image_size=0 must be 1 to 16384"),
        ("data.channels=0", "data.channels=0 must be 1 at least"),
        ("data.target_channels=-1", "data.target_channels=-1 must be 0 at least"),
        ("data.depth=12", "data.depth=12 must be 8 or 16"),
        ("data.resample=cubic", "data.resample='cubic' must be 'bilinear' or 'bicubic'"),
        ("data.direction=both", "data.direction='both' must be 'AtoB' or 'BtoA'"),
        ("data.max_unreadable_share=7", "data.max_unreadable_share=7.0 must be 0 to 1"),
        ("method.rate=0", "method.rate=0.0 must be above 0"),
    ],
)
def test_a_wrong_override_is_named_in_one_line(path, argument, message):
    with pytest.raises(UserError) as caught:
        config.resolve(path, [f"--config.{argument}"])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "old", "new"),
    [
        ("tunit", "hue", "view.hue"),
        ("tunit", "fill", "view.fill"),
        ("tunit", "r1_weight", "r1.weight"),
        ("tunit", "guide_width", "guide.width"),
        ("tunit", "guide_learning_rate", "guide_adam.learning_rate"),
        ("tunit", "learning_rate", "adam.learning_rate"),
        ("tunit", "generator_width", "generator.width"),
        ("tunit", "mlp_width", "generator.mlp_width"),
        ("tunit", "discriminator_max_width", "discriminator.max_width"),
        ("tunit", "labelled_share", "labels.share"),
        ("tunit", "labelled_steps", "labels.steps"),
        ("tunit", "crop_scale", "view.crop_scale"),
        ("cluit", "crop_range", "view.crop_sides"),
        ("cluit", "r1_every", "r1.every"),
        ("cut", "patch_layers", "patches.layers"),
        ("cut", "temperature", "patches.temperature"),
        ("cut", "constant_steps", "schedule.constant_steps"),
        ("cut", "antialias_up", "generator.antialias_up"),
    ],
)
def test_a_flat_key_of_the_first_house_is_told_by_its_new_one(recipe, old, new):
    c = config.defaults(recipe)
    message = f"method.{old}: there is no such setting; did you mean method.{new}?"
    for change in (lambda: config.update(c, {f"method.{old}": 1}), lambda: config.override(c, [f"method.{old}=1"])):
        with pytest.raises(UserError) as caught:
            change()
        assert str(caught.value) == message


@pytest.mark.parametrize("old", ["patches", "negatives", "generator", "discriminator"])
def test_a_key_that_has_become_a_group_is_told_by_its_members(old):
    with pytest.raises(UserError, match=f"method.{old} is a group of settings: set method.{old}") as caught:
        config.preset(config.defaults("cut"), "old", {"old": {f"method.{old}": 16}})
    assert "\n" not in str(caught.value)


def test_a_value_without_its_equals_sign_is_told_with_it():
    with pytest.raises(UserError, match="^--config.batch_size: write .* as in --config.batch_size=4$"):
        config.split(["--workdir=x", "--config.batch_size", "4", "--config.steps=3"])
    with pytest.raises(UserError, match="as in --config.steps=VALUE$"):
        config.split(["--config.steps", "--workdir=x"])
    assert config.split([]) == ([], [])
    assert config.split(["--workdir=x", "--config.steps=3"]) == (["--workdir=x"], ["--config.steps=3"])


def test_a_run_of_an_earlier_version_is_read_with_what_it_did(path, tmp_path):
    config.save(config.resolve(path), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for name in ("init_from", "recompute", "microbatches"):
        del values[name]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert config.saved(tmp_path) == config.resolve(path)


def test_a_run_from_before_discriminators_saw_changes_is_read_as_one_without(tmp_path):
    config.save(config.defaults("cut"), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["method"]["augmentation"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert config.saved(tmp_path) == config.defaults("cut")


def test_values_are_checked_wherever_they_come_from(path):
    c = config.update(config.resolve(path), {"method.width": 0, "data.depth": 16})
    with pytest.raises(UserError, match="method.width=0 must be 1 at least"):
        config.check(c)
    with pytest.raises(UserError, match="method.width='wide' must be a whole number"):
        config.update(c, {"method.width": "wide"})
    assert config.update(c, {"method.layers": [4, 5], "method.rate": 1}).method.layers == (4, 5)
    with c.unlocked():
        del c.data["depth"]
    with pytest.raises(UserError, match="data.depth is missing"):
        config.method_of(c)


def test_a_missing_file_and_an_unknown_preset_are_named(path):
    with pytest.raises(UserError, match="no-such.py"):
        config.resolve("no-such.py")
    with pytest.raises(UserError, match=f"--config=gcgan: no such file; with uit_jax come .*{SHIPPED[-1]}"):
        config.resolve("gcgan")
    with pytest.raises(UserError, match="did you mean semi"):
        config.resolve("configs/tunit.py:semy")


@pytest.mark.parametrize("line", ["c.bach_size = 3", "c.steps = 'many'", "c.method.domanis = 3", "import nothing_such"])
def test_a_mistake_inside_a_config_file_names_the_file(tmp_path, line):
    file = tmp_path / "wrong.py"
    text = "from uit_jax import config\ndef get_config(preset=''):\n    c = config.defaults('cluit')\n    "
    file.write_text(f"{text}{line}\n")
    with pytest.raises(UserError, match="wrong.py") as caught:
        config.resolve(str(file))
    assert "\n" not in str(caught.value)


def test_shipped_configs_are_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.resolve("configs/tunit.py").steps == 200_000


def test_names_in_a_list_may_stand_apart():
    found = config.resolve("configs/cluit.py", ["--config.method.augmentation.kinds=color, cutout"])
    assert found.method.augmentation.kinds == ("color", "cutout")


def test_presets_join():
    c = config.resolve("configs/tunit.py:256,f")
    assert c.data.image_size == 256 and c.batch_size == 16 and c.method.joint_training == "frozen"


def test_a_setting_is_explained_with_what_set_it(path, tmp_path):
    text = Path(path).read_text().replace("return config.update(c, {", 'return config.preset(config.update(c, {')
    Path(path).write_text(text.replace("    })\n", '    }), preset, {"wide": {"method.width": 9, "seed": 0}})\n'))
    overrides = ["--config.method.rate=0.3", "--config.steps=12"]
    rows = {row.told.key: row for row in config.explain(f"{path}:wide", overrides)}
    assert list(rows) == list(config.known("tiny"))
    wanted = {"method.width": (9, 4, "preset"), "method.rate": (0.3, 0.1, "override"), "steps": (12, 200_000, "recipe")}
    wanted |= {"seed": (0, 0, ""), "data.image_size": (16, 16, ""), "method.name": ("tiny", "tiny", "")}
    for key, (value, default, origin) in wanted.items():
        assert (rows[key].value, rows[key].told.default, rows[key].origin) == (value, default, origin), key
    config.save(config.resolve(path, ["--config.method.width=7"]), tmp_path / "run")
    rows = {row.told.key: row for row in config.explain(str(tmp_path / "run"), ["--config.method.rate=0.3"])}
    assert (rows["method.width"].value, rows["method.width"].origin) == (7, "run")
    assert rows["method.rate"].origin == "override"
    with pytest.raises(UserError, match="depth=12"):
        config.explain(path, ["--config.data.depth=12"])
    with pytest.raises(UserError, match="no run was trained there"):
        config.explain(str(tmp_path))


OLD = json.loads((Path(__file__).parent / "data" / "configs_of_old_runs.json").read_text())


@pytest.mark.parametrize("name", OLD)
def test_a_run_of_an_earlier_day_is_read(name, tmp_path):
    """Whatever settings have come since: with their defaults, which do what was done then."""
    (tmp_path / "config.json").write_text(json.dumps({"version": "0.2.0", **OLD[name]}))
    read, told = config.flatten(config.saved(tmp_path)), config.flatten(config._tuples(OLD[name]))
    assert told.items() <= read.items()
    known = config.known(name)
    assert all(read[key] == known[key].default for key in read.keys() - told.keys())


def test_the_record_is_read_back_as_it_was(path, tmp_path):
    c = config.resolve(path, ["--config.method.rate=0.3"])
    config.save(c, tmp_path)
    back = config.saved(tmp_path)
    assert back.to_dict() == c.to_dict() and back.method.layers == (1, 2) and back.is_locked
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["method"]["rate"] == 0.3 and written["version"] == uit_jax.__version__
    assert config.saved(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ['{"steps": ', "3", "[]", "", '{"version": "1"}', '{"version": "1", "method": 3}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json") as caught:
        config.saved(tmp_path)
    assert "\n" not in str(caught.value)


def edited(tmp_path, path, change):
    """Write a run's config, changed behind the library's back, and return how it is refused."""
    config.save(config.resolve(path), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    change(values)
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        config.saved(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_record_of_the_first_house_is_refused_and_says_what_reads_it(path, tmp_path):
    message = edited(tmp_path, path, lambda values: values.pop("version"))
    assert "uit_jax 0.1.0" in message and "288f2e2" in message
    with pytest.raises(UserError, match="0.1.0"):
        checkpoint.restore_run(tmp_path)


def test_a_record_that_says_what_cannot_be_is_refused(path, tmp_path):
    assert "steps=-3 must be 1 at least" in edited(tmp_path, path, lambda values: values.update(steps=-3))
    told = edited(tmp_path, path, lambda values: values["method"].update(hue=1, version="0.9.0"))
    assert "method.hue: there is no such setting" in told
    told = edited(tmp_path, path, lambda values: (values.update(version="0.9.0"), values["data"].pop("depth")))
    assert "written by uit_jax 0.9.0: data.depth is missing" in told


def test_only_what_leaves_the_updates_alone_may_change(path):
    before = config.resolve(path)
    free = ["--config.steps=99", "--config.log_every=1", "--config.devices=1", "--config.parallel=jit"]
    free += ["--config.evaluators=oracle", "--config.best_metric="]
    free += ["--config.recompute=full", "--config.microbatches=2"]
    config.check_resumable(config.resolve(path, free), before, "run")
    assert {key for key in config.FREE if not key.startswith("method.")} <= set(config.known("tiny"))
    assert {key for key in config.FREE if key.startswith("method.")} <= set(config.known("starganv2"))
    for override, told in (
        ("seed=3", "seed=0, not 3"),
        ("method.rate=0.5", "method.rate=0.1, not 0.5"),
        ("batch_size=8", "batch_size=4, not 8"),
        ("method.layers=1,3", r"method.layers=\(1, 2\), not \(1, 3\)"),
    ):
        with pytest.raises(UserError, match=f"^run was begun with {told}: give that value to continue") as caught:
            config.check_resumable(config.resolve(path, [f"--config.{override}"]), before, "run")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="^run was begun with method.name='tiny', not 'cluit'"):
        config.check_resumable(config.defaults("cluit"), before, "run")


ROOT = Path(config.__file__).parents[1]
SHIPPED = [f"configs/{file.name}" for file in sorted(ROOT.glob("configs/*.py"))]


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


@pytest.mark.parametrize("spec", list(recipes()))
def test_every_shipped_recipe_builds(spec):
    c = config.resolve(spec)
    method = config.method_of(c)
    with shapes_once():
        assert jax.eval_shape(lambda: config.initial_state(c, method)).learners
    for step in (0, c.steps - 1):
        assert isinstance(method.phase(step), Phase)


@pytest.mark.parametrize("file", SHIPPED)
def test_the_docstring_of_a_recipe_names_its_presets(file):
    text = runpy.run_path(str(recipe_files.find(file)))["__doc__"]
    assert [name for name in offered(file) if name not in text] == []
    assert f"uit train --config={file}" in text


def test_presets_of_cut_set_what_their_names_say():
    def lengths(spec):
        c = config.resolve(spec)
        assert c.steps == c.method.schedule.constant_steps + c.method.schedule.decay_steps
        return c.method.name, c.steps, c.method.schedule.constant_steps

    # Epochs are those of the larger domain: 200 + 200 of them, or 150 + 50.
    assert lengths("configs/cut.py") == lengths("configs/cut.py:horse2zebra") == ("cut", 400 * 1_334, 200 * 1_334)
    assert lengths("configs/cut.py:cat2dog") == ("cut", 400 * 5_153, 200 * 5_153)
    assert lengths("configs/cut.py:fastcut") == ("fastcut", 200 * 1_334, 150 * 1_334)
    assert lengths("configs/cut.py:fastcut,cityscapes") == ("fastcut", 200 * 2_975, 150 * 2_975)
    assert lengths("configs/sincut.py") == ("sincut", 100_000, 50_000)
    fast = config.resolve("configs/cut.py:fastcut,bf16")
    assert (fast.method.nce_weight, fast.method.identity, fast.precision) == (10, False, "bf16")
    single = config.resolve("configs/sincut.py").method
    assert (single.crops, single.load_size, single.negatives.kind, single.r1.weight) == (16, 0, "minibatch", 1)


def test_the_order_of_presets_of_semit_does_not_matter():
    for size, steps in (("photos", 3_000), ("world", 1_600), ("animals", 130_000)):
        first, second = (config.resolve(f"configs/semit.py:{names}") for names in (f"{size},10", f"10,{size}"))
        assert first.to_dict() == second.to_dict() and (first.steps, first.method.labels.share) == (steps, 0.1)


@pytest.mark.parametrize(
    ("presets", "side"),
    [("", 64), ("mountain", 128), ("ffhq512", 128), ("ffhq1024", 256), ("photos", 16), ("world", 8)],
)
def test_the_papers_crops_are_seen_at_a_quarter_of_the_image(presets, side):
    """Of 768 px a quarter is no power of two."""
    for names in (f"{presets},paper", f"paper,{presets}"):
        assert config.resolve(f"configs/swapping_autoencoder.py:{names}").method.patches.size == side


def misspelt(key):
    """Double the last letter of a key."""
    return key + key[-1]


@pytest.mark.parametrize("file", SHIPPED)
def test_every_key_of_a_recipe_is_found_when_misspelt(file):
    c = config.resolve(file)
    for key in config.flatten(c):
        with pytest.raises(UserError, match="there is no such setting; did you mean") as caught:
            config.override(c, [f"--config.{misspelt(key)}=1"])
        assert str(caught.value).endswith(f"did you mean {key}?") and "\n" not in str(caught.value)


WRONG = {
    int: {"many": "a whole number", "1.5": "a whole number", "true": "a whole number", "(1,)": "a whole number"},
    float: {"fast": "a number", "": "a number", "false": "a number", "(0.5,)": "a number"},
    bool: {"1": "true or false", "yes": "true or false"},
    tuple: {"3": "a list", "1.5": "a list", "True": "a list"},
}


@pytest.mark.parametrize("file", SHIPPED)
def test_every_key_of_a_recipe_refuses_another_type(file):
    c = config.resolve(file)
    before = c.to_dict()
    for key, value in config.flatten(c).items():
        for text, expected in WRONG.get(type(value), {}).items():
            with pytest.raises(UserError) as caught:
                config.override(c, [f"--config.{key}={text}"])
            assert str(caught.value).startswith(f"{key}={text} must be {expected}")
    assert c.to_dict() == before


@pytest.mark.parametrize("file", SHIPPED)
def test_what_a_recipe_says_comes_back_from_the_command_line(file):
    """Each value, written as Python writes it, replaces itself."""
    c, again = config.resolve(file), config.resolve(file)
    config.override(again, [f"--config.{key}={value}" for key, value in config.flatten(c).items()])
    assert again.to_dict() == c.to_dict()


def test_pages_name_settings_that_there_are():
    """Wherever a page or a docstring writes --config.KEY=VALUE or `method.key`, some method has that key."""
    keys = {key for name in methods.METHODS for key in config.known(name)} | {"method.NAME"}
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*.py"), *ROOT.glob("experiments/*.py")]
    for page in pages:
        told = re.findall(r"--config\.([\w.]+)=|`((?:data|method)\.[a-z0-9_.]+)[`=]", page.read_text())
        named = {key for key in map("".join, told) if not key.endswith(".py")} - {"key", "KEY"}
        groups = {key.rpartition(".")[0] for key in keys}
        assert named <= keys | groups, page


def table_of_settings():
    """Yield the settings that a row of docs/cut.md names, and the three methods' defaults as it prints them."""
    page = (ROOT / "docs" / "cut.md").read_text()
    for line in page.partition("## Settings")[2].partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names, *columns = (cell.strip() for cell in line.strip("|").split("|"))
            names = [f"method.{name.strip('` ')}" for name in names.split(",")]
            form = "({},)" if len(names) > 1 else "[{}]"
            yield names, [None if cell == "-" else eval(form.format(cell), {}) for cell in columns[:3]]


def test_the_settings_of_cut_are_told_with_their_defaults():
    told = {method: {} for method in ("cut", "fastcut", "sincut")}
    for names, columns in table_of_settings():
        for defaults, values in zip(told.values(), columns, strict=True):
            defaults.update(zip(names, values, strict=True) if values else {})
    recipes = {"cut": "configs/cut.py", "fastcut": "configs/cut.py:fastcut", "sincut": "configs/sincut.py"}
    for method, defaults in told.items():
        for c in (config.defaults(method), config.resolve(recipes[method])):
            own = {key: value for key, value in config.flatten(c).items() if key.startswith("method.")}
            assert own == defaults | {"method.name": method}


@pytest.mark.parametrize(
    "text, words",
    [
        ("[]", "is not the config of a run"),
        ("{}", "is not the config of a run"),
        ('{"a": 1}', "is not the config of a run"),
        ("[" * 100_000, "is not the config of a run"),
        ('{"version": 5, "method": {"name": "cut"}}', "is not the config of a run"),
        ('{"version": "0.2.0", "method": "cut"}', "is not the config of a run"),
        ('{"version": "0.2.0", "method": {"name": {"a": 1}}}', "written by uit_jax 0.2.0"),
        ('{"version": "0.2.0", "method": {"name": "cut"}, "a.b": 1}', "written by uit_jax 0.2.0"),
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json") as caught:
        config.saved(tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no')", ", line 4: no"),
        ("1 / 0", ", line 4: division by zero"),
        ("return None", ": get_config returns NoneType, not what"),
        ("return config.ConfigDict()", ": get_config returns ConfigDict, not what"),
        ("return config.ConfigDict({'method': 3})", ": get_config returns ConfigDict, not what"),
        ("import ml_collections as m; return m.FrozenConfigDict(config.defaults('cut'))", ": get_config returns F"),
        ("import sys; sys.exit('bye')", ", line 4: it ends the program instead of returning a config"),
        ("return get_config(preset)", ", line 4: maximum recursion depth exceeded"),
        ("return (", ": '(' was never closed (own.py, line 4)"),
    ],
)
def test_whatever_a_config_file_does_is_one_line_with_its_name(tmp_path, monkeypatch, body, told):
    file = tmp_path / "own.py"
    file.write_text(f"from uit_jax import config\n\ndef get_config(preset):\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    for name in (str(file), "own.py"):
        with pytest.raises(UserError) as caught:
            config.resolve(name)
        assert str(caught.value).startswith(f"{name}{told}")
    with pytest.raises(UserError, match=r"--config=.*: is a folder; name a Python file"):
        config.resolve(str(tmp_path))
    file.write_text("")
    with pytest.raises(UserError, match=r"own.py has no get_config\(preset\)"):
        config.resolve(str(file))
    (tmp_path / "readme.md").write_text("hello")
    with pytest.raises(UserError, match="is no Python file"):
        config.resolve(str(tmp_path / "readme.md"))


def test_numbers_beyond_all_measure_are_refused():
    huge = {"steps": 10**30, "method.generator.blocks": 10**12, "data.max_unreadable_share": "9" * 400}
    for key, value in huge.items():
        with pytest.raises(UserError, match=key):
            config.resolve("configs/cut.py", [f"--config.{key}={value}"])


def test_numbers_of_numpy_are_numbers():
    chosen = config.update(config.defaults("cut"), {"steps": np.int64(3), "method.nce_weight": np.float32(2)})
    assert (chosen.steps, chosen.method.nce_weight) == (3, 2.0)
