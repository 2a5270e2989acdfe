"""Whatever is written reads back, an independent reader sees the same, and nothing is half-written."""

import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.images.decode import decode
from uit_jax.images.encode import holds, write


def _image(channels, dtype, height=9, width=14):
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def _holding(suffixes):
    dtypes = {8: np.uint8, 16: np.uint16}
    return [
        (suffix, channels, dtypes[depth])
        for suffix in suffixes
        for channels in (1, 2, 3, 4, 7)
        for depth in (8, 16)
        if holds(suffix, channels, depth)
    ]


@pytest.mark.parametrize("suffix, channels, dtype", _holding([".png", ".tif", ".TIFF", ".npy", ".bmp"]))
def test_what_is_written_reads_back(tmp_path, suffix, channels, dtype):
    image, path = _image(channels, dtype), tmp_path / "new" / f"image{suffix}"
    write(path, image)
    found = decode(path.read_bytes(), channels=channels, depth=image.itemsize * 8)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix, channels, dtype", _holding([".jpg", ".webp"]))
def test_lossy_formats_keep_the_picture(tmp_path, suffix, channels, dtype):
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    image = np.repeat(np.minimum(ramp[:, None], ramp)[..., None], channels, -1)
    if channels == 4:
        image[..., 3] = 255
    write(tmp_path / f"image{suffix}", image)
    found = decode((tmp_path / f"image{suffix}").read_bytes(), channels=channels)
    assert np.abs(found.astype(int) - image).max() < 16


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_others_read_sixteen_bit_pngs(tmp_path, channels):
    tf = pytest.importorskip("tensorflow")
    image = _image(channels, np.uint16)
    write(tmp_path / "image.png", image)
    found = tf.io.decode_png((tmp_path / "image.png").read_bytes(), dtype=tf.uint16).numpy()
    np.testing.assert_array_equal(found, image)
    Image.open(tmp_path / "image.png").load()


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_others_read_sixteen_bit_tiffs(tmp_path, channels):
    image = _image(channels, np.uint16)
    write(tmp_path / "image.tif", image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "image.tif").reshape(image.shape), image)
    if channels == 3:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "image.tif")), image >> 8)


@pytest.mark.parametrize(
    "name, channels, dtype, line",
    [
        ("x.jpg", 3, np.uint16, r"x.jpg: .jpg cannot hold 3 channels of 16 bits; write .png or .tif or .npy"),
        ("x.png", 5, np.uint8, r"x.png: .png cannot hold 5 channels of 8 bits; write .tif or .npy"),
        ("x.bmp", 1, np.uint16, "cannot hold 1 channel of 16 bits"),
        ("x.gif", 3, np.uint8, "written as .png, .jpg"),
        ("x", 3, np.uint8, "written as .png, .jpg"),
    ],
)
def test_what_a_suffix_cannot_hold(tmp_path, name, channels, dtype, line):
    with pytest.raises(UserError, match=line) as caught:
        write(tmp_path / name, _image(channels, dtype))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_arrays_that_are_no_images(tmp_path):
    for array in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="an image is uint8 or uint16"):
            write(tmp_path / "x.png", array)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "image.tif"
    write(path, _image(7, np.uint16))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(UserError, match="cannot be written: No space left"):
            write(path, _image(5, np.uint16))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["image.tif"]
    with pytest.raises(UserError, match="cannot be written"):
        write(path / "below.npy", _image(5, np.uint16))
