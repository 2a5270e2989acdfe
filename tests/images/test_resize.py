"""Resizing by the rules of the standard tools, whose own pixels are golden values: of ramps, which tell the places."""

import numpy as np
import pytest
from PIL import Image

from uit_jax.images.resize import MODES, centred, resize


def ramp(size):
    """A gray image whose columns count up: float32 [3, size, 1]."""
    return np.broadcast_to(np.arange(size, dtype=np.float32)[None, :, None], (3, size, 1))


@pytest.mark.parametrize("size, side", [(8, 20), (20, 8), (7, 7)])
def test_pixels_are_taken_by_their_centres_or_their_corners(size, side):
    steps = np.arange(side)
    for mode, places in (
        ("pytorch_fid", (steps + 0.5) * size / side - 0.5),
        ("legacy_pytorch", (steps + 0.5) * size / side - 0.5),
        ("legacy_tensorflow", steps * size / side),
        ("nearest_normalized_twice", steps * size // side),
    ):
        for image in (ramp(size), ramp(size).transpose(1, 0, 2)):
            found = resize(image, side, mode)[..., 0]
            found = found if image.shape[0] == 3 else found.T
            assert found.shape == (side, side) and found.dtype == np.float32
            np.testing.assert_allclose(found[1], np.clip(places, 0, size - 1), atol=1e-5, err_msg=mode)


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_pillow_rounds_what_is_of_8_bits_and_clean_keeps_its_range():
    images = pixels(2, 30, 50, 3)
    found = resize(images, 16, "pillow_bilinear")
    wanted = [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)) for image in images]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)
    # Between black and white a bicubic curve overshoots.
    edge = np.repeat(np.array([0, 255], np.uint8), 8)[None, :, None].repeat(16, 0)
    found = resize(edge, 64, "clean")
    assert found.dtype == np.float32 and found.min() == 0 and found.max() == 255


@pytest.mark.parametrize("mode", MODES)
def test_each_image_and_channel_is_resized_by_itself(mode):
    images = pixels(2, 3, 9, 12, 3)
    found = resize(images, 5, mode)
    assert found.shape == (2, 3, 5, 5, 3)
    np.testing.assert_array_equal(found[1, 2], resize(images[1, 2], 5, mode))
    np.testing.assert_array_equal(found[..., 1:2], resize(images[..., 1:2], 5, mode))
    # An image of the side wanted stays as it is.
    np.testing.assert_allclose(resize(images[..., :9, :], 9, mode), images[..., :9, :], atol=1e-5)


def test_the_range_is_the_tools_own():
    ends = np.array([[[0] * 3, [255] * 3]], np.uint8)
    for mode in ("pytorch_fid", "pillow_bilinear"):
        np.testing.assert_allclose(centred(ends, mode)[0, :, 0], [-1, 1])
    for mode in ("clean", "legacy_pytorch", "legacy_tensorflow"):
        np.testing.assert_allclose(centred(ends, mode)[0, :, 0], [-1, 127 / 128])
    means, deviations = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = [2 * (value - means) / deviations - 1 for value in (0, 1)]
    np.testing.assert_allclose(centred(ends, "nearest_normalized_twice")[0], wanted, rtol=1e-6)


def test_another_name_is_refused():
    for call in (lambda: resize(ramp(4), 3, "cleaned"), lambda: centred(ramp(4), "cleaned")):
        with pytest.raises(ValueError, match="no mode of resizing is called 'cleaned'; known: pytorch_fid, "):
            call()
