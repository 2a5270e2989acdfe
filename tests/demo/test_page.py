"""What becomes of a click, without a browser: whatever goes wrong is a sentence, and names are text."""

import pytest

from tests.demo.made import picture
from uit_jax import demo
from uit_jax.demo import offers
from uit_jax.demo.requests import Studio
from uit_jax.demo.worker import Worker

pytestmark = pytest.mark.skipif(bool(demo.missing()), reason="gradio is not installed")


def test_what_goes_wrong_is_told_in_a_sentence(run, tmp_path, caplog):
    from uit_jax.demo import page

    found, studio, content = offers.of(run), Studio(run, most=1), picture(tmp_path / "<b>.png")
    with Worker(studio.draw, most=1, waiting=1) as worker:
        draw = page.Page(found, studio, worker, tmp_path).draw
        for given, told in (
            ((None, "random"), "Hand in an image to translate first."),
            ((content, "reference"), "Hand in a reference first"),
            ((content, None), "Choose a style first."),
            ((content, "domain", None, None, 0, 99), "Choose one of the styles first."),
            ((content, "random", None, None, 0, 0, 0, 3, 99), "must be 5 at most"),
            ((content, "random", None, None, 0, 0, 0, None), "The seed must be a whole number."),
            ((content, "domain", None, None, 0, float("nan")), "The style must be a whole number."),
            ((tmp_path.parent, "random"), "of other files nothing is told"),
            ((tmp_path / ".." / "secret.png", "random"), "of other files nothing is told"),
            ((tmp_path, "random"), "The image is not here any more"),
        ):
            image, said, near = draw(*given)
            assert image is None and told in said and "role='alert'" in said and near == ""
        image, said, near = draw(content, "class", None, None, 0, 0, 2)
        assert image.shape == (16, 16, 3) and "Drawn in" in said and near.count("<figure>") == 8
        assert worker._places.acquire(blocking=False)
        assert "Too many are waiting" in draw(content, "class")[1]
        worker._places.release()
        studio.content = None  # what nobody has thought of
        assert "Something went wrong here" in draw(content, "class")[1] and "a request failed" in caplog.text


def test_names_are_text_on_the_page():
    from uit_jax.demo import page

    near = [offers.Near("data:image/webp;base64,AA", "<img src=x onerror=alert(1)>'", 0.5)]
    assert "<img src=x" not in page.nearest_html(near)
    lacking = offers.Offers("<script>", "<b>", styled=False, sampled=False)
    assert "<script>" not in page.header_html(lacking) and "<b>" not in page.header_html(lacking)
