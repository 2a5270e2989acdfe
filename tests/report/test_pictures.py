"""Pictures as data: where each lies in a sheet, how many fit on a page, and files that are none."""

import base64
import io

import numpy as np
from PIL import Image

from tests.report.made import write_picture
from uit_jax.report import pictures


def opened(data):
    kind, _, text = data.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


def test_a_sheet_holds_each_image_at_its_place():
    images = [np.full((8, 8, 1), 7 * i, np.uint8) for i in range(35)]
    images[3] = np.full((80, 40, 3), 65_535, np.uint16)
    found = pictures.sheet(images)
    pixels = opened(found.data)
    assert found.size == (32 * 56, 2 * 56) and found.places[33] == (56, 56)
    for i in (0, 20, 33):
        x, y = found.places[i]
        assert abs(pixels[y + 28, x + 28] - 7 * i).max() <= 4
    x, y = found.places[3]
    assert pixels[y + 40, x + 10].min() > 250


def test_as_many_pictures_as_fit_are_spread_over_the_training(tmp_path):
    drawn = []
    for step in range(1, 11):
        write_picture(path := tmp_path / f"translations_{step}.png", step)
        drawn.append((step, path))
    notes = []
    everything = pictures.series(drawn, 10**7, notes)
    assert [each["step"] for each in everything] == list(range(1, 11)) and notes == []
    size = max(len(each["data"]) for each in everything)
    few = pictures.series(drawn, 4 * size, notes)
    assert [each["step"] for each in few] == [1, 5, 10] and sum(len(each["data"]) for each in few) <= 4 * size
    assert pictures.series(drawn, 10, notes) == [] and notes[0].endswith("is too large for the page")


def test_a_broken_picture_is_told_and_left_out(tmp_path):
    write_picture(tmp_path / "a_1.png")
    (tmp_path / "a_2.png").write_bytes((tmp_path / "a_1.png").read_bytes()[:100])
    (tmp_path / "a_3.png").write_text("<svg onload=alert(1)>")
    notes = []
    found = pictures.series([(i, tmp_path / f"a_{i}.png") for i in (1, 2, 3)], 10**6, notes)
    assert [each["step"] for each in found] == [1] and len(notes) == 2 and "a_2.png cannot be shown" in notes[1]
