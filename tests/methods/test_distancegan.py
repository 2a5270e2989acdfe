"""DistanceGAN and SelfDistance: distances and their moments by numpy, one update recomputed plainly, odd cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import assert_close, assert_terms, random_state, stepped
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.losses import distances
from uit_jax.memory import image_pool, moments
from uit_jax.methods.distancegan import Measured

SIZE = 16


def images(seed: int, count: int = 2):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def l1(one, other):
    return abs(one - other).mean()


def test_distances_are_those_of_every_pair_and_of_the_halves():
    x = images(0, 4)
    pairs = [l1(x[i], x[j]) for i in range(4) for j in range(i + 1, 4)]
    np.testing.assert_allclose(distances.between(x), pairs, rtol=1e-6)
    np.testing.assert_allclose(distances.within(x), [l1(x[:, :8], x[:, 8:])], rtol=1e-6)


def test_moments_are_numpys_however_the_numbers_come():
    values = np.random.default_rng(0).normal(100, 0.1, 60).astype(np.float32)
    known = moments.create()
    for part in np.split(values, [1, 3, 10, 59]):
        known = moments.add(known, part)
    # What is not valid counts for nothing.
    known = moments.add(known, np.array([1e6, 1e6], np.float32), np.array([False, False]))
    np.testing.assert_allclose(known.count, 60)
    np.testing.assert_allclose(known.mean, values.mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(known.deviation, values.std(dtype=np.float64), rtol=1e-3)
    assert moments.create().deviation == 0


@pytest.mark.parametrize("reach", [1, 3, 8])
def test_a_batch_is_compared_with_those_before_it(reach):
    method = table.build("distancegan", measuring_reach=reach)
    batches = [images(seed) for seed in range(6)]
    measured = method.memory(jax.random.key(0), 2)["distances_a"]
    for batch in batches:
        measured = method.met(measured, jnp.asarray(batch))
    found = [l1(batches[j], batches[i]) for i in range(6) for j in range(max(0, i - reach), i)]
    assert measured.moments.count == len(found)
    np.testing.assert_allclose(measured.moments.mean, np.mean(found), rtol=1e-5)
    np.testing.assert_allclose(measured.moments.deviation, np.std(found), rtol=1e-3)


KNOWN = {"a": (0.6, 0.2), "b": (0.5, 0.1)}


@functools.cache
def updated(name: str):
    """One update of plain gradient descent from random weights, cycles on, the pools empty: before, after, metrics."""
    method = table.build_with_sgd(name, cycle_weight=10.0)
    memory = {side: image_pool.create(3, (SIZE, SIZE, 3)) for side in "ab"}
    for side, (mean, deviation) in KNOWN.items():
        known = moments.Moments(jnp.float32(4), jnp.float32(mean), jnp.float32(4 * deviation**2))
        memory[f"distances_{side}"] = Measured(known, jnp.zeros((1, 2, SIZE, SIZE, 3)), jnp.int32(5))
    state = random_state(method, memory)
    tosses = image_pool.Tosses(np.zeros(2, np.float32), np.zeros(2, np.int32))
    views = {"a": images(0), "b": images(1), "tosses_a": tosses, "tosses_b": tosses}
    update = jax.jit(functools.partial(method.update, phase=method.phase(method.measuring_steps)))
    return method, state, *update(state, views)


@pytest.mark.parametrize("name", ["distancegan", "selfdistance"])
def test_an_update_is_the_papers(name):
    method, state, after, metrics = updated(name)
    params = {name: learner.params for name, learner in state.learners.items()}
    apply = {name: lambda p, x, n=each: n.module.apply({"params": p}, x) for name, each in method.networks.items()}

    def distance(x, side):
        mean, deviation = KNOWN[side]
        found = l1(x[0], x[1]) if name == "distancegan" else l1(x[:, :8], x[:, 8:])
        return (found - mean) / deviation

    def terms_of(p):
        found = {}
        for x, source, target, there, back in (
            (images(0), "a", "b", "generator_ab", "generator_ba"),
            (images(1), "b", "a", "generator_ba", "generator_ab"),
        ):
            fake, judge = apply[there](p[there], x), f"discriminator_{target}"
            found[f"{there}/adversarial"] = ((apply[judge](params[judge], fake) - 1) ** 2).mean()
            found[f"{there}/distance"] = abs(distance(x, source) - distance(fake, target))
            found[f"{there}/cycle"] = l1(apply[back](p[back], fake), x)
        return found

    def generators_loss(p):
        weights = {"adversarial": 1, "distance": 1, "cycle": 10}
        return sum(weights[term.split("/")[1]] * value for term, value in terms_of(p).items())

    players = {name: params[name] for name in ("generator_ab", "generator_ba")}
    for learner, gradient in jax.jit(jax.grad(generators_loss))(players).items():
        assert_close(after.learners[learner].params, stepped(params[learner], gradient), rtol=2e-3, atol=2e-5)
    assert_terms({term: value for term, value in metrics.items() if term.startswith("generator")}, terms_of(players))
    # What was measured stays as it was.
    assert not table.changed(state.memory["distances_a"], after.memory["distances_a"])


def test_a_run_begins_with_measuring():
    method = table.build("selfdistance", measuring_steps=3)
    assert [method.phase(step).measures for step in range(5)] == [True, True, True, False, False]
    assert not method.phase(0).translates and method.phase(3).translates
    assert not table.build("distancegan", normalize=False).phase(0).measures


def test_images_that_are_all_one_distance_apart_have_no_scale():
    method = table.build("selfdistance")
    measured = method.memory(jax.random.key(0), 2)["distances_a"]
    x = jnp.asarray(images(0))
    measured = method.met(method.met(measured, x), x)
    assert measured.moments.deviation == 0
    np.testing.assert_allclose(method.distances(x, measured, None), [0.0], atol=1e-6)


def test_one_way_has_the_networks_of_one_way():
    method = table.build("distancegan", "one_way")
    assert set(method.networks) == {"generator_ab", "discriminator_b"} and method.kept == ("generator_ab",)


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(measuring_steps=1), "method.measuring_steps=1 must be 2 at least, or method.normalize false"),
        (dict(both_ways=False, cycle_weight=1.0), "method.cycle_weight=1.0 must be 0 where method.both_ways is false"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("distancegan", values)
    assert words in str(caught.value)


def test_a_batch_of_one_has_no_pair():
    with pytest.raises(UserError, match="batch_size=1 must be 2 at least"):
        table.build("distancegan").memory(jax.random.key(0), 1)
