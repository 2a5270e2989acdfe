"""The queue of negative keys: first in, first out, the same on every device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uit_jax.errors import UserError
from uit_jax.memory import key_queue


def filled(size=6):
    return key_queue.KeyQueue(jnp.arange(size, dtype=jnp.float32)[:, None] * jnp.ones((1, 2)))


def first_column(queue):
    return queue.keys[:, 0].tolist()


def test_the_oldest_keys_leave_and_the_newest_stand_at_the_end():
    queue = key_queue.push(filled(), jnp.array([[10.0, 10], [11, 11]]))
    assert first_column(queue) == [2, 3, 4, 5, 10, 11]
    queue = jax.jit(key_queue.push)(queue, jnp.full((4, 2), 20.0))
    assert first_column(queue) == [10, 11, 20, 20, 20, 20]


def test_a_batch_as_large_as_the_queue_replaces_it():
    assert first_column(key_queue.push(filled(2), jnp.array([[7.0, 7], [8, 8]]))) == [7, 8]


def test_every_device_pushes_the_global_batch_in_order():
    keys = jnp.array([[[10.0, 10]], [[11, 11]], [[12, 12]]])
    push = functools.partial(key_queue.push, axis_name="data")
    queues = jax.vmap(push, in_axes=(None, 0), axis_name="data")(filled(), keys)
    for device in range(3):
        assert queues.keys[device, :, 0].tolist() == [3, 4, 5, 10, 11, 12]
    # The same on every device, so that it may leave the devices as one.
    jax.vmap(push, in_axes=(None, 0), out_axes=None, axis_name="data")(filled(), keys)


def test_no_gradient_flows_into_the_queue():
    gradient = jax.grad(lambda queue: key_queue.negatives(queue).sum())(filled())
    assert (gradient.keys == 0).all()


def test_a_fresh_queue_holds_random_keys_of_the_asked_length():
    queue = key_queue.create(jax.random.key(0), 512, 64, scale=0.1)
    assert queue.keys.shape == (512, 64) and queue.keys.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(queue.keys, axis=1).mean(), 0.1, rtol=0.02)
    np.testing.assert_allclose(queue.keys.mean(), 0, atol=1e-3)


def test_a_batch_larger_than_the_queue_is_an_error():
    key_queue.check_batch(8, 8)
    with pytest.raises(UserError, match="^method.queue_size=8 holds less than one global batch of 9 keys"):
        key_queue.check_batch(8, 9)
    with pytest.raises(UserError, match="^method.negatives.queue_size=8 holds"):
        key_queue.check_batch(8, 9, "method.negatives.queue_size")


@pytest.mark.parametrize("queue, batch, fitting", [(100, 32, 96), (31, 32, 32), (2048, 48, 2064), (10, 32, 32)])
def test_a_queue_that_is_no_whole_number_of_batches_is_an_error_with_a_remedy(queue, batch, fitting):
    with pytest.raises(UserError, match=rf"^method.queue_size={queue} .* batch_size={batch}.*: use {fitting}$"):
        key_queue.check_divides(queue, batch)
    key_queue.check_divides(fitting, batch)


def test_a_queue_of_one_batch_or_several_is_none():
    for queue in (32, 64, 2048):
        key_queue.check_divides(queue, 32)
