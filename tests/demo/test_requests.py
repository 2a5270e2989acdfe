"""Requests: drawn as the model draws them one by one, in batches of a few sizes; what is no image is told in words."""

import numpy as np
import pytest
from PIL import Image

from tests.demo.made import SIZE, Sampling, Unstyled, picture, trained
from uit_jax.demo.requests import Blend, Code, Limits, Request, Sampled, Studio
from uit_jax.errors import UserError
from uit_jax.inference import batched


def test_requests_drawn_together_are_as_the_model_draws_each(run):
    studio = Studio(run, most=4)
    images = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE, 3), np.uint8)
    a, b = (run.encode(image) for image in images[3:])
    styles = [Blend((images[3],)), Code(b[0]), Blend((images[3], images[4]), 0.25), Sampled(7, 2), Sampled(7)]
    drawn = studio.draw([Request(studio.content(image), style) for image, style in zip(images, styles, strict=True)])
    expected = [a, b, 0.75 * a + 0.25 * b, run.sample(1, 7, 2), run.sample(1, 7)]
    for image, code, each in zip(images, expected, drawn, strict=True):
        np.testing.assert_allclose(each.code, code[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(each.image, run.translate(image, style=each.code))


def test_nothing_is_compiled_for_a_request(run, monkeypatch):
    studio = Studio(run, most=6)
    assert studio.sizes == [1, 2, 4, 6]
    studio.compile()
    seen = []
    # A function that a program is made of is called only while it is compiled.
    monkeypatch.setattr(Sampling, "translate", lambda *_: seen.append("translate"))
    monkeypatch.setattr(Sampling, "read_style", lambda *_: seen.append("read_style"))
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for count in range(1, 7):
        assert len(studio.draw([Request(studio.content(image), Blend((image, image), 0.5))] * count)) == count
    assert not seen


def test_without_styles_an_image_keeps_its_proportions_and_is_drawn_in_one_size(monkeypatch, tmp_path):
    run = trained(monkeypatch, tmp_path / "run", Unstyled)
    shapes = []
    monkeypatch.setattr(batched, "translate", lambda *given, **_: shapes.append(given[2].shape) or 255 - given[2])
    studio = Studio(run, most=2, side=32)
    for size, expected in (((64, 32), (16, 32)), ((10, 20), (20, 10)), ((1, 400), (32, 1))):
        path = picture(tmp_path / "image.png", 30, size)
        ((image, code),) = studio.draw([Request(studio.content(path), None)])
        assert image.shape == (*expected, 3) and code is None and (image == 225).all()
    assert set(shapes) == {(1, 32, 32, 3)}


def bomb(path):
    Image.new("L", (3_000, 2_000)).save(path)


@pytest.mark.parametrize(
    "write, told",
    [
        (lambda path: path.write_bytes(b"GIF89a, and no more"), "The reference cannot be read: "),
        (lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "cannot be read: not an image."),
        (lambda path: path.write_bytes(b""), "cannot be read: empty file."),
        (lambda path: path.write_bytes(bytes(2**19 + 1)), "cannot be read: its file has more than 0.5 MB."),
        (bomb, "cannot be read: it has more than 1 million pixels."),
        (lambda path: None, "cannot be read: it is not here any more, hand it in again."),
    ],
)
def test_what_is_no_image_within_limits_is_told_in_a_sentence(run, tmp_path, write, told):
    write(tmp_path / "image.png")
    with pytest.raises(UserError) as caught:
        Studio(run, limits=Limits(2**19, 1_000_000)).reference(tmp_path / "image.png")
    assert told in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_what_no_page_can_do_is_told_at_the_start(monkeypatch, tmp_path, run):
    with pytest.raises(UserError, match="--size=64: this method draws at the model's size, 16"):
        Studio(run, side=64)
    other = trained(monkeypatch, tmp_path / "other", **{"data.channels": 5})
    with pytest.raises(UserError, match="images of 5 channels, which no browser shows"):
        Studio(other)
