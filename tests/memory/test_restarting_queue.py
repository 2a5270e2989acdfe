"""The queue of TUNIT's published code: it grows anew from its first keys every 1000 steps."""

import jax.numpy as jnp
import numpy as np

from uit_jax.memory import key_queue, restarting_queue


def keys(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def test_a_step_between_restarts_changes_nothing():
    queue = restarting_queue.RestartingQueue(keys(0, 1, 2, 3, 4, 5), keys(8, 9))
    begun = restarting_queue.begin(queue, keys(6, 7), jnp.int32(999))
    np.testing.assert_array_equal(begun.keys, queue.keys)
    np.testing.assert_array_equal(begun.first, queue.first)


def test_the_first_keys_are_kept_and_come_back_every_1000_steps():
    queue = restarting_queue.create(key_queue.KeyQueue(keys(0, 1, 2, 3, 4, 5)), batch_size=2)
    begun = restarting_queue.begin(queue, keys(6, 7), jnp.int32(0))
    np.testing.assert_array_equal(begun.keys, keys(2, 3, 4, 5, 6, 7))
    pushed = key_queue.push(begun, keys(8, 9))
    np.testing.assert_array_equal(pushed.keys, keys(4, 5, 6, 7, 8, 9))
    again = restarting_queue.begin(pushed, keys(10, 11), jnp.int32(2000))
    np.testing.assert_array_equal(again.keys, keys(6, 7, 8, 9, 6, 7))
    np.testing.assert_array_equal(again.first, keys(6, 7))


def test_only_keys_since_the_last_restart_count():
    queue = restarting_queue.create(key_queue.KeyQueue(keys(0, 1, 2, 3, 4, 5)), batch_size=2)
    counted = {step: restarting_queue.valid(queue, jnp.int32(step)).tolist() for step in (0, 1000, 1001, 1002, 1500)}
    assert counted[0] == counted[1000] == [False] * 4 + [True] * 2
    assert counted[1001] == [False] * 2 + [True] * 4
    assert counted[1002] == counted[1500] == [True] * 6
