"""The pictures of a training run: what they show of a method with styles, and of one that translates domains."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from tests import toy
from tests.images.test_pictures import at, colors, flat
from uit_jax.training import grids


def test_style_grids_show_what_the_method_draws():
    contents, references = np.stack([flat(90), flat(120)]), np.stack([flat((200, 40, 40)), flat((40, 40, 200))])
    drawn = grids.style_grids(toy.method(), toy.variables(), contents, references, references)
    assert set(drawn) == {"translations", "domains"}
    for row in (1, 2):
        for column, reference in enumerate(references, start=1):
            # The toy gives the content the reference's mean colour; these contents have nothing else.
            assert np.abs(at(drawn["translations"], row, column).astype(int) - reference).max() <= 1
    assert colors(drawn["domains"]) == {(255, 255, 255), (200, 40, 40), (40, 40, 200)}


def test_styles_are_those_of_the_side_that_is_translated_to():
    """Contents are of the first."""

    class Nine(SimpleNamespace):
        channels = 3

        def __len__(self):
            return 9

        def images(self, indices):
            return np.stack([self.image] * len(indices))

    sides = {"a": Nine(image=flat((200, 40, 40))), "b": Nine(image=flat((40, 40, 200)))}
    method = toy.altered(toy.method(), readouts={"style": toy.method().style})
    drawn = grids.render(method, toy.variables(), sides)["translations"]
    for place, color in {(1, 0): (200, 40, 40), (0, 1): (40, 40, 200), (1, 1): (40, 40, 200)}.items():
        assert np.abs(at(drawn, *place).astype(int) - color).max() <= 1


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
    grid = grids.side_grids(painter(traced), toy.variables(), {"a": a, "b": b})["translations"]
    assert {(10, 0, 0), (0, 10, 0), (0, 30, 0)} <= colors(grid)
    # B is shown where there is some, one cell lower than wide.
    assert {(0, 0, 90), (90, 0, 0)} <= {tuple(int(v) for v in c) for c in np.unique(grid.reshape(-1, 3), axis=0)}
    assert traced == [(3, 32, 32, 3), (1, 20, 52, 3)]
    alone = grids.side_grids(painter(), toy.variables(), {"a": a})["translations"]
    assert alone.shape[1] < grid.shape[1] and {(20, 0, 0), (0, 20, 0)} <= colors(alone)


def test_side_grids_show_the_upper_bits_of_sixteen():
    deep = np.full((1, 64, 64, 3), (100 * 257, 0, 200 * 257), np.uint16)
    grid = grids.side_grids(painter(), toy.variables(), {"a": deep})["translations"]
    assert {(100, 0, 200), (200, 100, 0)} <= colors(grid)
