"""Images drawn in tiles are those drawn whole."""

import itertools
import math

import jax
import numpy as np
import pytest

from tests import toy_translator as toy
from tests.toy import altered
from uit_jax import methods
from uit_jax.inference import tiling
from uit_jax.nn.norms import instance_norm
from uit_jax.types import Stage


def picture(height, width, channels=3, seed=0):
    """Draw an image whose parts differ, so that a tile's statistics are not the image's: float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-0.8, 0.8, height)[:, None, None] * np.linspace(1, -0.3, width)[None, :, None]
    return np.clip(ramp + 0.2 * rng.normal(size=(height, width, channels)), -1, 1).astype(np.float32)


def whole(method, variables, image):
    return np.asarray(jax.jit(method.translate)(variables, {"content": image[None]})[0])


@pytest.mark.parametrize("size, tile", [((40, 56), 16), ((34, 90), 12), ((8, 64), 16)])
def test_tiles_of_any_size_give_the_whole(size, tile):
    method, variables, image = toy.method(), toy.variables(), picture(*size)
    drawn = tiling.translate_tiled(method, variables, image, tile=tile, budget=0)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, whole(method, variables, image), atol=1e-5)


def test_every_pixel_keeps_its_place():
    method, variables, image = toy.method(placed=True), toy.variables(), picture(48, 60)
    expected = whole(method, variables, image)
    np.testing.assert_allclose(tiling.translate_tiled(method, variables, image, tile=20, budget=0), expected, atol=1e-5)


def test_other_statistics_and_a_short_halo_are_seen():
    """What the comparison above would miss would not be worth much."""
    method, variables, image = toy.method(), toy.variables(), picture(48, 60)
    expected = whole(method, variables, image)

    def alone(stage):
        def run(variables, maps, normalize, origin):
            return stage.run(variables, maps, instance_norm, origin)

        return Stage(run, stage.scale, stage.halo)

    own = altered(method, stages=tuple(map(alone, method.stages)))
    assert np.abs(tiling.translate_tiled(own, variables, image, tile=16, budget=0) - expected).max() > 0.1
    short = toy.method(halo=1)
    assert np.abs(tiling.translate_tiled(short, variables, image, tile=16, budget=0) - expected).max() > 1e-2


def test_a_pass_is_one_program_and_a_tile_of_one_shape():
    traced = []
    method, variables = toy.method(traced=traced), toy.variables()
    for seed in (0, 1):
        tiling.translate_tiled(method, variables, picture(48, 60, seed=seed), tile=16, budget=0)
    plans = [("encode", 48, 60, 3), ("decode", 24, 30, 12)]
    passes = [("encode", 16, 16, 3)] * 3 + [("decode", 8, 8, 12)] * 2
    # The second image compiles nothing: only its plan is made.
    assert traced == plans + passes + plans


def test_a_stage_that_fits_runs_whole():
    method, variables, image = toy.method(), toy.variables(), picture(48, 60)
    expected = whole(method, variables, image)
    told = {}
    for budget in (0, 48 * 60 * 6 * 4, 50 * 62 * 12 * 4, 10**9):
        done = []
        drawn = tiling.translate_tiled(
            method, variables, image, tile=16, budget=budget, progress=lambda *n, done=done: done.append(n)
        )
        np.testing.assert_allclose(drawn, expected, atol=1e-5)
        assert done == [(i + 1, len(done)) for i in range(len(done))]
        told[budget] = len(done)
    first, second = (
        math.prod(len(tiling.spans(side, length, 2)) for side in sides)
        for sides, length in (((48, 60), 16), ((24, 30), 8))
    )
    assert list(told.values()) == [3 * first + 2 * second, 3 * first + 1, 2, 2]


@pytest.mark.parametrize("side, length, halo", [*itertools.product((37, 64, 120), (20, 40), (0, 3, 5))])
def test_spans_cover_an_axis_once_and_leave_the_halo(side, length, halo):
    found = tiling.spans(side, length, halo)
    covered = np.concatenate([np.arange(span.begin, span.end) for span in found])
    np.testing.assert_array_equal(covered, np.arange(side))
    assert {span.stop - span.start for span in found} == {min(length, side)}
    for span in found:
        assert 0 <= span.start <= span.begin < span.end <= span.stop <= side
        assert span.begin - span.start >= (halo if span.start else 0)
        assert span.stop - span.end >= (halo if span.stop < side else 0)


def test_spans_begin_at_multiples():
    found = tiling.spans(400, 64, 12)
    assert all(value % 4 == 0 for span in found for value in span)


def test_moments_merge_exactly_far_from_zero():
    values = 3e4 + np.random.default_rng(0).normal(size=(1000, 5))
    parts = np.split(values, [1, 37, 38, 700])
    moments = [tiling.Moments(len(p), p.mean(0), ((p - p.mean(0)) ** 2).sum(0)) for p in parts]
    merged = moments[0]
    for other in moments[1:]:
        merged = merged.merge(other)
    assert merged.count == 1000
    np.testing.assert_allclose(merged.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.deviation / 1000, values.var(0), rtol=1e-9)


def test_a_method_without_stages_cannot():
    with pytest.raises(ValueError, match="0 stages"):
        tiling.translate_tiled(altered(toy.method(), stages=()), toy.variables(), picture(8, 8))
    with pytest.raises(ValueError, match="cannot be drawn"):
        tiling.translate_tiled(toy.method(), toy.variables(), picture(8, 9))


NARROW = dict(width=4, blocks=1)
SMALL = dict(image_size=32, load_size=32, patches=dict(layers=(0, 4)))
BACK = dict(image_size=32, load_size=32, generator=NARROW, identity_weight=0.0, target_channels=1)
REAL = {
    "cut": ("cut", SMALL | dict(generator=NARROW)),
    "cut_aliased": ("cut", SMALL | dict(generator=NARROW | dict(antialias=False, antialias_up=False))),
    "cut_batch_norm": ("cut", SMALL | dict(generator=NARROW, norm="batch")),
    "cut_other_channels": ("fastcut", SMALL | dict(generator=NARROW, channels=1, target_channels=3)),
    "cyclegan_back": ("cyclegan", BACK),
    "sincut": ("sincut", dict(generator=dict(width=1), image_size=16, discriminator=dict(width=1))),
}


def drawn_weights(method, unit=False):
    """Draw what `translate` needs so that activations stay of one size, without compiling the method's own init."""
    state = jax.eval_shape(lambda: method.variables(method.init(jax.random.key(0), 1)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return values if unit else values / np.sqrt(np.prod(leaf.shape[:-1]))
        return np.abs(values) + 0.5 if path[-1].key in ("var", "scale") else 0.1 * values

    generators = {name: part for name, part in state.items() if name.startswith("generator")}
    return jax.tree_util.tree_map_with_path(draw, generators)


@pytest.mark.parametrize("case", REAL)
def test_the_published_networks_are_drawn_alike(case):
    name, hparams = REAL[case]
    method = methods.build(name, hparams)
    variables = drawn_weights(method, unit=name == "sincut")
    if case.endswith("_back"):
        method, variables = method.exchanged(variables)
    image = picture(100, 132, method.channels)
    expected = whole(method, variables, image)
    assert expected.std() > 0.05
    done = []
    drawn = tiling.translate_tiled(
        method, variables, image, tile=64, budget=0, progress=lambda done_, total: done.append(total)
    )
    assert len(done) > len(method.stages)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)


def test_bfloat16_stays_bfloat16_between_stages():
    method = methods.build("cut", SMALL, generator=NARROW, precision="bf16")
    variables, image = drawn_weights(method), picture(68, 72)
    difference = tiling.translate_tiled(method, variables, image, tile=64, budget=0) - whole(method, variables, image)
    # A rounding that falls otherwise is one unit of 2^-8 and spreads; it has no direction.
    assert math.sqrt(np.square(difference).mean()) < 0.02 and abs(difference.mean()) < 2e-3
