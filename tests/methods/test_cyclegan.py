"""CycleGAN: one update recomputed plainly, its pools, its schedule, and what of the settings does not go together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import assert_close, assert_terms, random_state, stepped
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.memory import image_pool

SIZE = 16


def images(seed: int, count: int = 2):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def views(coin: float = 1.0) -> dict:
    tosses = image_pool.Tosses(np.full(2, coin, np.float32), np.array([1, 0], np.int32))
    return {"a": images(0), "b": images(1), "tosses_a": tosses, "tosses_b": tosses}


def full_pools() -> dict:
    return {side: image_pool.ImagePool(images(seed, 3), jnp.int32(3)) for seed, side in ((2, "a"), (3, "b"))}


def l1(one, other):
    return abs(one - other).mean()


@functools.cache
def updated(coin: float):
    """One update of plain gradient descent from random weights, the pools full: before, after, metrics."""
    method = table.build_with_sgd("cyclegan")
    state = random_state(method, full_pools())
    after, metrics = jax.jit(functools.partial(method.update, phase=method.phase(0)))(state, views(coin))
    return method, state, after, metrics


@pytest.mark.parametrize("coin", [1.0, 0.0])
def test_an_update_is_the_papers(coin):
    """Translations and losses one by one; the discriminators see what comes out of the pools, made before the step."""
    method, state, after, metrics = updated(coin)
    a, b = images(0), images(1)
    apply = {name: lambda p, x, n=each: n.module.apply({"params": p}, x) for name, each in method.networks.items()}
    params = {name: learner.params for name, learner in state.learners.items()}

    def terms_of(p):
        ab, ba = (functools.partial(apply[name], p[name]) for name in ("generator_ab", "generator_ba"))
        fake_b, fake_a = ab(a), ba(b)
        is_b, is_a = apply["discriminator_b"], apply["discriminator_a"]
        return fake_a, fake_b, {
            "generator_ab/adversarial": ((is_b(params["discriminator_b"], fake_b) - 1) ** 2).mean(),
            "generator_ba/adversarial": ((is_a(params["discriminator_a"], fake_a) - 1) ** 2).mean(),
            "generator_ab/cycle": l1(ba(fake_b), a),
            "generator_ba/cycle": l1(ab(fake_a), b),
            "generator_ab/identity": l1(ab(b), b),
            "generator_ba/identity": l1(ba(a), a),
        }

    def generators_loss(p):
        terms = terms_of(p)[2]
        weights = {"adversarial": 1, "cycle": 10, "identity": 5}
        return sum(weights[name.split("/")[1]] * value for name, value in terms.items())

    players = {name: params[name] for name in ("generator_ab", "generator_ba")}
    gradients = jax.jit(jax.grad(generators_loss))(players)
    fake_a, fake_b, terms = terms_of(players)
    pools = full_pools()
    # Each of the two images is exchanged for the one in its slot, or shown itself.
    shown = {"a": fake_a, "b": fake_b}
    if coin:
        shown = {side: pool.images[jnp.array([1, 0])] for side, pool in pools.items()}

    def discriminators_loss(p):
        found = {}
        for side, real in (("a", a), ("b", b)):
            name = f"discriminator_{side}"
            found[f"{name}/real"] = ((apply[name](p[name], real) - 1) ** 2).mean()
            found[f"{name}/fake"] = (apply[name](p[name], shown[side]) ** 2).mean()
        return sum(found.values()) / 2, found

    opponents = {name: params[name] for name in ("discriminator_a", "discriminator_b")}
    (_, against) = discriminators_loss(opponents)
    gradients |= jax.jit(jax.grad(discriminators_loss, has_aux=True))(opponents)[0]
    assert_terms(metrics, terms | against)
    for name, gradient in gradients.items():
        assert_close(after.learners[name].params, stepped(params[name], gradient), rtol=1e-3, atol=1e-5)
    for side, fake in (("a", fake_a), ("b", fake_b)):
        expected = np.array(pools[side].images)
        if coin:
            expected[[1, 0]] = fake
        np.testing.assert_allclose(after.memory[side].images, expected, atol=1e-5)


def test_without_an_identity_term_there_is_none_and_domains_may_differ_in_channels():
    method = table.build("cyclegan", identity_weight=0.0, target_channels=1)
    state = table.start(method, 2)
    batch = {"a": np.zeros((2, 20, 20, 3), np.uint8), "b": np.zeros((2, 20, 20, 1), np.uint8)}
    step = jax.jit(lambda s, b: method.update(s, method.views(s.key, b), phase=method.phase(0)))
    after, metrics = jax.eval_shape(step, state, batch)
    assert not any("identity" in name for name in metrics)
    translated = jax.eval_shape(method.translate, method.variables(state), {"content": jnp.zeros((1, 16, 24, 3))})
    assert translated.shape == (1, 16, 24, 1)


def test_domains_that_are_exchanged_are_translated_back():
    """By the other generator, whose channels are the other way round."""
    method = table.build("cyclegan", identity_weight=0.0, target_channels=1)
    variables = method.variables(random_state(method, full_pools()))
    turned, exchanged = method.exchanged(variables)
    assert [side.channels for side in turned.sides] == [1, 3] and turned.exchanged(exchanged)[0] == method
    content = images(0)[..., :1]
    expected = method.networks["generator_ba"].module.apply(variables["generator_ba"], content)
    assert expected.shape == (2, SIZE, SIZE, 3)
    np.testing.assert_allclose(jax.jit(turned.translate)(exchanged, {"content": content}), expected, atol=1e-5)


def test_the_rate_falls_linearly_and_an_epoch_early_where_the_published_code_does():
    def rates(lead):
        adam = dict(learning_rate=1.0)
        method = table.build("cyclegan", adam=adam, schedule=dict(constant_steps=4, decay_steps=3), decay_lead=lead)
        params = jnp.ones(())
        tx, found = method.optimizers["generator_ab"], []
        state = tx.init(params)
        for _ in range(7):
            # Adam moves by its rate where the gradient stays the same.
            update, state = tx.update(params, state, params)
            found.append(-float(update))
        return found

    np.testing.assert_allclose(rates(0), [1, 1, 1, 1, 0.75, 0.5, 0.25], atol=1e-5)
    np.testing.assert_allclose(rates(1), [1, 1, 1, 0.75, 0.5, 0.25, 0], atol=1e-5)


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(image_size=258), "data.image_size=258 must be a multiple of 4"),
        (dict(load_size=100), "method.load_size=100 must be 0 or at least the crop's data.image_size=256"),
        (dict(image_size=20, load_size=20), "data.image_size=20 is below the 24 px"),
        (dict(target_channels=1), "method.identity_weight=5.0 must be 0 where data.target_channels differ"),
        (dict(pool_size=-1), "method.pool_size=-1 must be 0 at least"),
        (dict(gan_loss="hinge"), "method.gan_loss='hinge' must be 'lsgan' or"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("cyclegan", values)
    assert words in str(caught.value)
