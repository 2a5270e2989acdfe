"""A folder for a hub: read back bit for bit, with a card that says what it is and under which licence."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import uit_jax
from tests.saved_run import save
from uit_jax import checkpoint, runs, tensors
from uit_jax import config as configs
from uit_jax.convert import CONVERTED
from uit_jax.errors import UserError
from uit_jax.exporting import hub


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with images of its own, evaluated, that has learnt both ways."""
    folder = tmp_path_factory.mktemp("hub")
    save(folder / "run", "cyclegan", **{"data.source": str(folder / "my photos"), "init_from": ""})
    scores = {"scores": {"lpips": 0.25}, "step": 1, "images": 7, "source": str(folder / "my photos"), "seed": 0}
    (folder / "run" / "evaluation.json").write_text(json.dumps(scores))
    return dataclasses.replace(runs.load(folder / "run"), step=1)


@pytest.fixture(scope="module")
def written(run):
    out = run.workdir.parent / "out"
    assert uit_jax.export(run, "hub-folder", out).path == out
    return out


def test_no_file_lies_among_checkpoints(run):
    with pytest.raises(UserError, match="lies among the run's checkpoints"):
        uit_jax.export(run, "hub-folder", run.workdir / "checkpoints" / "2")


def test_it_is_read_back_as_a_run_is(run, written):
    back = uit_jax.load(written)
    assert back.method == run.method and back.step == run.step == 1 and back.title == run.title
    jax.tree.map(np.testing.assert_array_equal, back.variables, run.variables)
    assert {path.name for path in written.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    names = {name.split(".")[0] for name in tensors.read(written / "model.safetensors")}
    assert names == {"generator_ab", "generator_ba", "step"}
    turned, other = (uit_jax.load(folder, direction="BtoA").variables for folder in (written, run.workdir))
    jax.tree.map(np.testing.assert_array_equal, turned, other)


def test_no_place_of_the_machine_is_in_it(run, written):
    for file in ("README.md", "config.json"):
        text = (written / file).read_text()
        assert "my photos" in text and str(run.workdir.parent) not in text


def test_the_card_tells_scores_and_licence(run, written):
    text = (written / "README.md").read_text()
    assert text.startswith("---\nlicense: ") and 'library_name: "uit_jax"' in text
    assert "| lpips | 0.2500 |" in text and "7 images of" in text and "a model that" in text.lower()
    assert 'license: "other"' in text and "none is named" in text


def test_weights_that_began_with_published_ones_keep_their_licence(run, tmp_path):
    for name, origin in (("middle", f"{tmp_path / 'first'}:1"), ("first", "")):
        (tmp_path / name).mkdir()
        configs.save(configs.update(run.config.copy_and_resolve_references(), {"init_from": origin}), tmp_path / name)
    config = configs.update(run.config.copy_and_resolve_references(), {"init_from": str(tmp_path / "middle")})
    other = dataclasses.replace(run, config=config)
    assert hub.converted_from(other) == ""
    (tmp_path / "first" / CONVERTED).write_text(json.dumps({"G": "latest_net_G.pth"}))
    assert hub.converted_from(other) == "latest_net_G.pth"
    # An export of an export has no run to ask.
    uit_jax.export(other, "hub-folder", tmp_path / "out")
    uit_jax.export(uit_jax.load(tmp_path / "out"), "hub-folder", tmp_path / "again")
    for name in ("out", "again"):
        text = (tmp_path / name / "README.md").read_text()
        assert 'license: "cc-by-nc-4.0"' in text and "latest_net_G.pth" in text
    assert hub.converted_from(dataclasses.replace(run, step=0)), "a run of no steps holds what it was made of"


def test_what_it_cannot_do_is_said(written, tmp_path):
    with pytest.raises(UserError, match="holds the weights that translate alone"):
        checkpoint.restore_run(written)
    with pytest.raises(UserError, match="step 1 alone, and no checkpoint 7"):
        uit_jax.load(written, 7)
    assert uit_jax.load(written, 1).step == 1
    values = tensors.read(written / "model.safetensors")
    values.pop(next(name for name in values if name.startswith("generator_ab")))
    other = tmp_path / "other"
    other.mkdir()
    tensors.write(other / "model.safetensors", values)
    with pytest.raises(UserError, match="no config.json|holds model.safetensors"):
        uit_jax.load(other)
    (other / "config.json").write_bytes((written / "config.json").read_bytes())
    with pytest.raises(UserError, match="none can be trained further"):
        uit_jax.train(uit_jax.load(written).config, written)
    assert not (written / "checkpoints").exists()
    step = values["step"]
    for broken in (np.zeros(8, np.uint8), np.zeros((0,)), np.float64("nan"), np.int64(-5)):
        values["step"] = np.asarray(broken)
        tensors.write(other / "model.safetensors", values)
        with pytest.raises(UserError, match="names no step of training"):
            uit_jax.load(other)
    tensors.write(other / "model.safetensors", values | {"step": step})
    with pytest.raises(UserError, match="is not of the config.json beside it: generator_ab.* is not there"):
        uit_jax.load(other)
