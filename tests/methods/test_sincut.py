"""SinCUT: what an iteration computes, against a plain computation of the same; crops, the penalty, settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods import plain_patches as plain
from tests.methods.plain_patches import stepped
from uit_jax.errors import UserError
from uit_jax.method import load_size
from uit_jax.methods.sincut import SinCUT
from uit_jax.nn.stylegan2 import StyleGAN2Discriminator


def discriminator(method):
    return StyleGAN2Discriminator(image_size=method.image_size, width=method.discriminator.width)


def plainly(m, views, before, after) -> dict:
    """Compute the generator's terms of the first step from the state before it and the discriminator after it."""

    def draw(side):
        params = {"params": before.learners["generator"].params}
        return m.generator_module.apply(params, views[side], views[f"noise_{side}"])

    fake = draw("a")
    logits = discriminator(m).apply({"params": after.learners["discriminator"].params}, fake)
    terms = {"generator/adversarial": jax.nn.softplus(-logits).mean()}
    terms["generator/nce"] = plain.nce(m, views, before, "a", fake)
    if m.identity:
        terms["generator/nce_identity"] = plain.nce(m, views, before, "b", draw("b"))
    if m.identity_l1_weight:
        terms["generator/identity"] = jnp.abs(draw("b") - views["b"]).mean()
    return terms


@pytest.mark.parametrize("configuration", ["single", "external"])
def test_the_generator_s_terms_are_those_of_a_plain_computation(configuration):
    method, views, (before, after), metrics = stepped("sincut", configuration)
    expected = jax.jit(functools.partial(plainly, method))(views, before, after)
    assert {key for key in metrics if key.startswith("generator")} == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(metrics[key], value, rtol=2e-4, err_msg=key)


def test_the_discriminator_judges_before_its_step():
    method, views, (before, _), metrics = stepped("sincut", "single")

    @jax.jit
    def judged(params, generator, a, noise, b):
        judge = functools.partial(discriminator(method).apply, {"params": params})
        fake = judge(method.generator_module.apply({"params": generator}, a, noise))
        return fake, judge(b), jax.grad(lambda x: judge(x).sum())(b)

    params = (before.learners[name].params for name in ("discriminator", "generator"))
    fake, real, gradient = judged(*params, views["a"], views["noise_a"], views["b"])
    np.testing.assert_allclose(metrics["discriminator/fake"], np.log1p(np.exp(fake)).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["discriminator/real"], np.log1p(np.exp(-real)).mean(), rtol=1e-4)
    penalty = np.square(np.asarray(gradient, np.float64)).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["discriminator/r1"], penalty, rtol=1e-3)


def test_the_penalty_counts_half_and_has_a_period():
    method = table.build("sincut", r1=dict(weight=3.0, every=4))
    assert [method.phase(step).penalised for step in range(6)] == [True, False, False, False, True, False]
    assert table.build("sincut").phase(0) == table.build("sincut").phase(1)
    shapes = table.shapes(method, 1).learners["discriminator"].params
    params = jax.tree.map(lambda leaf: 0.1 * jnp.ones(leaf.shape), shapes)
    ramp = jnp.linspace(-1, 1, 16 * 16 * 3).reshape(1, 16, 16, 3)
    oppose = jax.jit(method.oppose, static_argnums=3)
    lazy, (terms, _) = oppose(params, -ramp, {"b": ramp}, method.phase(1))
    assert set(terms) == {"real", "fake"}
    np.testing.assert_allclose(lazy, (terms["real"] + terms["fake"]) / 2, rtol=1e-5)
    penalised, (terms, _) = oppose(params, -ramp, {"b": ramp}, method.phase(0))
    assert terms["r1"] > 0
    np.testing.assert_allclose(penalised - lazy, 3.0 * 4 / 2 * terms["r1"], rtol=1e-3)


def test_crops_of_one_pair_differ_and_come_from_their_images():
    method = table.build("sincut", crops=6)
    batch = {"a": np.full((1, 40, 60, 3), 10, np.uint8), "b": np.full((1, 30, 20, 3), 200, np.uint8)}
    batch["a"][:, :, 30:] = 90
    views = method.views(jax.random.key(0), batch)
    assert views["a"].shape == views["b"].shape == (6, 16, 16, 3) and views["noise_a"].shape == (6, 16, 16, 1)
    np.testing.assert_allclose(views["b"], np.full((6, 16, 16, 3), 200 / 127.5 - 1), atol=1e-5)
    assert len(np.unique(np.asarray(views["a"]).reshape(6, -1), axis=0)) > 1
    assert len(np.unique(np.asarray(views["noise_a"]).reshape(6, -1), axis=0)) == 6


