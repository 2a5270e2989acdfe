"""Runs made of published files, and files made of runs: the same pixels, and a training that goes on."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from tests.convert.published import assert_equal, weights
from tests.golden_recipe import images, weight
from tests.saved_run import save
from uit_jax import checkpoint, runs, tensors
from uit_jax.errors import UserError
from uit_jax.training import conversion, loop

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
SIZE = ("--config.data.image_size=16", "--config.method.load_size=20", "--config.batch_size=2")
SMALL = (*SIZE, "--config.method.discriminator.layers=1", "--config.method.discriminator.width=4")
SHAPED = (*SIZE, "--config.method.patches.layers=(0,4,12)")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of CUT as it was trained, its published files, and the run that is made of these."""
    folder = tmp_path_factory.mktemp("cut")
    save(folder / "trained", "cut")
    files = conversion.export_run(folder / "trained", folder / "published")
    imported = conversion.import_run(files, folder / "run", "cut.py", SHAPED)
    return folder, files, imported


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        conversion.import_run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_have_the_published_names_and_the_run_their_networks(made):
    folder, files, imported = made
    assert [path.name for path in files] == [f"latest_net_{network}.pth" for network in "GDF"]
    assert imported.networks == dict(zip("GDF", files, strict=True)) and imported.anew == []
    config, _, state = checkpoint.restore_run(folder / "run")
    assert_equal(weights(state), weights(checkpoint.restore_run(folder / "trained")[2]))
    assert config.data.source == "" and config.method.generator.width == 4 and config.method.patches.dim == 8
    assert int(state.step) == 0


def test_the_run_translates_as_the_method_called_by_hand(made):
    folder, _, _ = made
    _, method, state = checkpoint.restore_run(folder / "trained")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    content = pixels.astype(np.float32) / 127.5 - 1
    by_hand = np.asarray(method.translate(method.variables(state), {"content": content}))
    drawn = runs.load(folder / "run").translate(pixels)
    assert np.ptp(drawn) > 20
    np.testing.assert_allclose(drawn, (by_hand + 1) * 127.5, atol=0.51)


def test_published_files_draw_what_the_published_code_drew(tmp_path):
    """Files of the names and tensors of CycleGAN's, and the output of its code: see `tests/test_goldens.py`."""
    manifest, arrays = json.loads((GOLDENS / "cyclegan.json").read_text()), np.load(GOLDENS / "cyclegan.npz")
    salt, stride = manifest["salt"], manifest["out_stride"]
    for network, specs in manifest["weights"].items():
        state_dict = {name: weight(salt, network, name, spec) for name, spec in specs.items()}
        tensors.write(tmp_path / f"latest_net_{network}.pth", state_dict)
    sides = ("--config.data.image_size=64", "--config.method.load_size=64")
    conversion.import_run(sorted(tmp_path.iterdir()), tmp_path / "run", "cyclegan.py", sides)
    run = runs.load(tmp_path / "run")
    content = images(f"{salt}A", manifest["batch"], manifest["img_size"])
    with jax.default_matmul_precision("highest"):
        drawn = run.method.translate(run.variables, {"content": content})
    np.testing.assert_allclose(drawn[:, ::stride, ::stride], arrays["G_A.out"], atol=1e-4)


def test_training_goes_on_from_it(made, tmp_path):
    folder, _, _ = made
    for side in ("trainA", "trainB"):
        (tmp_path / side).mkdir()
        for number in range(2):
            Image.new("RGB", (24, 24), (90 * number, 60, 30)).save(tmp_path / side / f"{number}.png")
    config = checkpoint.begun_with(folder / "run")
    config.data.source, config.tensorboard, config.devices = str(tmp_path), False, 1
    with loop.Run(config, folder / "run") as run:
        state, step = run.begin()
    assert step == 0
    assert_equal(weights(jax.device_get(state)), weights(checkpoint.restore_run(folder / "trained")[2]))


def test_a_generator_alone_is_enough_and_the_rest_begins_anew(made, tmp_path):
    folder, files, _ = made
    imported = conversion.import_run(files[:1], tmp_path / "run", "cut.py", SMALL)
    assert imported.anew == ["D", "F"] and list(imported.networks) == ["G"]
    learners = checkpoint.restore_run(tmp_path / "run")[2].learners
    trained = checkpoint.restore_run(folder / "trained")[2].learners
    assert_equal(learners["generator"].params, trained["generator"].params)
    assert np.std(learners["discriminator"].params["conv_0"]["conv"]["kernel"]) > 0


def test_who_interrupts_it_leaves_nothing(made, tmp_path, monkeypatch):
    _, files, _ = made
    with monkeypatch.context() as patched:
        patched.setattr(conversion.config_module, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            conversion.import_run(files, tmp_path / "run", "cut.py", SHAPED)
    assert not (tmp_path / "run").exists()


def test_networks_with_settings_that_a_method_has_not_are_told_by_their_file(made, tmp_path):
    _, (generator, *_), _ = made
    told = refused([generator], tmp_path / "run", "sincut.py")
    assert told.startswith(f"{generator}: no networks of sincut.py: method.generator.blocks: there is no such setting")


def test_what_cannot_be_made_is_refused_and_nothing_is_written(made, tmp_path):
    folder, files, _ = made
    generator, discriminator, _ = files
    place = tmp_path / "run"
    assert refused(files, folder / "run", "cut.py").endswith("run holds a run already: name another one")
    told = refused([discriminator], place, "cut.py", SIZE)
    assert told == f"{discriminator}: holds D, and to translate takes G too: give its file"
    assert "G_A blurs where it halves" in refused([generator], place, "cyclegan.py")
    assert "G is none of TUNIT's" in refused([generator], place, "tunit.py")
    told = "--config=cluit.py: there are no published weights of this method; there are of tunit, cut, fastcut"
    assert refused([generator], place, "cluit.py").startswith(told)
    told = refused([generator], place, "cut.py", (*SMALL, "--config.method.generator.width=5"))
    assert told.startswith(f"{generator}: the checkpoint's G does not fit") and "model.1.weight (4, 3, 7, 7)" in told
    told = refused([generator], place, "cut.py", ("--config.data.image_size=32", "--config.method.load_size=8"))
    assert told.startswith(f"{generator}: with the settings that it tells: method.load_size=8 must be 0 or at least")
    cut_off = tmp_path / "latest_net_G.pth"
    cut_off.write_bytes(generator.read_bytes()[:900])
    assert f"{cut_off}: cannot be read as a .pth file" in refused([cut_off], place, "cut.py")
    assert not place.exists()


def test_all_networks_go_into_one_file_and_nothing_is_replaced(made, tmp_path):
    folder, files, _ = made
    for name in ("all.safetensors", "all.ckpt"):
        assert conversion.export_run(folder / "trained", tmp_path / name) == [tmp_path / name]
        held = tensors.read(tmp_path / name)
        np.testing.assert_array_equal(held["G.model.1.weight"], tensors.read(files[0])["model.1.weight"])
        assert {key.partition(".")[0] for key in held} == set("GDF")
    with pytest.raises(UserError, match="latest_net_G.pth is there already, and 2 more: name another place, or"):
        conversion.export_run(folder / "trained", folder / "published")
    assert conversion.export_run(folder / "trained", folder / "published", overwrite=True) == files
