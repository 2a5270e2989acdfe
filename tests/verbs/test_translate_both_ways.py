"""`--direction` of real runs of two domains: weights, channels and images of the other way, and who has none."""

import itertools
import json
import re

import jax
import numpy as np
import pytest

import uit_jax
from tests import method_table as table
from tests.saved_run import SIZE, save
from uit_jax import config as configs
from uit_jax import main, runs
from uit_jax.errors import UserError
from uit_jax.evaluation import context
from uit_jax.images import decode, encode
from uit_jax.inference import batched

CHANNELS = {"a": 3, "b": 1}


def paint(path, channels=3, size=SIZE, seed=0):
    """Write a square image of noise, by its seed."""
    image = np.random.default_rng(seed).integers(0, 256, (size, size, channels), np.uint8)
    encode.write(path, image)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CycleGAN trained from B, gray, to A, colour; a MUNIT; a GcGAN; a CLUIT; and the pairs of the first two."""
    folder = tmp_path_factory.mktemp("runs")
    for kind, gray in (("pair", 1), ("colour", 3)):
        for number, name in enumerate(("trainA", "trainB", "testA", "testB")):
            for i in range(2 + number):
                channels = gray if name.endswith("B") else 3
                paint(folder / kind / name / f"{i}.png", channels, seed=10 * number + i)
    gray = {"data.source": str(folder / "pair"), "data.target_channels": 3, "data.channels": 1}
    save(folder / "back", "cyclegan", **gray, **{"method.identity_weight": 0.0, "data.direction": "BtoA"})
    save(folder / "styled", "munit", **{"data.source": str(folder / "colour")})
    save(folder / "one_way", "gcgan", **{"data.direction": "BtoA"})
    save(folder / "single", "cluit")
    return folder


def uit(verb, workdir, *arguments):
    return main.main([verb, f"--workdir={workdir}", *map(str, arguments)])


def whole(images):
    return np.asarray(batched.to_uint8(images))


def test_a_run_is_loaded_in_either_direction(folder):
    """Directions are the data's: this run's own is from B, gray, to A."""
    own, same, other = (uit_jax.load(folder / "back", direction=each) for each in (None, "BtoA", "AtoB"))
    assert own.method == same.method and not table.changed(own.variables, same.variables)
    assert own.config == same.config and own.target_channels == 3 and own.form["channels"] == 1
    assert (other.config.data.direction, other.form["channels"], other.target_channels) == ("AtoB", 3, 1)
    assert configs.method_of(other.config) == other.method and own.config.data.direction == "BtoA"
    content = paint(folder / "colour.png")
    generator = own.method.networks["generator_ba"].module
    expected = jax.jit(generator.apply)(own.variables["generator_ba"], (content[None] / 127.5 - 1).astype(np.float32))
    drawn = other.translate(folder / "colour.png")
    assert drawn.shape == (SIZE, SIZE, 1) and drawn.std() > 5
    assert np.abs(drawn.astype(int) - whole(expected)[0]).max() <= 1


def test_files_are_written_in_the_channels_of_the_direction_and_tiles_are_the_whole(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(batched.tiling, "BUDGET", 0)
    paint(tmp_path / "c.png", size=48)
    drawn = {}
    for name, more in (("whole", ()), ("tiled", ("--max_pixels=1600",))):
        arguments = [f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / name}.png", "--direction=AtoB", *more]
        assert uit("translate", folder / "back", *arguments) == 0
        drawn[name] = decode.decode((tmp_path / f"{name}.png").read_bytes(), channels=1, depth=8).astype(int)
    assert drawn["whole"].shape == (48, 48, 1) and drawn["whole"].std() > 5
    assert np.abs(drawn["whole"] - drawn["tiled"]).max() <= 1
    # The run's own direction makes colour of gray.
    assert uit("translate", folder / "back", f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / 'own.npy'}") == 0
    assert np.load(tmp_path / "own.npy").shape == (48, 48, 3)


def test_test_images_are_those_of_the_direction(folder):
    for direction, names in {None: ("testB", "testA"), "AtoB": ("testA", "testB")}.items():
        run = runs.load(folder / "back", direction=direction)
        sources = context.open_context(run).sources
        assert [source.names[0].split("/")[-2] for source in sources.values()] == list(names)
        channels = [CHANNELS[name[-1].lower()] for name in names]
        assert [source.channels for source in sources.values()] == channels
        assert context.open_context(run).training.names[0].endswith(f"train{names[0][-1]}/0.png")


def test_searched_are_images_of_the_domain_whose_styles_are_read(folder, tmp_path):
    """B's by default, by B's encoder; A's by A's from B to A."""
    run = uit_jax.load(folder / "styled")
    for direction, encoder in {"AtoB": "b", "BtoA": "a"}.items():
        places = [f"--out={tmp_path / 's.png'}", f"--json={tmp_path / 's.json'}", "--overwrite"]
        assert uit("search", folder / "styled", f"--direction={direction}", "--count=2", *places) == 0
        found = json.loads((tmp_path / "s.json").read_text())
        paths = sorted((folder / "colour" / f"test{encoder.upper()}").iterdir())
        assert found["images"] == len(paths)
        images = np.stack([decode.decode(path.read_bytes(), channels=3, depth=8) for path in paths])
        network = run.method.networks[f"generator_{encoder}"].module
        read = jax.jit(lambda weights, x, network=network: network.apply(weights, x, method="encode")[1])
        codes = read(run.variables[f"generator_{encoder}"], (images / 127.5 - 1).astype(np.float32))
        codes = np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True))
        cosines = np.sort(codes[1:] @ codes[0])[::-1][:2]
        np.testing.assert_allclose([each["cosine"] for each in found["queries"][0]["neighbours"]], cosines, atol=1e-4)
    (folder / "colour").rename(folder / "moved")
    with pytest.raises(UserError, match="data.source=.*colour of this run is not there: name where .* by --source"):
        run.search()
    assert len(run.search(images=str(folder / "moved")).gallery.codes) == 5
    (folder / "moved").rename(folder / "colour")


def test_sampled_styles_are_columns_of_a_strip_and_codes_in_python(folder, tmp_path):
    content = paint(tmp_path / "c.png")
    for direction in ("AtoB", "BtoA"):
        asked = [f"--content={tmp_path / 'c.png'}", f"--direction={direction}", "--styles=3", "--seed=5", "--overwrite"]
        assert uit("translate", folder / "styled", *asked, f"--out={tmp_path / 'strip.png'}") == 0
        strip = decode.decode((tmp_path / "strip.png").read_bytes(), channels=3, depth=8)
        run = uit_jax.load(folder / "styled", direction=direction)
        codes = run.sample(9, seed=5)
        expected = run.translate([content] * 3, style=codes[:3])
        assert np.abs(strip.astype(int) - np.concatenate(expected, axis=1)).max() <= 1
        assert all(np.abs(one.astype(int) - other).mean() > 2 for one, other in itertools.combinations(expected, 2))


def test_who_has_no_such_direction_says_so_before_anything_is_written(folder, tmp_path, capsys, monkeypatch):
    paint(tmp_path / "c.png")
    asked = [f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / 'out'}"]
    only = "--direction=AtoB: this run translates BtoA only; train one with --config.data.direction=AtoB"
    none = "--direction=AtoB: this run has no two domains to translate between; leave it out"
    for name, line in (("one_way", only), ("single", none)):
        assert uit("translate", folder / name, *asked, "--direction=AtoB") == 2
        assert capsys.readouterr().err == f"uit: {line}\n"
        for ask in (runs.load, runs.drawn_form):
            with pytest.raises(UserError, match=re.escape(line)):
                ask(folder / name, direction="AtoB")
    assert runs.load(folder / "one_way", direction="BtoA").config.data.direction == "BtoA"
    for wrong in ("BtoC", "", 3):
        with pytest.raises(UserError, match=f"--direction={wrong}: give AtoB or BtoA"):
            runs.load(folder / "styled", direction=wrong)
    assert not (tmp_path / "out").exists()
