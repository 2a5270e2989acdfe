"""Pictures show what they are given, each cell in its place, and captions hide none."""

import numpy as np
import pytest
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.images import charts, pictures


def flat(color, size=64, channels=3):
    return np.full((size, size, channels), color, np.uint8)


def colors(picture):
    """Return the colours that fill cells, as opposed to white and the grays of captions."""
    found, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(int(v) for v in color) for color, count in zip(found, counts, strict=True) if count >= 64 * 64 // 2}


def at(picture, row, column):
    """Return the cell of a picture without captions as its pixels, by the layout's own arithmetic."""
    step = 64 + pictures.GAP
    y = pictures.MARGIN + row * step + (pictures.FRAME if row else 0)
    x = pictures.MARGIN + column * step + (pictures.FRAME if column else 0)
    return picture[y : y + 64, x : x + 64]


def test_a_grid_has_references_on_top_contents_on_the_left_and_a_white_corner():
    contents, references = [flat((10, 0, 0)), flat((20, 0, 0))], [flat((0, 30, 0)), flat((0, 40, 0)), flat((0, 50, 0))]
    drawn = [[flat((c, r, 0)) for r in (30, 40, 50)] for c in (10, 20)]
    picture = pictures.reference_grid(contents, references, drawn)
    assert picture.dtype == np.uint8
    assert (at(picture, 0, 0) == 255).all()
    for column, r in enumerate((30, 40, 50), start=1):
        assert (at(picture, 0, column) == (0, r, 0)).all()
        for row, c in enumerate((10, 20), start=1):
            assert (at(picture, row, 0) == (c, 0, 0)).all()
            assert (at(picture, row, column) == (c, r, 0)).all()


def test_a_grid_without_any_reference_has_no_row_for_them():
    """Its contents stand apart from what is made of them all the same."""
    drawn = [[flat((c, r, 0)) for r in (30, 40)] for c in (10, 20)]
    labels = dict(title="two styles", row_labels=["a", "b"], column_labels=["style 1", "style 2"])
    contents = [flat((10, 0, 0)), flat((20, 0, 0))]
    for how in ({}, labels):
        picture = pictures.reference_grid(contents, [None, None], drawn, **how)
        rows = [[content, *row] for content, row in zip(contents, drawn, strict=True)]
        heads = {"column_labels": ["", *how["column_labels"]]} if how else {}
        np.testing.assert_array_equal(picture, pictures.table(rows, lead=True, **how | heads))


def test_captions_take_room_and_ink_but_hide_no_image():
    contents, references = [flat((10, 0, 0))], [flat((0, 30, 0))]
    plain = pictures.reference_grid(contents, references, [[flat((10, 30, 0))]])
    labels = dict(title="step 7", row_labels=["a"], column_labels=["a very long name.png"])
    labelled = pictures.reference_grid(contents, references, [[flat((10, 30, 0))]], **labels)
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1]
    assert colors(labelled) == colors(plain) == {(255, 255, 255), (10, 0, 0), (0, 30, 0), (10, 30, 0)}
    for color in ((10, 0, 0), (0, 30, 0), (10, 30, 0)):
        assert (labelled == color).all(-1).sum() == 64 * 64
    assert (labelled < 128).any(-1).sum() > (plain < 128).any(-1).sum()


def test_captions_of_cells_stand_below_them_in_their_width():
    images = [[flat((10 * (row + 1), 0, 0)) for _ in range(3)] for row in range(2)]
    plain = pictures.table(images)
    texts = [["first\nsecond line", "", "a very long name indeed.png"], ["x"]]
    labelled = pictures.table(images, captions=texts, lead=True)
    assert labelled.shape[1] == plain.shape[1] + pictures.FRAME and colors(labelled) == colors(plain)
    below = 2 * 15 + pictures.GAP
    assert labelled.shape[0] == plain.shape[0] + 2 * below
    for row in range(2):
        y = pictures.MARGIN + row * (64 + below + pictures.GAP)
        for column in range(3):
            x = pictures.MARGIN + column * (64 + pictures.GAP) + (pictures.FRAME if column else 0)
            assert (labelled[y : y + 64, x : x + 64] == (10 * (row + 1), 0, 0)).all()
            inked = (labelled[y + 64 : y + 64 + below, x : x + 64] < 200).any()
            assert inked == (column < len(texts[row]) and texts[row][column] != "")
            # Nothing of a caption reaches beyond its cell.
            assert (labelled[y + 64 : y + 64 + below, x + 64 : x + 64 + pictures.GAP] == 255).all()


