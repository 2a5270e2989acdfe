"""The pictures of a training run: what they show of a method with styles, and of one that translates domains."""


import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from tests import toy
from tests.images.test_pictures import at, colors, flat
from uit_jax import data
from uit_jax.images import pictures
from uit_jax.listing import pick_evenly
from uit_jax.training import grids


def test_style_grids_show_what_the_method_draws():
    contents, references = np.stack([flat(90), flat(120)]), np.stack([flat((200, 40, 40)), flat((40, 40, 200))])
    drawn = grids.style_grids(toy.method(), toy.variables(), contents, references, references).pictures
    assert set(drawn) == {"translations", "domains"}
    for row in (1, 2):
        for column, reference in enumerate(references, start=1):
            # The toy gives the content the reference's mean colour; these contents have nothing else.
            assert np.abs(at(drawn["translations"], row, column).astype(int) - reference).max() <= 1
    assert colors(drawn["domains"]) == {(255, 255, 255), (200, 40, 40), (40, 40, 200)}


def test_references_are_drawn_as_of_their_class_where_styles_are_of_classes():
    source = data.open_source("procedural:species=3,count=70", size=16)

    def style(variables, images, domains=None):
        return jnp.zeros((len(images), 3)) if domains is None else 2 * jax.nn.one_hot(domains, 3) - 1

    def translate(variables, inputs):
        return jnp.broadcast_to(inputs["style"][:, None, None], inputs["content"].shape)

    method = toy.altered(toy.method(image_size=16), sampled_by_class=True, readouts={"style": style})
    drawn = grids.render(toy.altered(method, translate=translate), toy.variables(), {"image": source}, 3)
    chosen = pick_evenly(len(source), 64)[pick_evenly(64, 9)]
    np.testing.assert_array_equal(drawn.translations[0, :, 0, 0].argmax(-1), source.labels[chosen])


def test_domains_are_watched_where_a_method_finds_them_itself():
    images = np.stack([flat((200, 40, 40)), flat((40, 40, 200))])
    told = grids.style_grids(toy.method(), toy.variables(), images, images, images)
    assert "domains" in told.pictures and told.pseudo_domains is None
    finds = toy.altered(toy.method(), followed=("clusters",))
    domains, count = grids.style_grids(finds, toy.variables(), images, images, images).pseudo_domains
    assert domains.tolist() == [0, 2] and count == 3


def test_a_picture_says_of_how_many_images_it_shows_how_many(monkeypatch):
    told, table = [], pictures.table
    monkeypatch.setattr(pictures, "table", lambda *rows, title="", **how: told.append(title) or table(*rows, **how))
    source = data.open_source("procedural:count=70", size=16)
    grids.render(toy.method(), toy.variables(), {"image": source}, 400)
    assert told[0] == f"step 400: 8 of {len(source)} images, each in the styles of those above"
    assert told[1] == f"step 400: 64 of {len(source)} images by pseudo domain"
    few = data.open_source("procedural:count=6#0", size=16)
    grids.render(painter(), toy.variables(), {"a": source, "b": few}, 3)
    assert told[2] == f"step 3: 8 of {len(source)} images of A, {len(few)} of {len(few)} images of B"


def test_the_styles_of_a_method_of_two_domains_are_the_seconds(tmp_path):
    sources = {}
    for name, color in {"a": (90, 90, 90), "b": (40, 40, 200)}.items():
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(flat(color)).save(tmp_path / name / f"{i}.png")
        sources[name] = data.open_source(str(tmp_path / name), split="train", size=64)
    grid = grids.render(toy.method(), toy.variables(), sources, 3).pictures["translations"]
    assert {(90, 90, 90), (40, 40, 200)} <= colors(grid)


def test_sampled_styles_are_among_those_that_are_drawn(monkeypatch):
    """Of a method that samples any; beside references, of which there are as many fewer."""
    told, table = [], pictures.table
    monkeypatch.setattr(pictures, "table", lambda rows, **how: told.append((rows, how)) or table(rows, **how))
    color = jnp.array([0.2, -0.2, 0.0])
    method = toy.altered(toy.method(), style_prior=lambda variables, keys: jnp.tile(color, (len(keys), 1)))
    source = data.open_source("procedural:count=70", size=16)
    grids.render(method, toy.variables(), {"a": source, "b": source}, 9)
    (rows, how), _ = told
    assert how["title"].endswith("each in the styles of those above and in 4 sampled ones")
    assert [image is None for image in rows[0]] == [True] + [False] * 4 + [True] * 4
    for row in rows[1:]:
        # But for what is brighter than white.
        np.testing.assert_allclose([image.mean((0, 1)) for image in row[5:]], [[153, 102, 127.5]] * 4, atol=5)


def painter(traced=None):
    """Return a method without styles that moves colours from channel to channel."""

    def translate(variables, inputs):
        assert inputs["content"].shape[1] % 4 == inputs["content"].shape[2] % 4 == 0
        if traced is not None:
            traced.append(inputs["content"].shape)
        return jnp.roll(inputs["content"], 1, -1) * variables["scale"]

    return toy.altered(toy.method(), translate=translate, readouts={})


def test_side_grids_show_both_domains_and_what_becomes_of_them():
    traced = []
    a = np.stack([flat((10 * i, 0, 0), 30) for i in (1, 2, 3)])
    b = np.stack([flat((0, 0, 90), 50)])[:, :20]
    grid = grids.side_grids(painter(traced), toy.variables(), {"a": a, "b": b}).pictures["translations"]
    assert {(10, 0, 0), (0, 10, 0), (0, 30, 0)} <= colors(grid)
    # B is shown where there is some, one cell lower than wide.
    assert {(0, 0, 90), (90, 0, 0)} <= {tuple(int(v) for v in c) for c in np.unique(grid.reshape(-1, 3), axis=0)}
    assert traced == [(3, 32, 32, 3), (1, 20, 52, 3)]
    alone = grids.side_grids(painter(), toy.variables(), {"a": a}).pictures["translations"]
    assert alone.shape[1] < grid.shape[1] and {(20, 0, 0), (0, 20, 0)} <= colors(alone)


def test_side_grids_show_the_upper_bits_of_sixteen():
    deep = np.full((1, 64, 64, 3), (100 * 257, 0, 200 * 257), np.uint16)
    grid = grids.side_grids(painter(), toy.variables(), {"a": deep}).pictures["translations"]
    assert {(100, 0, 200), (200, 100, 0)} <= colors(grid)
