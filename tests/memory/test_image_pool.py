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
    return images, rng.uniform(size=count).astype(np.float32), rng.integers(0, size, count).astype(np.int32)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_pool_does_what_the_rule_says(size):
    images, coins, slots = sent(48, size)
    pool, taken = image_pool.create(size, images.shape[1:]), []
    for start in range(0, 48, 6):
        rows = slice(start, start + 6)
        pool, out = jax.jit(image_pool.exchange)(pool, images[rows], coins[rows], slots[rows])
        taken += list(np.asarray(out))
    expected, stored = plain(size, images, coins, slots)
    np.testing.assert_array_equal(taken, expected)
    assert int(pool.count) == min(size, 48) == len(stored)
    np.testing.assert_array_equal(pool.images[: len(stored)], stored)
    assert not np.asarray(pool.images[len(stored) :]).any()


def test_an_image_may_come_back_in_the_batch_it_was_put_in_by():
    images, coins, slots = sent(3, 1)
    _, taken = image_pool.exchange(image_pool.create(1, images.shape[1:]), images, np.ones(3, np.float32), 0 * slots)
    assert [float(image[0, 0, 0]) for image in taken] == [0, 0, 1]


def test_a_pool_of_none_gives_back_what_it_is_given():
    images, coins, slots = sent(4, 1)
    pool, taken = image_pool.exchange(image_pool.create(0, images.shape[1:]), images, coins, slots)
    assert taken is images and pool.images.shape == (0, 2, 3, 1)


@pytest.mark.parametrize("devices", [2, 4])
def test_a_pool_is_one_for_all_devices(devices):
    images, coins, slots = sent(8, 3)
    full = image_pool.exchange(image_pool.create(3, images.shape[1:]), 100 + images, coins, slots)[0]
    alone, expected = image_pool.exchange(full, images, coins, slots)
    parts = (each.reshape(devices, -1, *each.shape[1:]) for each in (images, coins, slots))
    exchange = functools.partial(image_pool.exchange, axis_name="data")
    over = jax.vmap(exchange, in_axes=(None, 0, 0, 0), out_axes=(None, 0), axis_name="data")
    pool, taken = over(full, *parts)
    np.testing.assert_array_equal(taken.reshape(images.shape), expected)
    jax.tree.map(np.testing.assert_array_equal, pool, alone)