def test_small_images_are_enlarged_by_whole_pixels_and_odd_shapes_are_letterboxed():
    checker = np.indices((16, 16)).sum(0) % 2 * 200
    picture = pictures.table([[np.repeat(checker[..., None], 3, -1).astype(np.uint8)]])
    cell = picture[pictures.MARGIN : -pictures.MARGIN, pictures.MARGIN : -pictures.MARGIN]
    np.testing.assert_array_equal(cell[..., 0], np.kron(checker, np.ones((4, 4))))

    wide = pictures.table([[flat(7)[:32], flat(9)]])
    cell = wide[pictures.MARGIN : -pictures.MARGIN, pictures.MARGIN : pictures.MARGIN + 64]
    assert (cell[16:48] == 7).all() and (cell[:16] == 255).all() and (cell[48:] == 255).all()


def test_large_images_are_shrunk():
    assert pictures.table([[flat(7, size=1000)]]).shape[0] == pictures.LARGEST_CELL + 2 * pictures.MARGIN


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_is_drawn(channels):
    assert pictures.table([[flat(7, channels=channels)]]).shape[-1] == 3


def test_domains_have_a_row_each_with_their_members():
    images = np.stack([flat((10 * i, 0, 0)) for i in range(5)])
    picture = pictures.domain_grid(images, np.array([2, 0, 2, 2, 0]), 4, members=2)
    rows = []
    for row in range(4):
        y = pictures.MARGIN + row * (64 + pictures.GAP)
        rows.append(colors(picture[y : y + 64]) - {(255, 255, 255)})
    # Two members each are shown, the first and the last; domains 1 and 3 are empty.
    assert rows == [{(10, 0, 0), (40, 0, 0)}, set(), {(0, 0, 0), (30, 0, 0)}, set()]


def test_of_many_domains_the_largest_are_drawn():
    images = np.stack([flat((i, 0, 0)) for i in range(60)])
    domains = np.concatenate([np.arange(40), np.full(20, 999)])
    picture = pictures.domain_grid(images, domains, 1000, rows=5)
    assert picture.shape[0] == 2 * pictures.MARGIN + 5 * 64 + 4 * pictures.GAP


def test_a_mosaic_shows_the_first_four():
    images = [flat(10 * i) for i in range(1, 7)]
    tiles = pictures.mosaic(images)
    assert tiles.shape == (64, 64, 3)
    assert [tiles[y, x, 0] for y in (10, 50) for x in (10, 50)] == [10, 20, 30, 40]
    np.testing.assert_array_equal(pictures.mosaic(images[:1]), images[0])
    assert pictures.mosaic(images, 32).shape == pictures.mosaic(images[:1], 32).shape == (32, 32, 3)


def test_save_writes_the_format_of_the_name_and_nothing_beside_it(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    pictures.save(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), image)
    pictures.save(tmp_path / "gray.png", image[..., :1])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "gray.png")), image[..., 0])
    pictures.save(tmp_path / "a.jpg", image)
    assert Image.open(tmp_path / "a.jpg").format == "JPEG"
    with pytest.raises(UserError, match=r"a\.xyz: pictures are written as"):
        pictures.save(tmp_path / "a.xyz", image)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.jpg", "a.png", "gray.png"]


def test_save_says_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        pictures.save(tmp_path / "file" / "a.png", flat(0))


def test_what_has_accents_is_drawn_without_them():
    def drawn(text):
        return pictures.table([[flat(9)]], title=text, row_labels=[text], column_labels=[text], captions=[[text]])

    assert np.array_equal(drawn("Fréchet"), drawn("Frechet"))
    assert np.array_equal(charts.chart([1, 2], [0, 1], "Fréchet"), charts.chart([1, 2], [0, 1], "Frechet"))
