"""Files that do what the model does, in every format; and what is refused, of which nothing is left."""

import dataclasses
import json
import sys

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from PIL import Image

import uit_jax
from tests import toy, toy_translator
from tests.exporting import alone, small
from uit_jax import exporting, runs
from uit_jax.errors import UserError
from uit_jax.exporting import checking, functions, onnx_files, savedmodel, stablehlo
from uit_jax.nn.resampling import blur_down

SIDE = 16


@pytest.fixture
def styled(tmp_path):
    """The toy: its style is the mean colour, its pseudo domain the brightest channel."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, colour in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
        Image.new("RGB", (SIDE, SIDE), colour).save(folder / f"{name}.png")
    config = toy.config(SIDE, source=str(folder))
    return runs.Trained(tmp_path, config, toy.method(image_size=SIDE), toy.variables(), 7)


def noise(*shape):
    return np.random.default_rng(0).integers(100, 150, shape).astype(np.uint8)


# --- methods ---


def test_any_number_and_size_of_images_without_this_library(tmp_path):
    run, out = small.run(tmp_path, "cut"), tmp_path / "cut.npz"
    made = uit_jax.export(run, "stablehlo", out)
    assert made.notes == () and made.difference.largest <= 1 and made.difference.images == 4
    images = noise(3, 20, 36, 3)
    found = alone.call(out, [images], tmp_path)
    wanted = run.translate(images)
    assert found.std() > 5 and np.abs(found.astype(int) - wanted).max() <= 1


def test_onnx_draws_in_the_style_of_a_reference(tmp_path):
    run, images = small.run(tmp_path, "starganv2"), noise(2, SIDE, SIDE, 3)
    references = images[::-1] // 2
    for function in ("encode", "translate"):
        exporting.export(run, "onnx", tmp_path / f"{function}.onnx", function=function)
    codes = onnx_files.opened(tmp_path / "encode.onnx")(references)
    np.testing.assert_allclose(codes, run.encode(references), atol=1e-4)
    found = onnx_files.opened(tmp_path / "translate.onnx")(images, references)
    wanted = run.translate(images, style=codes)
    assert found.std() > 5 and np.abs(found.astype(int) - wanted).max() <= 1


def test_samples_are_those_of_the_library(tmp_path):
    run = small.run(tmp_path, "munit")
    exporting.export(run, "stablehlo", tmp_path / "x.npz", function="sample")
    found = stablehlo.opened(tmp_path / "x.npz")(np.array([5, 5], np.uint32), np.array([0, 3], np.uint32))
    np.testing.assert_array_equal(found, run.sample(4, seed=5)[[0, 3]])
    with pytest.raises(UserError, match="--to=onnx: .*no form"):
        exporting.export(run, "onnx", tmp_path / "x.onnx", function="sample")


def test_onnx_computes_in_32_bits_what_was_trained_in_16(styled, tmp_path):
    narrow = dataclasses.replace(styled, method=dataclasses.replace(styled.method, precision="bf16"))
    exporting.export(narrow, "onnx", tmp_path / "x.onnx", images=noise(4, SIDE, SIDE, 3))
    assert json.loads(onnx.load(tmp_path / "x.onnx").metadata_props[0].value)["precision"] == "float32"
    assert functions.build(narrow).about["precision"] == "bf16"


# --- what a file holds ---


def test_a_savedmodel_has_names_and_open_sizes(styled, tmp_path):
    exporting.export(styled, "savedmodel", tmp_path / "out", style="code", images=noise(4, SIDE, SIDE, 3))
    header = json.loads((tmp_path / "out" / savedmodel.HEADER).read_text())
    assert [each["name"] for each in header["inputs"]] == ["content", "style"] and header["step"] == 7
    images, codes = noise(2, 20, 36, 3), np.float32([[0.5, 0, 0], [0, 0, 0.5]])
    found = savedmodel.opened(tmp_path / "out")(images, codes)
    np.testing.assert_array_equal(found, styled.translate(images, style=codes, size="keep"))


def test_a_header_tells_what_goes_in(styled, tmp_path):
    exporting.export(styled, "stablehlo", tmp_path / "x.npz", images=noise(4, SIDE, SIDE, 3))
    with np.load(tmp_path / "x.npz") as file:
        header = json.loads(file["header"].tobytes())
    assert header["platforms"] == ["cpu", "cuda", "tpu"] and header["weights"] == 1
    content, reference = header["inputs"]
    assert content["shape"] == ["b", "4*h", "4*w", 3] and "multiples of 4, 16 at least" in content["told"]
    assert reference["shape"] == ["b", SIDE, SIDE, 3] and reference["dtype"] == "uint8"
    assert header["output"]["told"] == "images from 0 to 255"


def test_styles_that_are_named_are_in_the_file(styled, tmp_path):
    images, out = noise(2, SIDE, SIDE, 3), tmp_path / "x.npz"
    look = styled.look(reference=str(tmp_path / "images" / "red.png"))
    exporting.export(styled, "stablehlo", out, look=look, images=images)
    wanted = styled.translate(images, reference=str(tmp_path / "images" / "red.png"))
    np.testing.assert_array_equal(stablehlo.opened(out)(images), wanted)
    made = exporting.export(styled, "onnx", tmp_path / "x.onnx", style="domain", images=images)
    assert made.function.about["styles"] == ["domain 0, 1 images", "domain 1, 0 images", "domain 2, 1 images"]
    found = onnx_files.opened(tmp_path / "x.onnx")(images, np.int32([2, 0]))
    wanted = [styled.translate(image, domain=domain) for image, domain in zip(images, (2, 0), strict=True)]
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_floats_go_from_minus_one_to_one(styled, tmp_path):
    images = noise(2, SIDE, SIDE, 3)
    exporting.export(styled, "stablehlo", tmp_path / "x.npz", floats=True, images=images)
    given = (images / 127.5 - 1).astype(np.float32)
    found = stablehlo.opened(tmp_path / "x.npz")(given, given[::-1])
    wanted = styled.translate(images, style=styled.encode(images[::-1]))
    assert found.dtype == np.float32 and np.abs((found + 1) * 127.5 - wanted).max() <= 0.51


def test_one_file_holds_the_forms_of_all_platforms():
    """What a processor runs is its own form; that of a TPU, products with matrices, is there too."""
    inputs = (functions.Named("x", ("b", 8, 8, 2), "float32", ""),)
    blur = functions.Function("blur", lambda weights, x: blur_down(x), (), inputs, inputs[0], {})
    exported, _ = stablehlo.exported_of(blur)
    text = exported.mlir_module()
    assert exported.platforms == stablehlo.PLATFORMS
    assert "stablehlo.case" in text and "stablehlo.dot_general" in text
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(exported.call([], x), blur_down(jnp.asarray(x)), atol=1e-6)


def test_weights_that_are_not_read_are_left_out(styled):
    function = functions.build(styled, style="code")
    other = dataclasses.replace(function, weights={**function.weights, "encoder": np.zeros(3, np.float32)})
    for each in (function, other):
        assert [weight.shape for weight in stablehlo.exported_of(each)[1]] == []
    assert [weight.shape for weight in stablehlo.exported_of(functions.build(styled, "encode"))[1]] == [()]


def test_where_a_size_must_be_known_the_file_is_of_one_and_says_so(tmp_path):
    def translate(variables, inputs):
        return inputs["content"] * np.ones(inputs["content"].shape[1:3], np.float32)[None, :, :, None]

    method = toy.altered(toy_translator.method(image_size=SIDE), translate=translate)
    config = toy.config(SIDE, direction="AtoB")
    run = runs.Trained(tmp_path, config, method, toy_translator.variables(), 7)
    made = exporting.export(run, "stablehlo", tmp_path / "x.npz", images=noise(4, SIDE, SIDE, 3))
    assert made.function.inputs[0].shape == ("b", SIDE, SIDE, 3) and "16 x 16 px alone" in made.notes[0]


def test_the_models_own_size_is_never_too_small(tmp_path):
    run = small.run(tmp_path, "semit")
    assert run.image_size < functions.SMALLEST * run.method.multiple
    assert functions.build(run, size=(run.image_size,) * 2).inputs[0].shape == ("b", SIDE, SIDE, 3)
    with pytest.raises(UserError, match="32 at least"):
        functions.build(run, size=(24, 24))


# --- what is refused ---


@pytest.mark.parametrize("to, name", [("stablehlo", "x.npz"), ("onnx", "x.onnx"), ("savedmodel", "x")])
def test_a_file_that_is_off_is_not_kept(to, name, styled, tmp_path, monkeypatch):
    module = {"stablehlo": stablehlo, "onnx": onnx_files, "savedmodel": savedmodel}[to]
    monkeypatch.setattr(module, "write", lambda function, path: path.write_bytes(b"x"))
    monkeypatch.setattr(module, "opened", lambda path: lambda *arrays: np.zeros_like(arrays[0]))
    with pytest.raises(UserError, match="largest difference from the model .* nothing is kept"):
        exporting.export(styled, to, tmp_path / name, images=noise(4, SIDE, SIDE, 3))
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_a_failure_half_way_leaves_nothing(styled, tmp_path, monkeypatch):
    def opened(path):
        assert path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(stablehlo, "opened", opened)
    with pytest.raises(KeyboardInterrupt):
        exporting.export(styled, "stablehlo", tmp_path / "x.npz", images=noise(4, SIDE, SIDE, 3))
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_what_is_there_stays(styled, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    for to, out, told in (
        ("stablehlo", "x.npz", "--overwrite"),
        ("savedmodel", "folder", "is there already"),
        ("hub-folder", "folder", "is there already"),
        ("onnx", "x.npz", "ends in .onnx"),
        ("sound", "x", "--to=sound: give one of stablehlo"),
    ):
        with pytest.raises(UserError, match=told):
            exporting.export(styled, to, tmp_path / out)
    assert (tmp_path / "x.npz").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "how, told",
    [
        ({"function": "sample"}, "--function=sample: the method of this run samples no styles"),
        ({"function": "sing"}, "--function=sing: give one of"),
        ({"function": "encode", "style": "code"}, "--function=encode: takes no style"),
        ({"style": "colour"}, "--style=colour: give one of"),
        ({"size": (18, 16)}, "--image_size=18x16: sides must be multiples of 4, and 16 at least"),
        ({"images": "nowhere"}, "nowhere"),
    ],
)
def test_what_a_model_has_not_is_named(how, told, styled, tmp_path):
    with pytest.raises(UserError, match=told):
        exporting.export(styled, "stablehlo", tmp_path / "x.npz", **{"images": noise(4, SIDE, SIDE, 3), **how})


def test_packages_that_are_missing_are_named(styled, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "uit_jax.exporting.onnx_files")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"--to=onnx: .*onnxruntime.* pip install 'uit-jax\[export\]'"):
        exporting.export(styled, "onnx", tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match="--to=savedmodel: takes tensorflow"):
        exporting.export(styled, "savedmodel", tmp_path / "x", images=noise(4, SIDE, SIDE, 3))


def test_images_to_check_on_are_asked_for_where_the_runs_own_are_gone(tmp_path):
    run = small.run(tmp_path, "cut", **{"data.source": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="--images=PATH .*gone"):
        checking.pictures(run)
