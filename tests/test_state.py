"""Learners, their averages, and the one gradient site."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uit_jax.state import Learner, TrainState, descend

TXS = {"first": optax.sgd(0.1), "second": optax.sgd(0.5, momentum=0.9), "idle": optax.sgd(1.0)}


def learner(name, value=1.0, **others):
    return Learner.create({"params": {"w": jnp.full(2, value)}, **others}, TXS[name])


def loss_fn(params):
    first, second = params["first"]["w"], params["second"]["w"]
    loss = (first * second).sum()
    return loss, ({"loss": loss}, {"second": {"batch_stats": {"seen": first.sum()}}})


def test_descend_steps_each_learner_by_its_own_optimizer():
    stats = {"batch_stats": {"seen": jnp.zeros(())}}
    learners = {"first": learner("first", 2.0, **stats), "second": learner("second", 3.0, **stats)}
    stepped, aux = descend(learners, TXS, loss_fn)
    np.testing.assert_allclose(stepped["first"].params["w"], 2 - 0.1 * 3 * np.ones(2))
    np.testing.assert_allclose(stepped["second"].params["w"], 3 - 0.5 * 2 * np.ones(2))
    np.testing.assert_allclose(aux["loss"], 12)
    # New statistics where the loss gives any, the old ones elsewhere.
    np.testing.assert_allclose(stepped["second"].stats["batch_stats"]["seen"], 4)
    np.testing.assert_allclose(stepped["first"].stats["batch_stats"]["seen"], 0)
    # Momentum lives in the learner.
    again, _ = descend(stepped, TXS, loss_fn)
    np.testing.assert_allclose(again["second"].params["w"], 2 - 0.5 * (0.9 * 2 + 1.7) * np.ones(2), rtol=1e-6)


def test_descend_trains_the_named_learners_alone():
    learners = {name: learner(name, 2.0) for name in TXS}
    idle = learners["idle"].params["w"]

    def loss_of_all(params):
        return (params["first"]["w"] * idle).sum(), (None, {})

    stepped, _ = descend({"first": learners["first"]}, TXS, loss_of_all)
    assert set(stepped) == {"first"}
    np.testing.assert_allclose(stepped["first"].params["w"], 1.8 * np.ones(2))


def test_gradients_and_statistics_are_averaged_over_devices():
    def step(learners, x):
        def loss_fn(params):
            return (params["first"]["w"] * x).sum(), (None, {"first": {"seen": x.sum()}})

        return descend(learners, TXS, loss_fn, axis_name="data")[0]

    learners = {"first": Learner.create({"params": {"w": jnp.zeros(2)}, "seen": jnp.zeros(())}, TXS["first"])}
    shares = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    # out_axes=None: refused where the devices' learners could differ.
    stepped = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="data")(learners, shares)
    np.testing.assert_allclose(stepped["first"].params["w"], [-0.2, -0.4], rtol=1e-6)
    np.testing.assert_allclose(stepped["first"].stats["seen"], 6)


def test_the_average_starts_as_a_copy_and_follows():
    start = Learner.create({"params": {"w": jnp.ones(2)}}, TXS["first"], averaged=True)
    assert start.ema["w"].unsafe_buffer_pointer() != start.params["w"].unsafe_buffer_pointer()
    moved = start.replace(params={"w": jnp.full(2, 5.0)})
    np.testing.assert_allclose(moved.average(0.75).ema["w"], 2 * np.ones(2))
    np.testing.assert_allclose(moved.average(jnp.float32(0)).ema["w"], 5 * np.ones(2))
    np.testing.assert_allclose(moved.average(0.75).params["w"], 5 * np.ones(2))
    assert Learner.create({"params": {"w": jnp.ones(2)}}, TXS["first"]).ema is None


def test_a_fresh_state_may_be_donated():
    learners = {"first": Learner.create({"params": {"w": jnp.ones(2)}}, TXS["second"], averaged=True)}
    state = TrainState(jnp.int32(0), jax.random.key(0), learners)
    step = jax.jit(lambda state: state.replace(step=state.step + 1), donate_argnums=0)
    assert step(step(state)).step == 2


def test_a_state_is_a_pytree_without_hidden_parts():
    state = TrainState(jnp.int32(3), jax.random.key(0), {"first": learner("first")}, memory=(jnp.ones(1),))
    leaves, structure = jax.tree.flatten(state)
    again = jax.tree.unflatten(structure, leaves)
    assert again.step == 3 and set(again.learners) == {"first"} and len(again.memory) == 1
    # step, key, w and memory; SGD without momentum remembers nothing.
    assert len(leaves) == 4
