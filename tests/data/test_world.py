"""The procedural world: what a scene shows, and what the true translation of a pair is."""

import colorsys
import dataclasses

import numpy as np
import pytest

from uit_jax.data import world as worlds
from uit_jax.data.world import SPECIES, Scenes, World
from uit_jax.errors import UserError

SMALL = World(species=8, size=32, count=40, test_count=16)


def scene(species=0, *, position=(0.0, 0.0), scale=0.6, angle=0.0, colors=((1, 0, 0), (0, 1, 0), (0, 0, 1))) -> Scenes:
    """Return one scene; by default its object is red, its texture green, its ground blue."""
    return Scenes(
        np.array([species], np.int32),
        np.array([colors], float),
        np.array([position], float),
        np.array([scale], float),
        np.array([angle], float),
    )


def fields(scenes):
    return [getattr(scenes, field.name) for field in dataclasses.fields(scenes)]


def test_the_same_seed_draws_the_same_scenes_and_another_others():
    first, again, other = (SMALL.sample(seed, 20) for seed in (5, 5, 6))
    for one, two, three in zip(fields(first), fields(again), fields(other), strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()
    np.testing.assert_array_equal(SMALL.render(first), SMALL.render(again))


def test_train_and_test_sets_are_fixed_and_differ():
    train, test = SMALL.scenes("train"), SMALL.scenes("test")
    assert (len(train), len(test)) == (40, 16)
    np.testing.assert_array_equal(SMALL.scenes("train").position, train.position)
    assert not np.isin(test.position, train.position).any()
    reseeded = dataclasses.replace(SMALL, seed=1).scenes("train")
    assert (reseeded.position != train.position).any()
    with pytest.raises(KeyError):
        SMALL.scenes("validation")


def test_a_translation_has_the_references_species_and_colours_in_the_contents_pose():
    content, reference = SMALL.sample(0, 6), SMALL.sample(1, 6)
    truth = worlds.translation(content, reference)
    for name in ("species", "colors"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(reference, name))
    for name in ("position", "scale", "angle"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(content, name))
    back = worlds.translation(truth, content)
    np.testing.assert_array_equal(SMALL.render(back), SMALL.render(content))


def test_scenes_index_like_arrays():
    scenes = SMALL.sample(0, 6)
    chosen = scenes[np.array([4, 1])]
    assert len(chosen) == 2
    for one, two in zip(fields(chosen), fields(scenes), strict=True):
        np.testing.assert_array_equal(one, two[[4, 1]])


def test_parts_share_every_pixel_among_them():
    scenes = SMALL.sample(0, 16)
    parts = worlds.masks(scenes, 32)
    assert parts.shape == (16, 32, 32, 3) and parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(-1), 1, atol=1e-6)
    assert parts.min() >= 0
    # Object and ground are both there, and an edge shares its pixels.
    assert (parts[..., 2].mean((1, 2)) > 0.3).all() and ((1 - parts[..., 2]).mean((1, 2)) > 0.03).all()
    assert ((parts > 0.1) & (parts < 0.9)).any()


def test_an_image_mixes_the_colours_by_the_parts():
    image = World(size=32).render(scene(1))
    assert image.shape == (1, 32, 32, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.round(worlds.masks(scene(1), 32) * 255))
    assert image[0, 0, 0].tolist() == [0, 0, 255]


def test_the_object_moves_grows_and_turns_with_its_pose():
    def body(**pose):
        return 1 - worlds.masks(scene(1, **pose), 32)[0, :, :, 2]

    # x is the column, y the row: half of the image's half is 8 pixels of 32.
    np.testing.assert_array_equal(body(position=(0.25, 0)), np.roll(body(), 4, axis=1))
    np.testing.assert_array_equal(body(position=(0, -0.25)), np.roll(body(), -4, axis=0))
    # A square of scale s spans 1.6 s of the image's 2.
    assert body(scale=0.6).mean() == pytest.approx(0.48**2, rel=0.02)
    assert body(scale=0.3).mean() == pytest.approx(0.24**2, rel=0.1)
    np.testing.assert_allclose(body(angle=np.pi / 2), body(), atol=1e-6)
    assert np.abs(body(angle=np.pi / 4) - body()).max() == 1


def test_the_disks_area_is_that_of_a_circle():
    area = 1 - worlds.masks(scene(0), 64)[0, :, :, 2].mean()
    assert area == pytest.approx(np.pi * 0.54**2 / 4, rel=0.01)


def test_species_differ_in_outline():
    outlines = [worlds.masks(scene(kind), 32)[0, :, :, 2] for kind in range(len(SPECIES))]
    for kind, first in enumerate(outlines):
        for second in outlines[:kind]:
            assert np.abs(first - second).mean() > 0.01


def hue_distance(color, hue):
    return abs((colorsys.rgb_to_hsv(*color)[0] - hue + 0.5) % 1 - 0.5)


def test_an_object_has_its_species_hue_and_the_ground_any():
    scenes = SMALL.sample(3, 300)
    hues = np.array([kind.hue for kind in SPECIES])[scenes.species]
    off = [hue_distance(color, hue) for color, hue in zip(scenes.colors[:, 0], hues, strict=True)]
    assert max(off) <= 0.06 + 1e-6 and max(off) > 0.05
    grounds = [colorsys.rgb_to_hsv(*color)[0] for color in scenes.colors[:, 2]]
    counts, _ = np.histogram(grounds, bins=4, range=(0, 1))
    assert counts.min() > 40
    free = dataclasses.replace(SMALL, hue_spread=0.5).sample(3, 300)
    assert max(hue_distance(c, h) for c, h in zip(free.colors[:, 0], hues, strict=True)) > 0.4
    assert 0 <= scenes.colors.min() and scenes.colors.max() <= 1


def test_draws_keep_to_their_ranges():
    scenes = SMALL.sample(0, 500)
    assert set(scenes.species) == set(range(8)) and scenes.species.dtype == np.int32
    assert np.abs(scenes.position).max() <= 0.26 and np.abs(scenes.angle).max() <= 0.35
    assert 0.52 <= scenes.scale.min() and scenes.scale.max() <= 0.72


def test_colours_follow_the_usual_wheel():
    hue, saturation, value = np.array([0.0, 0.4, 0.9]), np.array([1.0, 0.5, 0.3]), np.array([1.0, 0.8, 0.4])
    expected = [colorsys.hsv_to_rgb(*each) for each in zip(hue, saturation, value, strict=True)]
    np.testing.assert_allclose(worlds._rgb(hue, saturation, value), expected, atol=1e-6)


def test_classes_are_the_species_names():
    assert World(species=3).classes == ("disk", "square", "triangle")


@pytest.mark.parametrize("setting", [{"species": 1}, {"species": 9}, {"size": 8}, {"count": 0}, {"test_count": 0}])
def test_a_setting_out_of_range_is_named(setting):
    with pytest.raises(UserError, match=f"procedural: .*{next(iter(setting))}"):
        World(**setting)