def test_crops_lie_next_to_those_of_their_image():
    method = table.build("sincut", crops=3)
    batch = {side: np.zeros((2, 20, 20, 3), np.uint8) for side in "ab"}
    batch["a"][1] = 255
    means = np.asarray(method.views(jax.random.key(0), batch)["a"]).mean((1, 2, 3))
    np.testing.assert_allclose(means, [-1, -1, -1, 1, 1, 1], atol=1e-5)


def test_only_what_is_looked_at_is_translated():
    views = {}
    for name, changes in {"a": dict(identity=False, identity_l1_weight=0.0), "ab": dict(identity=False)}.items():
        method = table.build("sincut", **changes)
        views[name] = jax.eval_shape(method.views, jax.random.PRNGKey(0), table.batch_of(method))
    assert "noise_b" not in views["a"] and "noise_b" in views["ab"] and "places_b" not in views["ab"]


def test_noise_is_of_training_alone():
    method, _, (_, after), _ = stepped("sincut", "single")
    translate = jax.jit(lambda content: method.translate(method.variables(after), {"content": content}))
    once, again = (translate(jnp.zeros((1, 16, 16, 3))) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_translations_are_clipped():
    method, _, (_, after), _ = stepped("sincut", "single")
    variables = jax.tree.map(lambda leaf: 30 * leaf, method.variables(after))
    content = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3), minval=-1.0)
    assert jnp.abs(method.translate(variables, {"content": content})).max() == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"patches": {"layers": (0, 16)}}, r"^method.patches.layers=\(0, 16\): the generator has no layer 16"),
        ({"zoom": ("a", "b")}, "^method.zoom=.* must be a list"),
        ({"zoom": (0.0, 1.0)}, r"^method.zoom=\(0.0, 1.0\) must be 2 numbers, each .*the smaller first"),
        ({"zoom": (1.0, 0.5)}, "^method.zoom=.* must be 2 numbers"),
        ({"zoom": (0.5,)}, "^method.zoom=.* must be 2 numbers"),
        ({"zoom": (0.5, 1.5)}, "^method.zoom=.* must be 2 numbers"),
        ({"image_size": 48}, "^data.image_size=48 must be a power of two"),
        ({"image_size": 4}, "^data.image_size=4 must be a power of two and 8 to 16384"),
        ({"crops": 0}, "^method.crops=0 must be 1 to 4096"),
        ({"load_size": 8}, "^method.load_size=8 must be 0 or at least the crop's data.image_size=16"),
        ({"identity_l1_weight": -1.0}, "^method.identity_l1_weight=-1.0 must be 0 at least"),
        ({"r1": {"weight": -1.0}}, "^method.r1.weight=-1.0 must be 0 at least"),
        ({"r1": {"every": 0}}, "^method.r1.every=0 must be 1 at least"),
        ({"generator": {"width": 0}}, "^method.generator.width=0 must be 1 at least"),
        ({"discriminator": {"width": 0}}, "^method.discriminator.width=0 must be 1 at least"),
        ({"negatives": {"kind": "external"}, "average": 0.5}, "^method.average=0.5 must be 0"),
        ({"flip_equivariance": True}, "^method.flip_equivariance: there is no such setting"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        table.build("sincut", **changes)


def test_images_smaller_than_their_crops_are_refused():
    method = table.build("sincut")
    batch = {"a": np.zeros((1, 24, 24, 3), np.uint8), "b": np.zeros((1, 12, 40, 3), np.uint8)}
    with pytest.raises(UserError, match="images of 40 x 12 are smaller than the crops of data.image_size=16"):
        jax.eval_shape(method.views, jax.random.PRNGKey(0), batch)


def test_a_queue_holds_the_patches_of_all_crops():
    method = table.build("sincut", negatives=dict(kind="external", queue_size=31))
    with pytest.raises(UserError, match="^method.negatives.queue_size=31 holds less than one global batch of 32 keys"):
        table.shapes(method, 16)
    assert set(table.shapes(method, 15).memory["queues"]) == {"a", "b"}


def test_published_defaults():
    method = SinCUT()
    assert (method.nce_weight, method.image_size, method.crops, method.patches.count) == (4.0, 64, 16, 1)
    assert (method.adam.learning_rate, method.adam.b1, method.adam.b2) == (2e-3, 0.0, 0.99)
    assert method.negatives.kind == "minibatch" and load_size(method, method.phase(0)) == 0
    state = jax.eval_shape(lambda key: method.init(key, 1), jax.random.PRNGKey(0))
    counts = {n: sum(x.size for x in jax.tree.leaves(v.params)) for n, v in state.learners.items()}
    assert counts == {"generator": 3_068_404, "discriminator": 5_885_473, "patches": 280_832}
