"""The image pool: the rule against a plain one, its limits, and the same pool on any number of devices."""

import functools

import jax
import numpy as np
import pytest

from uit_jax.memory import image_pool


def plain(size: int, images, coins, slots):
    """Return what comes out of a pool, one image after the other, and what is in it at the end."""
    stored, taken = [], []
    for image, coin, slot in zip(images, coins, slots, strict=True):
        if len(stored) < size:
            stored.append(image)
            taken.append(image)
        elif coin > 0.5:
            taken.append(stored[slot])
            stored[slot] = image
        else:
            taken.append(image)
    return taken, stored


def sent(count: int, size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 1), np.float32)
    coins, slots = rng.uniform(size=count).astype(np.float32), rng.integers(0, size, count).astype(np.int32)
    return images, image_pool.Tosses(coins, slots)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_pool_does_what_the_rule_says(size):
    images, tosses = sent(48, size)
    pool, taken = image_pool.create(size, images.shape[1:]), []
    for start in range(0, 48, 6):
        rows = slice(start, start + 6)
        part = image_pool.Tosses(tosses.coins[rows], tosses.slots[rows])
        pool, out = jax.jit(image_pool.exchange)(pool, images[rows], part)
        taken += list(np.asarray(out))
    expected, stored = plain(size, images, *tosses)
    np.testing.assert_array_equal(taken, expected)
    assert int(pool.count) == min(size, 48) == len(stored)
    np.testing.assert_array_equal(pool.images[: len(stored)], stored)
    assert not np.asarray(pool.images[len(stored) :]).any()


def test_an_image_may_come_back_in_the_batch_it_was_put_in_by():
    images, tosses = sent(3, 1)
    always = tosses._replace(coins=np.ones(3, np.float32))
    _, taken = image_pool.exchange(image_pool.create(1, images.shape[1:]), images, always)
    assert [float(image[0, 0, 0]) for image in taken] == [0, 0, 1]


def test_a_pool_of_none_gives_back_what_it_is_given():
    images, tosses = sent(4, 1)
    pool, taken = image_pool.exchange(image_pool.create(0, images.shape[1:]), images, tosses)
    assert taken is images and pool.images.shape == (0, 2, 3, 1)


@pytest.mark.parametrize("devices", [2, 4])
def test_a_pool_is_one_for_all_devices(devices):
    images, tosses = sent(8, 3)
    full = image_pool.exchange(image_pool.create(3, images.shape[1:]), 100 + images, tosses)[0]
    alone, expected = image_pool.exchange(full, images, tosses)
    parts = jax.tree.map(lambda each: each.reshape(devices, -1, *each.shape[1:]), (images, tosses))
    exchange = functools.partial(image_pool.exchange, axis_name="data")
    over = jax.vmap(exchange, in_axes=(None, 0, 0), out_axes=(None, 0), axis_name="data")
    pool, taken = over(full, *parts)
    np.testing.assert_array_equal(taken.reshape(images.shape), expected)
    jax.tree.map(np.testing.assert_array_equal, pool, alone)


def test_tosses_are_fair_and_name_every_slot():
    keys = jax.random.split(jax.random.key(0), 3000)
    coins, slots = image_pool.toss(keys, 3)
    assert 0 <= coins.min() and coins.max() < 1 and abs(float((coins > 0.5).mean()) - 0.5) < 0.05
    np.testing.assert_allclose(np.bincount(slots, minlength=3) / 3000, 1 / 3, atol=0.04)
    assert set(image_pool.toss(keys[:4], 0).slots.tolist()) == {0}
