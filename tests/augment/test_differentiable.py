"""What a discriminator sees of images, against numpy and the published code's own arithmetic, and its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from uit_jax.augment.differentiable import CHANGES, changed, cut_out, recolored, shifted

KINDS = tuple(CHANGES)
change = jax.jit(changed, static_argnames=("kinds", "probability"))


def images(count=1, height=9, width=12, channels=3):
    return np.random.default_rng(0).uniform(-1, 1, (count, height, width, channels)).astype(np.float32)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


@functools.lru_cache
def many(kinds, height=8, width=16, probability=1.0):
    """Return one image, and 256 changed ones of it."""
    (image,) = images(1, height, width)
    return image, np.asarray(change(keys(256), np.repeat(image[None], 256, 0), kinds, probability))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_colours_are_brightened_then_saturated_then_contrasted(channels):
    (image,) = images(channels=channels)
    bright = image.astype(np.float64) + 0.3
    grey = bright.mean(-1, keepdims=True)
    rich = (bright - grey) * 1.7 + grey
    wanted = (rich - rich.mean()) * 0.6 + rich.mean()
    np.testing.assert_allclose(recolored(image, 0.3, 1.7, 0.6), wanted, atol=1e-6)


@pytest.mark.parametrize("down, right", [(0, 0), (2, 0), (-2, 3), (1, -1), (20, 0)])
def test_what_is_shifted_leaves_zeros(down, right):
    (image,) = images()
    wide = np.pad(image, ((30, 30), (30, 30), (0, 0)))
    wanted = wide[30 - down : 39 - down, 30 - right : 42 - right]
    np.testing.assert_array_equal(shifted(image, down, right), wanted)


@pytest.mark.parametrize("height, width", [(8, 12), (9, 10), (7, 4)])
def test_what_is_cut_out_is_what_the_published_code_cuts_out(height, width):
    (image,) = images(1, height, width)
    cut = jax.jit(cut_out)
    for row in range(height + 1):
        for column in (0, 1, width // 2, width - 1):
            mask = np.ones((height, width, 1), np.float32)
            tall, wide = int(height * 0.5 + 0.5), int(width * 0.5 + 0.5)
            rows = np.clip(np.arange(tall) + row - tall // 2, 0, height - 1)
            columns = np.clip(np.arange(wide) + column - wide // 2, 0, width - 1)
            mask[np.ix_(rows, columns)] = 0
            np.testing.assert_array_equal(cut(image, row, column), image * mask)


def test_sampled_colours_fill_their_limits():
    image, found = many(("color",))
    deviation = found - found.mean((1, 2, 3), keepdims=True)
    grey = deviation.mean(-1)
    own = image.mean(-1) - image.mean()
    brightness = found.mean((1, 2, 3)) - image.mean()
    contrast = (grey * own).sum((1, 2)) / (own**2).sum()
    colour, own_colour = found - found.mean(-1, keepdims=True), image - image.mean(-1, keepdims=True)
    saturation = (colour * own_colour).sum((1, 2, 3)) / (own_colour**2).sum() / contrast
    for measured, low, high in ((brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
        assert low - 1e-5 <= measured.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < measured.max() <= high + 1e-5
        assert abs(measured.mean() - (low + high) / 2) < 0.1 * (high - low)
    assert abs(np.corrcoef([brightness, saturation, contrast]) - np.eye(3)).max() < 0.2


@pytest.mark.parametrize("height, width, down, right", [(8, 16, 1, 2), (11, 12, 1, 2)])
def test_every_shift_up_to_an_eighth_is_sampled(height, width, down, right):
    """As the published code rounds it, a half being a pixel."""
    image, found = many(("translation",), height, width)
    rows, columns = (range(-most, most + 1) for most in (down, right))
    shifts = [(row, column) for row in rows for column in columns]
    wanted = np.stack([shifted(image, *shift) for shift in shifts])
    same = (found[:, None] == wanted[None]).all((2, 3, 4))
    assert (same.sum(1) == 1).all() and same.any(0).all()


def test_every_box_is_sampled_and_reaches_over_the_border():
    image, found = many(("cutout",), height=6, width=8)
    # 3 x 4 pixels: of the odd side the middle is a pixel of the image, of the even one it may be the image's end.
    wanted = np.stack([cut_out(image, row, column) for row in range(6) for column in range(9)])
    same = (found[:, None] == wanted[None]).all((2, 3, 4))
    assert (same.sum(1) == 1).all() and same.any(0).mean() > 0.9
    assert ((found == 0).all(-1).sum((1, 2)) < 12).any()


def test_kinds_are_drawn_apart_and_in_one_order():
    x = images(16, 8, 8)
    both = change(keys(16), x, ("cutout", "color"))
    color, cutout = (functools.partial(change, keys(16), kinds=(kind,)) for kind in ("color", "cutout"))
    np.testing.assert_allclose(both, cutout(color(x)), atol=1e-6)
    assert not np.allclose(both, color(cutout(x)), atol=1e-2)


def test_an_image_is_changed_by_its_key_alone():
    x = images(16, 8, 8)
    found = change(keys(16), x, KINDS)
    np.testing.assert_allclose(found[5:7], change(keys(16)[5:7], x[5:7], KINDS), atol=1e-6)
    assert found.dtype == x.dtype and len(np.unique(np.round(found[:, :, :, 0].sum((1, 2)), 4))) == 16


def test_each_change_has_its_probability():
    image, found = many(("color", "cutout"), probability=0.25)
    cut = (found == 0).all(-1).any((1, 2))
    kept = (found == image) | (found == 0)
    plain = kept.all((1, 2, 3))
    assert abs(cut.mean() - 0.25) < 0.08 and abs(plain.mean() - 0.75) < 0.08
    assert abs((cut & plain).mean() - 0.25 * 0.75) < 0.08


def test_gradients_and_their_gradients_are_those_of_differences():
    x = images(2, 8, 8)
    see = jax.jit(lambda x: jnp.sin(changed(keys(2), x, KINDS)))
    check_grads(see, (x,), order=2, modes=["rev"], rtol=2e-2, atol=2e-2)


def test_what_is_not_seen_has_no_gradient():
    x = jnp.asarray(images(32, 8, 8))
    total, seen = jax.value_and_grad(lambda x: change(keys(32), x, ("translation", "cutout")).sum())(x)
    assert set(np.unique(seen)) == {0.0, 1.0}
    np.testing.assert_allclose((seen * x).sum(), total, rtol=1e-4)


def test_shifts_are_products_in_every_derivative():
    """Neither a gather nor the scatter that is its gradient: slow on accelerators, where pixels are many."""
    penalty = jax.grad(lambda x: jnp.square(jax.grad(lambda x: (changed(keys(2), x, KINDS) ** 3).sum())(x)).sum())
    traced = jax.jit(penalty).trace(images(2, 8, 8))
    assert "dot_general" in str(traced.jaxpr) and "scatter" not in str(traced.jaxpr)
    assert traced.lower(lowering_platforms=("cuda", "tpu")).compiler_ir() is not None
