"""The random views, against PIL, brute force and their own limits."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from uit_jax import augment
from uit_jax.settings import AreaView, SquareView


def picture(height=12, width=12, channels=3, seed=0):
    """A smooth random image, float32 in [0, 1]."""
    coarse = np.random.RandomState(seed).uniform(size=(4, 4, channels)).astype(np.float32)
    size, bicubic = (width, height), Image.Resampling.BICUBIC
    planes = [Image.fromarray(coarse[..., c]).resize(size, bicubic) for c in range(channels)]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 1)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_affine_without_change_is_the_identity():
    for resample in ("nearest", "bilinear"):
        moved = augment.affine(picture(9, 12), 0.0, (0, 0), 0.0, resample=resample)
        np.testing.assert_allclose(moved, picture(9, 12), atol=1e-6)


def test_a_quarter_turn_is_clockwise():
    np.testing.assert_allclose(augment.affine(picture(), 90.0, (0, 0), 0.0), np.rot90(picture(), -1), atol=1e-6)


def test_translation_moves_right_and_down_and_fills():
    image = picture()
    black = augment.affine(image, 0.0, (3, 2), 0.0)
    np.testing.assert_allclose(black[2:, 3:], image[:-2, :-3], atol=1e-6)
    assert (black[:2] == 0).all() and (black[:, :3] == 0).all()
    edge = augment.affine(image, 0.0, (3, 2), 0.0, fill="edge")
    np.testing.assert_allclose(edge[2:, :3], np.repeat(image[:-2, :1], 3, axis=1), atol=1e-6)
    np.testing.assert_allclose(edge[:2, 3:], np.repeat(image[:1, :-3], 2, axis=0), atol=1e-6)


def test_bilinear_affine_averages_between_pixels():
    image = picture()
    moved = augment.affine(image, 0.0, (0.25, 0), 0.0, resample="bilinear")
    np.testing.assert_allclose(moved[:, 1:], 0.75 * image[:, 1:] + 0.25 * image[:, :-1], atol=1e-6)


@pytest.mark.parametrize(
    "angle, translate, shear", [(20.0, (1, -2), 0.0), (-13.0, (0, 3), 10.0), (5.0, (-1, 0), -25.0)]
)
def test_affine_takes_each_pixel_from_where_the_forward_map_put_it(angle, translate, shear):
    height, width = 16, 11
    image = picture(height, width)
    a, t = np.deg2rad(angle), np.tan(np.deg2rad(shear))
    forward = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.array([[1, -t], [0, 1]])
    centre = np.array([width / 2, height / 2])
    expected = np.zeros_like(image)
    for row, column in itertools.product(range(height), range(width)):
        point = np.array([column + 0.5, row + 0.5]) - centre - np.array(translate)
        x, y = np.floor(np.linalg.solve(forward, point) + centre).astype(int)
        if 0 <= x < width and 0 <= y < height:
            expected[row, column] = image[y, x]
    moved = np.asarray(augment.affine(image, angle, translate, shear))
    # A source on the border of two pixels may fall to either.
    assert (np.abs(moved - expected).max(-1) < 1e-6).mean() > 0.98


@pytest.mark.parametrize("box", [(0, 0, 20, 24), (3, 5, 9, 8), (2, 1, 17, 23)])
@pytest.mark.parametrize("size", [(20, 24), (7, 31)])
def test_resized_crop_is_pils(box, size):
    image = picture(20, 24)
    top, left, height, width = box
    planes = [Image.fromarray(image[top : top + height, left : left + width, c]) for c in range(3)]
    expected = np.stack([plane.resize(size[::-1], Image.Resampling.BILINEAR) for plane in planes], -1)
    np.testing.assert_allclose(augment.resized_crop(image, *box, size), expected, atol=1e-5)


def pil_jitter(image, factors, order):
    def hue(picture):
        hue, saturation, value = picture.convert("HSV").split()
        turned = np.asarray(hue) + np.array(int(factors[3] * 255)).astype(np.uint8)
        return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")

    changes = [
        lambda picture: ImageEnhance.Brightness(picture).enhance(factors[0]),
        lambda picture: ImageEnhance.Contrast(picture).enhance(factors[1]),
        lambda picture: ImageEnhance.Color(picture).enhance(factors[2]),
        hue,
    ]
    result = Image.fromarray(np.round(image * 255).astype(np.uint8))
    for change in order:
        result = changes[change](result)
    return np.asarray(result) / 255


def test_compiled_color_jitter_is_pils_in_every_order():
    orders = np.array(list(itertools.permutations(range(4))))
    random = np.random.RandomState(1)
    images = np.stack([picture(16, 16, seed=seed) for seed in range(len(orders))])
    limits = np.array([0.4, 0.4, 0.4, 0.125])
    factors = np.array([1, 1, 1, 0]) + random.uniform(-limits, limits, (len(orders), 4))
    ours = jax.jit(jax.vmap(augment.color_jitter))(images, *factors.T, orders)
    theirs = np.stack([pil_jitter(*case) for case in zip(images, factors, orders, strict=True)])
    errors = np.abs(ours - theirs)
    assert errors.mean() < 2 / 255 and np.percentile(errors, 99) < 8 / 255


def test_neutral_factors_keep_the_colours():
    kept = augment.color_jitter(picture(), 1.0, 1.0, 1.0, 0.0, jnp.arange(4))
    np.testing.assert_allclose(kept, picture(), atol=1e-6)


def test_a_single_channel_has_neither_saturation_nor_hue():
    grey = picture(channels=1)
    order = jnp.arange(4)
    np.testing.assert_allclose(augment.color_jitter(grey, 1.0, 1.0, 0.3, 0.1, order), grey, atol=1e-6)
    np.testing.assert_allclose(augment.color_jitter(grey, 0.5, 1.0, 1.0, 0.0, order), grey / 2, atol=1e-6)
    flat = augment.color_jitter(grey, 1.0, 0.0, 1.0, 0.0, order)
    np.testing.assert_allclose(flat, np.full_like(grey, grey.mean()), atol=1e-6)


def test_sampled_movements_fill_their_limits():
    sample = jax.vmap(lambda key: augment.sample_affine(key, 40, 80, degrees=20.0, translate=0.1, shear=10.0))
    angle, (right, down), shear = sample(keys(2000))
    for sampled, limit in ((angle, 20), (right, 8), (down, 4), (shear, 10)):
        assert limit * 0.98 < sampled.max() <= limit and -limit <= sampled.min() < -limit * 0.98
        assert abs(sampled.mean()) < 0.06 * limit
    assert (right == np.round(right)).all() and (down == np.round(down)).all()


def test_sampled_crops_lie_inside_with_permitted_area_and_aspect():
    sample = jax.vmap(lambda key: augment.sample_crop(key, 60, 80, scale=(0.2, 0.6), aspect=(0.7, 1.4)))
    top, left, height, width = (np.asarray(side) for side in sample(keys(2000)))
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 60).all() and (left + width <= 80).all()
    for side in (top, left, height, width):
        assert (side == np.round(side)).all()
    share, aspect = height * width / (60 * 80), width / height
    assert 0.19 < share.min() < 0.22 and 0.56 < share.max() < 0.61
    assert 0.68 < aspect.min() < 0.72 and 1.37 < aspect.max() < 1.43
    for place, free in ((top, 60 - height), (left, 80 - width)):
        assert abs(place.mean() / free.mean() - 0.5) < 0.02 and (place == 0).any() and (place == free).any()


@pytest.mark.parametrize(
    "size, aspect, box",
    [
        ((60, 60), (0.9, 1.1), (0, 0, 60, 60)),
        ((60, 60), (2.0, 3.0), (15, 0, 30, 60)),
        ((60, 90), (0.8, 1.0), (0, 15, 60, 60)),
    ],
)
def test_a_crop_that_never_fits_falls_back_to_the_central_one(size, aspect, box):
    sampled = augment.sample_crop(jax.random.key(0), *size, scale=(4.0, 5.0), aspect=aspect)
    np.testing.assert_array_equal(sampled, box)


def test_sampled_colours_fill_their_limits_in_all_orders():
    limits = {"brightness": 0.4, "contrast": 1.5, "saturation": 0.2, "hue": 0.125}
    *factors, order = jax.vmap(lambda key: augment.sample_jitter(key, **limits))(keys(1000))
    for sampled, low, high in zip(factors, (0.6, 0, 0.8, -0.125), (1.4, 2.5, 1.2, 0.125), strict=True):
        width = high - low
        assert low <= sampled.min() < low + 0.02 * width and high - 0.02 * width < sampled.max() <= high
    assert len(np.unique(np.asarray(order), axis=0)) == 24


def test_plain_view_normalises_and_mirrors_half():
    images = np.random.RandomState(0).randint(0, 256, (400, 2, 3, 1), dtype=np.uint8)
    images[0, 0, :, 0] = 0, 7, 255
    views = np.asarray(augment.plain_view(keys(400), images))
    assert views.dtype == np.float32
    straight = images / 127.5 - 1
    same = np.isclose(views, straight, atol=1e-6).all((1, 2, 3))
    assert np.isclose(views[~same], straight[~same, :, ::-1], atol=1e-6).all()
    assert 0.4 < same.mean() < 0.6


AREA = dataclasses.asdict(AreaView())
SQUARE = dataclasses.asdict(SquareView())
UNMOVED = {"degrees": 0.0, "translate": 0.0, "shear": 0.0}
STILL = AREA | UNMOVED | {"crop_scale": (1.0, 1.0), "crop_aspect": (1.0, 1.0)}
COLOURLESS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def test_strong_view_without_changes_is_the_image():
    images = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    still = jax.jit(lambda keys, images, flip: augment.strong_view(keys, images, **STILL | COLOURLESS, flip=flip))
    np.testing.assert_allclose(still(keys(3), images, 0.0), images / 127.5 - 1, atol=1e-5)
    np.testing.assert_allclose(still(keys(3), images, 1.0), images[:, :, ::-1] / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_examples_strong_view_depends_on_its_key_alone(channels):
    images = np.stack([np.round(picture(16, 16, channels, seed) * 255) for seed in range(6)]).astype(np.uint8)
    view = jax.jit(functools.partial(augment.strong_view, **AREA))
    batch = np.asarray(view(keys(6), images))
    assert batch.shape == images.shape and batch.dtype == np.float32
    assert batch.min() >= -1 and batch.max() <= 1
    # Reversed, so that every example has other neighbours.
    np.testing.assert_allclose(view(keys(6)[::-1], images[::-1])[::-1], batch, atol=1e-6)
    assert (np.abs(batch - np.asarray(view(keys(6, seed=1), images))).mean((1, 2, 3)) > 0.01).all()


def test_fill_decides_what_comes_from_outside():
    white = np.full((32, 16, 16, 3), 255, np.uint8)
    black, edge = (
        jax.jit(functools.partial(augment.strong_view, **AREA | COLOURLESS | {"fill": fill}))(keys(32), white)
        for fill in ("black", "edge")
    )
    assert (black < -0.99).any()
    np.testing.assert_allclose(edge, 1.0, atol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_strong_view_lowers_for_accelerators(platform):
    images = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.uint8)
    jax.jit(functools.partial(augment.strong_view, **AREA)).trace(keys(4), images).lower(lowering_platforms=(platform,))


def byte_image(height, width, seed=0):
    return (picture(height, width, seed=seed) * 255).astype(np.uint8)


def test_crops_are_windows_of_the_image_and_reach_every_place():
    image = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9, 1)
    cut = jax.jit(jax.vmap(lambda key: augment.crop(key, image, 5)))
    corners = set()
    for window in np.asarray(cut(keys(200))):
        row, column = divmod(int(window[0, 0, 0]), 9)
        np.testing.assert_array_equal(window, image[row : row + 5, column : column + 5])
        corners.add((row, column))
    assert corners == set(itertools.product(range(3), range(5)))


def test_a_crop_of_the_image_s_own_size_is_the_image():
    image = byte_image(6, 6)
    np.testing.assert_array_equal(augment.crop(keys(1)[0], image, 6), image)


@pytest.mark.parametrize("height, width", [(40, 64), (33, 17)])
def test_zoomed_crops_are_windows_of_the_resized_image(height, width):
    """By zoom alone known: the crop is found again in the whole image resized by PIL."""
    image = byte_image(height, width)
    size, zoom = 12, (0.5, 0.5)
    shrunk = [max(size, round(side * 0.5)) for side in (height, width)]
    whole = np.asarray(Image.fromarray(image).resize(shrunk[::-1], Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(whole, (size, size), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    inner = np.s_[..., 1:-1, 1:-1, :]
    found = set()
    for key in keys(20):
        crop = np.asarray(augment.zoomed_crop(key, image, size, zoom))
        distance = np.abs(windows[inner] - crop[inner]).max((2, 3, 4))
        assert distance.min() < 2 / 127.5  # PIL rounds to 8 bits between the axes
        found.add(int(distance.argmin()))
    assert len(found) > 1


def test_zoomed_crops_stay_in_range_and_differ_by_key():
    image = byte_image(50, 70)
    crops = jax.vmap(lambda key: augment.zoomed_crop(key, image, 16, (1 / 3, 1.0)))(keys(50))
    assert crops.shape == (50, 16, 16, 3) and jnp.abs(crops).max() <= 1
    assert len(np.unique(np.asarray(crops).reshape(50, -1), axis=0)) == 50
    flat = jnp.full((50, 70, 3), 200, jnp.uint8)
    ones = jax.vmap(lambda key: augment.zoomed_crop(key, flat, 16, (1 / 3, 1.0)))(keys(20))
    np.testing.assert_allclose(ones, np.full(ones.shape, 200 / 127.5 - 1), atol=1e-5)


def test_sixteen_bits_are_normalized_to_the_same_range():
    values = jnp.array([0, 65535, 257 * 100], jnp.uint16)
    np.testing.assert_allclose(augment.normalize(values), [-1, 1, 100 / 127.5 - 1], atol=1e-6)


# --- squares and patches ---


@pytest.mark.parametrize("height, width", [(64, 64), (80, 60)])
def test_sampled_squares_lie_inside_and_their_sides_are_uniform(height, width):
    low, high, shortest = 0.125, 0.75, min(height, width)
    sample = jax.vmap(lambda key: augment.sample_square(key, height, width, (low, high)))
    top, left, side, other = (np.asarray(sampled) for sampled in sample(keys(4000)))
    np.testing.assert_array_equal(side, other)
    for sampled in (top, left, side):
        assert (sampled == np.round(sampled)).all() and (sampled >= 0).all()
    assert (top + side <= height).all() and (left + side <= width).all()
    assert side.min() == round(low * shortest) and side.max() == round(high * shortest)
    # Every tenth of the range holds a tenth of the sides, to a pixel.
    tenths = np.quantile(side, np.linspace(0, 1, 11)) / shortest
    np.testing.assert_allclose(tenths, np.linspace(low, high, 11), atol=1 / shortest + 0.02)
    for place, free in ((top, height - side), (left, width - side)):
        assert abs(place.mean() / free.mean() - 0.5) < 0.02 and (place == 0).any() and (place == free).any()
        # The place is uniform whatever the side.
        assert abs(np.corrcoef(place / free, side)[0, 1]) < 0.05


def test_a_square_has_a_pixel_at_least_and_at_most_the_shorter_side():
    for sides, expected in (((0.01, 0.02), 1), ((1.0, 1.0), 8)):
        top, left, side, _ = jax.vmap(lambda key, sides=sides: augment.sample_square(key, 8, 11, sides))(keys(50))
        assert (side == expected).all() and (top + side <= 8).all() and (left + side <= 11).all()
    assert (top == 0).all() and set(left.tolist()) == {0, 1, 2, 3}


def test_an_images_squares_depend_on_its_key_alone():
    sample = functools.partial(augment.sample_patches, size=(60, 80), sides=(0.125, 1.0))
    squares = sample(keys(6), count=4)
    assert squares.shape == (6, 4, 4) and squares.dtype == jnp.float32
    np.testing.assert_array_equal(sample(keys(6)[::-1], count=4)[::-1], squares)
    np.testing.assert_array_equal(sample(keys(6), count=7)[:, :4], squares)
    assert len(np.unique(squares.reshape(24, 4), axis=0)) == 24
    assert (squares != sample(keys(6, seed=1), count=4)).any(-1).all()


def test_patches_are_pils_crops_of_their_images_in_order():
    height, width = 16, 20
    images = np.stack([picture(height, width, seed=seed) for seed in range(3)])
    squares = np.asarray(augment.sample_patches(keys(3), (height, width), (0.125, 1.0), 4))
    patches = np.asarray(jax.jit(augment.cut_patches)(images, squares))
    assert patches.shape == (12, height, width, 3)
    for number, (patch, square) in enumerate(zip(patches, squares.reshape(12, 4), strict=True)):
        top, left, side = square[:3].astype(int)
        window = images[number // 4, top : top + side, left : left + side]
        planes = [Image.fromarray(window[..., c]).resize((width, height), Image.Resampling.BILINEAR) for c in range(3)]
        np.testing.assert_allclose(patch, np.stack([np.asarray(plane) for plane in planes], -1), atol=1e-5)


def test_a_patch_of_the_whole_image_is_the_image():
    images = np.stack([picture(12, 12, seed=seed) for seed in range(2)]) * 2 - 1
    squares = augment.sample_patches(keys(2), (12, 12), (1.0, 1.0), 3)
    assert squares.tolist() == [[[0, 0, 12, 12]] * 3] * 2
    np.testing.assert_allclose(augment.cut_patches(images, squares), images.repeat(3, axis=0), atol=1e-6)


def test_patches_pass_gradients_to_the_pixels_that_they_show():
    squares = jnp.array([[[2.0, 3, 4, 4]]])
    gradient = jax.grad(lambda images: augment.cut_patches(images, squares).sum())(jnp.zeros((1, 10, 12, 1)))[0, ..., 0]
    inside = np.zeros((10, 12), bool)
    inside[2:6, 3:7] = True
    np.testing.assert_array_equal(gradient > 0, inside)
    # Each of the 10 x 12 pixels shown is a mean.
    np.testing.assert_allclose(gradient.sum(), 120, rtol=1e-5)


def test_one_program_cuts_patches_of_all_sizes():
    traces = []

    @jax.jit
    def cut(images, squares):
        traces.append(squares.shape)
        return augment.cut_patches(images, squares)

    images = picture(8, 8)[None]
    for side in (1.0, 3.0, 8.0):
        assert jnp.isfinite(cut(images, jnp.array([[[0, 0, side, side]]]))).all()
    assert traces == [(1, 1, 4)] and cut._cache_size() == 1


def test_a_view_of_square_crops_shows_sides_in_their_range():
    """In an image whose red is its column and whose green is its row, colours tell what a view shows."""
    count, size, low, high = 1500, 32, 0.25, 0.75
    red, green = np.meshgrid(np.arange(size), np.arange(size))
    image = np.stack([red, green, 0 * red], -1).astype(np.uint8)
    view = functools.partial(augment.strong_view, **SQUARE | UNMOVED | COLOURLESS, flip=0.0)
    images = np.broadcast_to(image, (count, *image.shape))
    shown = (np.asarray(jax.jit(functools.partial(view, crop_sides=(low, high)))(keys(count), images)) + 1) * 127.5
    left, right = (shown[..., 0].min((1, 2)), shown[..., 0].max((1, 2)))
    top, bottom = (shown[..., 1].min((1, 2)), shown[..., 1].max((1, 2)))
    side = right - left + 1
    np.testing.assert_allclose(bottom - top + 1, side, atol=1e-3)
    np.testing.assert_allclose([side.min() / size, side.max() / size], [low, high], atol=1e-4)
    tenths = np.quantile(side, np.linspace(0, 1, 11)) / size
    np.testing.assert_allclose(tenths, np.linspace(low, high, 11), atol=1 / size + 0.02)
    for place in (left, top):
        assert abs(place.mean() / (size - side).mean() - 0.5) < 0.03
    # The other two ranges have no part in it, and a crop of the whole image leaves it.
    other = jax.jit(functools.partial(view, crop_sides=(low, high), crop_scale=(0.1, 0.2), crop_aspect=(3.0, 4.0)))
    np.testing.assert_allclose((np.asarray(other(keys(9), images[:9])) + 1) * 127.5, shown[:9], atol=1e-3)
    whole = jax.jit(functools.partial(view, crop_sides=(1.0, 1.0)))(keys(9), images[:9])
    np.testing.assert_allclose((np.asarray(whole) + 1) * 127.5, images[:9], atol=1e-3)


def test_an_examples_view_of_square_crops_depends_on_its_key_alone():
    images = np.stack([np.round(picture(16, 16, seed=seed) * 255) for seed in range(6)]).astype(np.uint8)
    view = jax.jit(functools.partial(augment.strong_view, **SQUARE))
    batch = np.asarray(view(keys(6), images))
    assert np.abs(batch).max() <= 1
    np.testing.assert_allclose(view(keys(6)[::-1], images[::-1])[::-1], batch, atol=1e-6)


def test_channels_are_matched():
    rgb = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 3)), jnp.float32)
    luma = augment.match_channels(rgb, 1)
    np.testing.assert_allclose(luma[..., 0], np.asarray(rgb) @ np.array([0.299, 0.587, 0.114]), atol=1e-6)
    np.testing.assert_array_equal(augment.match_channels(luma, 3), np.repeat(luma, 3, -1))
    np.testing.assert_allclose(augment.match_channels(augment.match_channels(luma, 3), 1), luma, atol=1e-6)
    assert augment.match_channels(rgb, 3) is rgb
    ramp = jnp.arange(4.0).reshape(1, 1, 1, 4)
    np.testing.assert_allclose(augment.match_channels(ramp, 8)[0, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(augment.match_channels(ramp, 2)[0, 0, 0], [0.5, 2.5])


def test_a_resized_view_is_the_whole_image_or_a_crop_of_it():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    keys, how = jax.random.split(jax.random.key(0), 40), dict(flip=0.0, scale=(0.3, 0.8), aspect=(0.9, 1.1))
    views = {share: jax.jit(functools.partial(augment.resized_view, probability=share, **how))(keys, images)
             for share in (0.0, 0.5, 1.0)}  # fmt: skip
    whole = images / 127.5 - 1
    np.testing.assert_allclose(views[0.0], whole, atol=1e-5)
    apart = {share: np.abs(view - whole).max((1, 2, 3)) > 1e-3 for share, view in views.items()}
    assert apart[1.0].all() and 8 < apart[0.5].sum() < 32
    assert max(float(np.abs(view).max()) for view in views.values()) <= 1


def test_stretched_crops_are_samples_between_pixels_and_zeros_outside():
    """By brute force: every sample is bilinear between four pixels, those outside the image being 0."""
    images, size = np.stack([picture(9, 12, seed=seed) for seed in (0, 1)]), 5
    chances = np.random.default_rng(0).uniform(size=(2, 3, 5)).astype(np.float32)
    # The last crop touches two borders.
    chances[1, 2] = (0.2, 0.5, 0.5, 0.0, 1.0)
    ours = jax.jit(lambda images: augment.stretched_crops(images, chances, (0.3, 0.8), size))(images)
    expected = np.zeros((2, 3, size, size, 3))
    for image, crop, i, j in itertools.product(range(2), range(3), range(size), range(size)):
        mirrored, *share, x, y = chances[image, crop]
        width, height = (0.3 + 0.5 * each for each in share)
        x, y = (2 * x - 1) * (1 - width), (2 * y - 1) * (1 - height)
        x += (1 if mirrored > 0.5 else -1) * width * (2 * j / (size - 1) - 1)
        y += height * (2 * i / (size - 1) - 1)
        column, row = ((x + 1) * 12 - 1) / 2, ((y + 1) * 9 - 1) / 2
        for r, c in itertools.product((np.floor(row), np.floor(row) + 1), (np.floor(column), np.floor(column) + 1)):
            if 0 <= r < 9 and 0 <= c < 12:
                weight = (1 - abs(row - r)) * (1 - abs(column - c))
                expected[image, crop, i, j] += weight * images[image, int(r), int(c)]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    # Half of what is sampled on a border lies outside.
    assert (np.abs(ours[1, 2, -1]) < 0.6).all()
    slope = jax.grad(lambda images: augment.stretched_crops(images, chances, (0.3, 0.8), size).sum())(images)
    assert np.isfinite(slope).all() and (slope != 0).any()
