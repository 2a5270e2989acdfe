"""`uit inspect`: maps and colours that follow from the codes, on translators of which the answer is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests import toy, toy_translator
from uit_jax import checkpoint, main
from uit_jax.errors import UserError
from uit_jax.images import encode as encoding
from uit_jax.images import pictures
from uit_jax.inference import inspection


def inspect(image, points, method=None, **options):
    return inspection.inspect(method or toy_translator.method(), toy_translator.variables(), image, points, **options)


def noise(height, width, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype)


def shifted(rows, columns):
    """Return a method that moves images down and to the right; the codes of layer 1 are halves of the image."""

    def codes(variables, images):
        unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
        return {0: unit(images), 1: unit(images[:, ::2, ::2])}

    def translate(variables, inputs):
        return jnp.roll(inputs["content"], (rows, columns), (1, 2))

    return toy.altered(toy_translator.method(), translate=translate, readouts={"patch_codes": codes})


def test_a_map_peaks_where_the_point_came_from():
    image, points = noise(40, 60), [(0.5, 0.5), (0.25, 0.75), (0.999, 0.01)]
    for layer, side in ((0, 1), (1, 2), (None, 2)):
        found = inspect(image, points, shifted(4, 6), layer=layer)
        assert found.layers == (0, 1) and found.layer == (1 if layer is None else layer)
        assert found.maps.shape == (3, 40 // side, 60 // side) and found.components.shape == (
            2,
            40 // side,
            60 // side,
            3,
        )
        for (x, y), values in zip(points, found.maps, strict=True):
            assert values.max() == pytest.approx(1, abs=1e-5)
            row, column = np.unravel_index(values.argmax(), values.shape)
            place = (int(y * 40 / side), int(x * 60 / side))
            assert (row, column) == ((place[0] - 4 // side) % (40 // side), (place[1] - 6 // side) % (60 // side))
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.translation, np.roll(image, (4, 6), (0, 1)))


def test_the_codes_of_the_toys_layers_are_read():
    method, variables, image = toy_translator.method(), toy_translator.variables(), noise(24, 32)
    found = inspect(image, [(0.5, 0.5)])
    content = (image / 127.5 - 1).astype(np.float32)[None]
    codes = method.readouts["patch_codes"](variables, jnp.asarray(content))[3][0]
    drawn = method.translate(variables, {"content": jnp.asarray(content)})
    query = method.readouts["patch_codes"](variables, drawn)[3][0, 6, 8]
    np.testing.assert_allclose(found.maps[0], codes @ query, atol=1e-4)


def test_large_images_are_shrunk_and_odd_ones_fitted():
    found = inspect(noise(101, 203), [(0.5, 0.5)], longest=50)
    assert found.image.shape == (24, 50, 3) and found.translation.shape == (24, 50, 3)
    assert inspect(noise(3, 9), [(0.5, 0.5)]).image.shape == (8, 8, 3)
    deep = inspect(noise(16, 16, np.uint16), [(0.5, 0.5)])
    assert deep.image.dtype == deep.translation.dtype == np.uint16


def test_components_are_those_of_an_svd_and_common_to_both():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2, 8, 9, 5)) * np.array([1, 9, 4, 0.1, 0.1]) + 3
    shown = inspection.principal_components(codes)
    flat = codes.reshape(-1, 5) - codes.reshape(-1, 5).mean(0)
    parts = flat @ np.linalg.svd(flat, full_matrices=False)[2][:3].T
    for k in range(3):
        inner = (shown[..., k] > 0) & (shown[..., k] < 255)
        assert abs(np.corrcoef(shown[..., k][inner], parts[:, k].reshape(2, 8, 9)[inner])[0, 1]) > 0.999
    # One code has one colour, wherever it is.
    codes[1, 2, 3] = codes[0, 5, 6]
    shown = inspection.principal_components(codes)
    np.testing.assert_array_equal(shown[1, 2, 3], shown[0, 5, 6])
    np.testing.assert_array_equal(inspection.principal_components(codes[..., :1])[..., 1:], 0)
    assert inspection.principal_components(np.ones((2, 4, 4, 6))).dtype == np.uint8


def test_the_picture_rings_point_and_peak():
    image = np.full((64, 64, 3), 90, np.uint8)
    maps = np.full((1, 32, 32), -0.5, np.float32)
    maps[0, 8, 24] = 1
    components = np.stack([np.full((32, 32, 3), 30, np.uint8), np.full((32, 32, 3), 60, np.uint8)])
    found = inspection.Inspected(image, image, 1, (0, 1), maps, components, [(0.25, 0.75)], ["here"])
    picture = found.render()
    left = picture.shape[1] - pictures.MARGIN - 3 * 64 - 2 * pictures.GAP
    top = picture.shape[0] - pictures.MARGIN - 2 * 64 - pictures.GAP

    def cell(row, column):
        y, x = top + row * (64 + pictures.GAP), left + column * (64 + pictures.GAP)
        return picture[y : y + 64, x : x + 64].astype(int)

    def middle_of_ring(cell):
        rows, columns = np.nonzero((cell == 255).all(-1))
        return columns.mean(), rows.mean()

    assert (cell(0, 0) == 90).all() and (cell(0, 2) == 30).all() and (cell(1, 2) == 60).all()
    np.testing.assert_allclose(middle_of_ring(cell(1, 1)), (16, 48), atol=1)
    np.testing.assert_allclose(middle_of_ring(cell(0, 1)), (49, 17), atol=1)
    # Far from the peak the map is negative: the image, dimmed and gray.
    assert (cell(0, 1)[40:, :20] == 36).all()


@pytest.fixture
def uit(tmp_path, monkeypatch):
    def call(*arguments, method=None):
        found = toy.config(16), method or toy_translator.method(image_size=16)
        state = SimpleNamespace(step=7, variables=toy_translator.variables(), **toy.variables())
        monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(*found, state))
        return main.main(["inspect", f"--workdir={tmp_path}", *(str(a) for a in arguments)])

    return call


def test_the_command_writes_one_picture_and_always_the_same(tmp_path, uit, capsys):
    encoding.write(tmp_path / "c.png", noise(40, 60))
    for name in ("a.png", "b.png"):
        assert uit(f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / name}") == 0
    assert "c.png, layer 3 of 0, 3, step 7" in capsys.readouterr().out
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    np.testing.assert_array_equal(first, second)
    points = ["--points=5,5;59,39", "--layer=0"]
    assert uit(f"--content={tmp_path / 'c.png'}", *points, f"--out={tmp_path / 'p.png'}") == 0
    assert np.asarray(Image.open(tmp_path / "p.png")).shape[1] < first.shape[1]


def test_errors_are_one_line(tmp_path, uit, capsys):
    encoding.write(tmp_path / "c.png", noise(40, 60))
    (tmp_path / "torn.png").write_bytes(b"torn")
    content, out = f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / 'o.png'}"
    cases = [
        ([f"--content={tmp_path / 'no.png'}", out], "no.png: no such file"),
        ([f"--content={tmp_path}", out], "give one image, not a folder"),
        ([f"--content={tmp_path / 'torn.png'}", out], "torn.png cannot be read: not an image"),
        ([content, f"--out={tmp_path / 'o.xyz'}"], "give the name of a picture"),
        ([content, f"--out={tmp_path / 'c.png'}"], "c.png is one of the files that are read"),
        ([content, f"--out={tmp_path / 'torn.png'}"], "torn.png is there already"),
        ([content, out, "--layer=2"], "--layer=2: the method compares layers 0, 3"),
        ([content, out, "--points=60,1"], "60,1 lies outside the image of 60 x 40 px"),
    ]
    for arguments, message in cases:
        assert uit(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("uit: ") and message in error and error.count("\n") == 1
    assert uit(content, out, method=toy.method(2)) == 2
    assert "compares no patches" in capsys.readouterr().err
    for points in ("1", "1,2,3", "a,b", "-1,2", ""):
        with pytest.raises(SystemExit):
            uit(content, out, f"--points={points}")
    assert not (tmp_path / "o.png").exists()


def test_only_the_layer_that_is_asked_for_is_computed():
    def codes(variables, images):
        def never(x):
            raise AssertionError("a layer that nobody asked for")

        wrong = jax.pure_callback(never, jax.ShapeDtypeStruct(images.shape, images.dtype), images)
        return {0: images, 9: wrong}

    method = toy.altered(shifted(0, 0), readouts={"patch_codes": codes})
    assert inspect(noise(16, 16), [(0.5, 0.5)], method, layer=0).layers == (0, 9)
    with pytest.raises(UserError, match="layers 0, 9"):
        inspect(noise(16, 16), [(0.5, 0.5)], method, layer=1)
