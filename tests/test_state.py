"""Learners, their averages, the one gradient site, and the game of two players."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uit_jax import collectives
from uit_jax.state import Learner, TrainState, descend, named, play

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


def test_a_gradient_may_be_that_of_other_weights():
    """What is moved, and decays, are the learners' own."""
    tx = {"first": optax.chain(optax.add_decayed_weights(1.0), optax.sgd(0.1))}

    def square(params):
        return (params["first"]["w"] ** 2).sum(), (params["first"]["w"], {})

    learners = {"first": Learner.create({"params": {"w": jnp.full(2, 2.0)}}, tx["first"])}
    stepped, seen = descend(learners, tx, square, at={"first": {"w": jnp.full(2, 5.0)}})
    np.testing.assert_allclose(seen, 5 * np.ones(2))
    np.testing.assert_allclose(stepped["first"].params["w"], (2 - 0.1 * (2 * 5 + 2)) * np.ones(2), rtol=1e-6)


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


def test_averages_of_the_named_learners_move_each_by_its_decay():
    learners = {name: Learner.create({"params": {"w": jnp.zeros(2)}}, TXS[name], averaged=True) for name in TXS}
    learners = {name: each.replace(params={"w": jnp.ones(2)}) for name, each in learners.items()}
    moved = TrainState(jnp.int32(0), jax.random.key(0), learners).average(first=0.75, second=0.5)
    for name, expected in (("first", 0.25), ("second", 0.5), ("idle", 0.0)):
        np.testing.assert_allclose(moved.learners[name].ema["w"], expected * np.ones(2))


# --- the game: the players "first" and "second" make first * second, against the opponent "third" ---

GAME = TXS | {"third": optax.sgd(0.1)}


class Game:
    """Who was asked what, in which order."""

    def __init__(self, scale=1.0):
        self.scale, self.calls = scale, []

    def make(self, params):
        self.calls.append("make")
        made = self.scale * params["first"]["w"] * params["second"]["w"]
        return {"made": made}, {"second": {"batch_stats": {"seen": made.sum()}}}

    def oppose(self, params, made):
        self.calls.append("oppose")
        loss = (params["third"]["w"] * made["made"]).sum()
        return loss, ({"loss": loss}, {"third": {"batch_stats": {"seen": 7.0}}})

    def deceive(self, params, made, opponents):
        self.calls.append("deceive")
        loss = (made["made"] * opponents["third"].params["w"]).sum()
        return loss, {"loss": loss, "weight": params["first"]["w"].sum()}

    def state(self, first=2.0):
        weights = {"first": first, "second": 3.0, "third": 1.0, "idle": 5.0}
        stats = {"batch_stats": {"seen": jnp.zeros(())}}
        learners = {n: Learner.create({"params": {"w": jnp.full(2, v)}, **stats}, GAME[n]) for n, v in weights.items()}
        return TrainState(jnp.int32(4), jax.random.PRNGKey(0), learners)

    def played(self, state, axis_name=None, at=None):
        sides = dict(players=("first", "second"), opponents=("third",))
        steps = dict(make=self.make, oppose=self.oppose, deceive=self.deceive)
        return play(state, GAME, **sides, **steps, at=at, axis_name=axis_name)


def weight(state, name):
    return state.learners[name].params["w"]


def test_opponents_see_what_was_made_before_the_players_step_and_players_face_the_opponents_after_theirs():
    state, made, terms = Game().played(Game().state())
    np.testing.assert_allclose(made["made"], 6 * np.ones(2))
    np.testing.assert_allclose(weight(state, "third"), (1 - 0.1 * 6) * np.ones(2), rtol=1e-6)
    # The gradients of 0.4 * first * second: through the opponent's step none comes back.
    np.testing.assert_allclose(weight(state, "first"), (2 - 0.1 * 3 * 0.4) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(weight(state, "second"), (3 - 0.5 * 2 * 0.4) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(weight(state, "idle"), 5 * np.ones(2))
    # The opponent's loss is that before its step, the players' that after it; weights are those before their step.
    expected = {"third/loss": 12, "first/loss": 2 * 6 * 0.4, "first/weight": 4}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-6)
    assert state.step == 4  # a method counts


def test_a_game_may_be_that_of_the_players_as_they_were():
    at = {"first": {"w": jnp.full(2, 1.0)}, "second": {"w": jnp.full(2, 4.0)}}
    state, made, _ = Game().played(Game().state(), at=at)
    np.testing.assert_allclose(made["made"], 4 * np.ones(2))
    np.testing.assert_allclose(weight(state, "third"), (1 - 0.1 * 4) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(weight(state, "first"), (2 - 0.1 * 4 * 0.6) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(weight(state, "second"), (3 - 0.5 * 1 * 0.6) * np.ones(2), rtol=1e-6)


def test_what_is_made_is_made_once_and_everyone_is_asked_once():
    game = Game()
    jax.jit(game.played)(game.state())
    assert game.calls == ["make", "oppose", "deceive"]


def test_either_side_of_a_game_may_have_new_statistics():
    state, _, _ = Game().played(Game().state())
    seen = {name: float(learner.stats["batch_stats"]["seen"]) for name, learner in state.learners.items()}
    assert seen == {"first": 0, "second": 12, "third": 7, "idle": 0}


def test_nobody_learns_through_what_a_game_returns():
    def total(first):
        return Game().played(Game().state(first))[1]["made"].sum()

    assert total(2.0) == 12 and jax.grad(total)(2.0) == 0


def test_a_game_over_devices_is_that_of_their_mean():
    def step(state, scale):
        state, made, terms = Game(scale).played(state, "data")
        return state.learners, collectives.mean((made, terms), "data")

    learners, (made, terms) = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="data")(
        Game().state(), jnp.array([0.5, 1.5])
    )
    np.testing.assert_allclose(made["made"], 6 * np.ones(2))
    # Of the mean of both devices' gradients: the opponent is the same for both.
    np.testing.assert_allclose(learners["third"].params["w"], 0.4 * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(learners["first"].params["w"], (2 - 0.1 * 3 * 0.4) * np.ones(2), rtol=1e-6)
    np.testing.assert_allclose(terms["third/loss"], 12)


def test_terms_are_named_by_their_learner():
    assert named("guide", {"a": 1, "b": 2}) == {"guide/a": 1, "guide/b": 2}
