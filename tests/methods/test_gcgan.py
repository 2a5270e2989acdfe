"""GcGAN: one update recomputed plainly, its turns, and what of the settings does not go together."""

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
from uit_jax.methods import gcgan

SIZE = 16


def images(seed: int):
    return np.random.default_rng(seed).uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)


def l1(one, other):
    return abs(one - other).mean()


def test_turns_are_numpys_and_their_inverses_undo_them():
    x = images(0)
    clockwise, back = gcgan.TURNS["rotation"]
    np.testing.assert_array_equal(clockwise(x)[1], np.rot90(x[1], -1))
    # What was at the top is at the right.
    np.testing.assert_array_equal(clockwise(x)[:, :, -1], x[:, 0])
    np.testing.assert_array_equal(back(clockwise(x)), x)
    down, up = gcgan.TURNS["flip"]
    np.testing.assert_array_equal(down(x)[:, 0], x[:, -1])
    np.testing.assert_array_equal(up(down(x)), x)


@pytest.mark.parametrize("turn", gcgan.TURNS)
def test_translations_that_agree_are_consistent(turn):
    there, _ = gcgan.TURNS[turn]
    x, other = jnp.asarray(images(0)), jnp.asarray(images(1))
    assert gcgan.consistency(x, there(x), turn) == 0
    # Each frame is drawn to the other, held still: two terms of one value.
    np.testing.assert_allclose(gcgan.consistency(x, there(other), turn), 2 * l1(x, other), rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_an_update_is_the_papers(shared):
    """Translations and losses one by one, the pools empty: the discriminators see the translations themselves."""
    method = table.build_with_sgd("gcgan", shared=shared)
    a, b = images(0), images(1)
    there, back = gcgan.TURNS["rotation"]
    turned_a, turned_b = there(a), there(b)
    tosses = image_pool.Tosses(np.zeros(2, np.float32), np.zeros(2, np.int32))
    memory = {name: image_pool.create(3, (SIZE, SIZE, 3)) for name in ("b", "turned")}
    state = random_state(method, memory)
    views = {"a": a, "b": b, "tosses_b": tosses, "tosses_turned": tosses}
    after, metrics = jax.jit(functools.partial(method.update, phase=method.phase(0)))(state, views)
    params = {name: learner.params for name, learner in state.learners.items()}
    apply = {name: lambda p, x, n=each: n.module.apply({"params": p}, x) for name, each in method.networks.items()}
    second = "generator" if shared else "generator_turned"

    def drawn(p):
        plain = functools.partial(apply["generator"], p["generator"])
        turned = functools.partial(apply[second], p[second])
        return plain(a), turned(turned_a), plain(b), turned(turned_b)

    def terms_of(p):
        y, turned_y, same, turned_same = drawn(p)
        is_b, is_turned = (apply[f"discriminator_{name}"] for name in ("b", "turned"))
        held = jax.lax.stop_gradient
        return {
            "generator/adversarial_b": ((is_b(params["discriminator_b"], y) - 1) ** 2).mean(),
            "generator/adversarial_turned": ((is_turned(params["discriminator_turned"], turned_y) - 1) ** 2).mean(),
            "generator/consistency": l1(y, held(back(turned_y))) + l1(turned_y, held(there(y))),
            "generator/identity_b": l1(same, b),
            "generator/identity_turned": l1(turned_same, turned_b),
        }

    def generators_loss(p):
        t = {name.split("/")[1]: value for name, value in terms_of(p).items()}
        identity = 5 * (t["identity_b"] + t["identity_turned"])
        return t["adversarial_b"] + t["adversarial_turned"] + 20 * t["consistency"] + identity

    players = {name: params[name] for name in {"generator", second}}
    gradients = jax.jit(jax.grad(generators_loss))(players)
    y, turned_y, _, _ = drawn(players)

    def discriminators_loss(p):
        found = {}
        for name, real, fake in (("b", b, y), ("turned", turned_b, turned_y)):
            judge = functools.partial(apply[f"discriminator_{name}"], p[f"discriminator_{name}"])
            found[f"discriminator_{name}/real"] = ((judge(real) - 1) ** 2).mean()
            found[f"discriminator_{name}/fake"] = (judge(fake) ** 2).mean()
        return sum(found.values()) / 2, found

    opponents = {name: params[name] for name in ("discriminator_b", "discriminator_turned")}
    against = discriminators_loss(opponents)[1]
    gradients |= jax.jit(jax.grad(discriminators_loss, has_aux=True))(opponents)[0]
    assert_terms(metrics, terms_of(players) | against)
    for name, gradient in gradients.items():
        assert_close(after.learners[name].params, stepped(params[name], gradient), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(after.memory["turned"].images[:2], turned_y, atol=1e-5)


def test_domains_may_differ_in_channels_without_an_identity_term():
    with pytest.raises(UserError, match="method.identity_weight=5.0 must be 0 where data.target_channels differ"):
        methods.build("gcgan", target_channels=1)
    method = table.build("gcgan", identity_weight=0.0, target_channels=1)
    content = {"content": jnp.zeros((1, 16, 24, 3))}
    assert jax.eval_shape(method.translate, method.variables(table.shapes(method)), content).shape == (1, 16, 24, 1)


def test_an_unknown_turn_is_named():
    with pytest.raises(UserError, match="method.turn='left' must be 'rotation' or 'flip'"):
        methods.build("gcgan", turn="left")
