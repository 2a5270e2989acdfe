"""CUT and FastCUT: what an iteration computes, against a plain computation of the same; schedules, views, settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import method_table as table
from tests.methods import plain_patches as plain
from tests.methods.plain_patches import stepped
from uit_jax import augment, methods, optimizers
from uit_jax.errors import UserError
from uit_jax.method import load_size, training_step
from uit_jax.methods.cut import CUT, FastCUT
from uit_jax.nn.patchgan import PatchDiscriminator

# --- the losses of an iteration ---


def plainly(m, views, before, after) -> dict:
    """Compute the generator's terms of the first step from the state before it and the discriminator after it."""

    def draw(side):
        images = plain.turned(views, views[side])
        return m.generator_module.apply({"params": before.learners["generator"].params}, images)

    fake = draw("a")
    network = PatchDiscriminator(width=m.discriminator.width, layers=m.discriminator.layers)
    logits = network.apply({"params": after.learners["discriminator"].params}, fake)
    terms = {"generator/adversarial": jnp.square(logits - 1).mean()}
    terms["generator/nce"] = plain.nce(m, views, before, "a", fake)
    if m.identity:
        terms["generator/nce_identity"] = plain.nce(m, views, before, "b", draw("b"))
    return terms


PLAIN = [
    ("cut", "internal"),
    ("cut", "minibatch"),
    ("cut", "external"),
    ("cut", "both"),
    ("cut", "two_encoders"),
    ("fastcut", "mirrored"),
    ("fastcut", "all_patches"),
    ("fastcut", "external"),
]


@pytest.mark.parametrize("name, configuration", PLAIN)
def test_the_generator_s_terms_are_those_of_a_plain_computation(name, configuration):
    method, views, (before, after), metrics = stepped(name, configuration)
    expected = jax.jit(functools.partial(plainly, method))(views, before, after)
    assert {key for key in metrics if key.startswith("generator")} == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(metrics[key], value, rtol=2e-4, err_msg=key)
    if name == "fastcut":
        assert 0 < views["mirror"].sum() < len(views["mirror"])


def test_keys_enter_the_queues_in_order_and_the_averages_follow():
    method, views, (before, after), _ = stepped("cut", "external")
    for side in ("a", "b"):
        keys = jax.jit(functools.partial(plain.keys, method, side=side))(views, before)
        for layer, queue in after.memory["queues"][side].items():
            old = before.memory["queues"][side][layer].keys
            added = views["a"].shape[0] * 5
            np.testing.assert_array_equal(queue.keys[:-added], old[added:])
            # The averages begin as the weights.
            np.testing.assert_allclose(queue.keys[-added:], keys[int(layer)].reshape(added, -1), rtol=1e-3, atol=1e-5)
            lengths = np.linalg.norm(queue.keys[-added:], axis=-1)
            # A patch on which all hidden units are silent has no code.
            np.testing.assert_allclose(lengths[lengths > 0], np.ones((lengths > 0).sum()), rtol=1e-3)
            assert (lengths > 0).mean() > 0.9
    for name in ("generator", "patches"):
        moved = jax.tree.map(lambda e, p: 0.999 * e + 0.001 * p, before.learners[name].ema, after.learners[name].params)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.learners[name].ema, moved
        )


def test_the_average_is_what_inference_uses():
    method, _, (_, after), _ = stepped("cut", "no_identity")
    used = method.variables(after)["generator"]["params"]
    assert not table.changed(used, after.learners["generator"].ema)
    assert table.changed(used, after.learners["generator"].params)


def test_the_average_that_makes_keys_does_not_translate():
    method, _, (_, after), _ = stepped("cut", "external")
    assert not table.changed(method.variables(after)["generator"]["params"], after.learners["generator"].params)


def test_the_contrastive_loss_may_leave_the_decoder_alone():
    _, _, (before, after), _ = stepped("cut", "frozen_decoder")
    moved = {
        name: table.changed(part, after.learners["generator"].params[name])
        for name, part in before.learners["generator"].params.items()
    }
    decoder = {name: value for name, value in moved.items() if name.startswith(("up", "image"))}
    assert len(decoder) == 3 and not any(decoder.values())
    assert moved["stem"] and moved["down_0"] and moved["block_0"]


def test_without_contrastive_loss_there_is_no_patch_network():
    method, _, (_, after), metrics = stepped("cut", "no_contrast")
    assert "patches" not in after.learners and "generator/nce" not in metrics
    codes = jax.eval_shape(method.readouts["patch_codes"], method.variables(after), jnp.zeros((1, 16, 16, 3)))
    assert set(codes) == set(table.PATCHES["patches"]["layers"])


def test_the_contrastive_loss_falls_where_nothing_opposes_it():
    free = dict(adversarial_weight=0.0, schedule=dict(constant_steps=30))
    method = table.build("cut", adam=dict(learning_rate=2e-3), **free)
    views = jax.jit(method.views)(jax.random.key(1), table.batch_of(method))
    step, state = jax.jit(functools.partial(method.update, phase=method.phase(0))), table.start(method)
    losses = []
    for _ in range(30):
        state, metrics = step(state, views)
        losses.append(float(metrics["generator/nce"]))
    assert losses[-1] < 0.6 * losses[0]


# --- schedules ---


def rates(name, monkeypatch, **schedule):
    """Return the learning rate, as a multiple of the first, that the optimisers of a method are built with."""
    found = []

    def adam(learning_rate, **_):
        found.append(learning_rate)
        return optax.sgd(learning_rate)

    monkeypatch.setattr(optimizers, "adam", adam)
    assert table.build(name, adam=dict(learning_rate=1.0), schedule=schedule).networks
    return found[0]


def test_the_rate_is_constant_then_falls_linearly(monkeypatch):
    """The published multipliers after 199, 200 and 399 epochs, with a step for an epoch."""
    rate = rates("cut", monkeypatch, constant_steps=200, decay_steps=200)
    for step, published in ((0, 1), (199, 1), (200, 0.99502), (399, 0.00498)):
        np.testing.assert_allclose(rate(step), published, atol=1e-5)
    rate = rates("fastcut", monkeypatch, constant_steps=150, decay_steps=50)
    for step, published in ((149, 1), (150, 0.98039), (199, 0.01961)):
        np.testing.assert_allclose(rate(step), published, atol=1e-5)
    assert rate(10_000) == 0


def test_the_decay_is_not_cropped():
    method = table.build("cut")
    phases = [method.phase(step) for step in (0, 1, 2, 9)]
    assert [phase.name for phase in phases] == ["cropped", "cropped", "uncropped", "uncropped"]
    assert [load_size(method, phase) for phase in phases] == [20, 20, 16, 16]
    whole = table.batch_of(method, phase=phases[-1])
    views = method.views(jax.random.key(0), whole)
    images = augment.normalize(whole["a"])
    for view, image in zip(views["a"], images, strict=True):
        assert min(jnp.abs(view - image).max(), jnp.abs(view - image[:, ::-1]).max()) < 1e-6
    for changes in (dict(crop_in_decay=True), dict(load_size=16), dict(load_size=0)):
        method = table.build("cut", **changes)
        assert method.phase(9) == method.phase(0) and method.phase(9).name == "cropped"


# --- views ---


def test_places_are_distinct_the_same_in_all_images_and_cover_the_layer():
    method, seen = table.build("cut"), set()
    for seed in range(40):
        views = method.views(jax.random.key(seed), table.batch_of(method, 2))
        for side in ("a", "b"):
            for places in views[f"places_{side}"].values():
                assert (places[0] == places[1]).all() and len(set(places[0].tolist())) == 5
        assert not (views["places_a"][12] == views["places_b"][12]).all()
        seen |= set(views["places_a"][12][0].tolist())
    assert seen == set(range(16))


# --- channels, sizes and stages ---


@pytest.mark.parametrize("name", ["cut", "fastcut", "sincut"])
@pytest.mark.parametrize("channels, target", [(1, 3), (3, 1), (5, 3), (1, 1)])
def test_domains_may_differ_in_channels(name, channels, target):
    method = table.build(name, channels=channels, target_channels=target, identity=True)
    batch = {
        side.name: np.zeros((2, *((24, 30) if name == "sincut" else (20, 20)), side.channels), np.uint16)
        for side in method.sides
    }
    assert [images.shape[-1] for images in batch.values()] == [channels, target]
    step = functools.partial(training_step(method), phase=method.phase(0))
    state = jax.eval_shape(lambda key: method.init(key, 2), jax.random.PRNGKey(0))
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    content = jnp.zeros((1, 16, 24, channels))
    variables = jax.eval_shape(method.variables, state)
    assert jax.eval_shape(method.translate, variables, {"content": content}).shape == (1, 16, 24, target)


@pytest.mark.parametrize("name", ["cut", "sincut"])
def test_stages_say_their_scale_and_stay(name):
    origin = jnp.zeros(2, jnp.int32)
    method, _, (_, after), _ = stepped(name, table.first(name))
    maps, scale = jnp.zeros((1, 32, 48, 3)), 1.0
    for stage in method.stages:
        run = functools.partial(stage.run, normalize=lambda x: x)
        maps = jax.eval_shape(lambda v, m, o, run=run: run(v, m, origin=o), method.variables(after), maps, origin)
        scale *= stage.scale
        assert maps.shape[1:3] == (32 * scale, 48 * scale)
    assert scale == 1 and maps.shape == (1, 32, 48, 3)
    # What tiling compiled is kept by the functions' identity.
    assert method.stages is method.stages


def test_the_stages_are_the_whole():
    method, _, (_, after), _ = stepped("cut", "internal")
    content = jax.random.uniform(jax.random.key(3), (2, 16, 24, 3), minval=-1.0)
    variables = method.variables(after)
    whole = jax.jit(method.generator_module.apply)(variables["generator"], content)
    np.testing.assert_allclose(jax.jit(method.translate)(variables, {"content": content}), whole, atol=1e-5)


# --- settings ---


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_size": 18}, "^data.image_size=18 must be a multiple of 4"),
        ({"image_size": 12}, "^data.image_size=12 must be 16 to 16384"),
        (
            {"image_size": 16, "discriminator": {"layers": 3}, "load_size": 16},
            "^data.image_size=16 is below the 24 px that the patch discriminator needs with method.discriminator",
        ),
        ({"channels": 0}, "^data.channels=0 must be 1 at least"),
        ({"target_channels": -1}, "^data.target_channels=-1 must be 0 at least"),
        ({"load_size": 12}, "^method.load_size=12 must be 0 or at least the crop's data.image_size=16"),
        ({"load_size": -1}, "^method.load_size=-1 must be 0 to 16384"),
        (
            {"patches": {"layers": (0, 99)}},
            r"^method.patches.layers=\(0, 99\): the generator has no layer 99 to compare; it has 0, 1, 2",
        ),
        ({"patches": {"layers": (-1,)}}, r"^method.patches.layers=\(-1,\) must be 0 at least"),
        ({"patches": {"layers": ()}}, r"^method.patches.layers=\(\) must have one entry at least"),
        ({"patches": {"layers": (0, 0)}}, r"^method.patches.layers=\(0, 0\) names a layer twice"),
        ({"patches": {"layers": (0, 1.5)}}, "^method.patches.layers=.* must be a list"),
        ({"patches": {"count": -1}}, "^method.patches.count=-1 must be 0 at least"),
        ({"patches": {"count": 2.5}}, "^method.patches.count=2.5 must be a whole number"),
        ({"patches": {"dim": 0}}, "^method.patches.dim=0 must be 1 at least"),
        ({"patches": {"mlp": 1}}, "^method.patches.mlp=1 must be true or false"),
        ({"patches": {"temperature": 0.0}}, "^method.patches.temperature=0.0 must be above 0"),
        ({"patches": {"temperature": float("nan")}}, "^method.patches.temperature=nan must be"),
        ({"patches": 16}, "^method.patches=16 must be"),
        ({"negatives": {"kind": "moco"}}, "^method.negatives.kind='moco' must be 'internal' or 'minibatch' or"),
        ({"negatives": {"queue_size": 0}}, "^method.negatives.queue_size=0 must be 1 at least"),
        ({"negatives": {"key_average": 2.0}}, "^method.negatives.key_average=2.0 must be 0 at least and below 1"),
        ({"negatives": {"kind": "external"}, "average": 0.9}, "^method.average=0.9 must be 0 with .*kind='external'"),
        ({"average": 1.0}, "^method.average=1.0 must be 0 at least and below 1"),
        (
            {"negatives": {"kind": "both"}, "shared_encoder": False},
            "^method.shared_encoder=False must be true with method.negatives.kind='both'",
        ),
        ({"gan_loss": "wgan"}, "^method.gan_loss='wgan' must be 'lsgan'"),
        ({"nce_weight": -1.0}, "^method.nce_weight=-1.0 must be 0 at least"),
        ({"adversarial_weight": -1.0}, "^method.adversarial_weight=-1.0 must be 0 at least"),
        ({"adam": {"learning_rate": -1.0}}, "^method.adam.learning_rate=-1.0 must be above 0"),
        ({"adam": {"b1": 1.0}}, "^method.adam.b1=1.0 must be 0 at least and below 1"),
        ({"schedule": {"constant_steps": -1}}, "^method.schedule.constant_steps=-1 must be 0 at least"),
        ({"schedule": {"decay_steps": -1}}, "^method.schedule.decay_steps=-1 must be 0 at least"),
        ({"generator": {"width": 0}}, "^method.generator.width=0 must be 1 at least"),
        ({"generator": {"blocks": 0}}, "^method.generator.blocks=0 must be 1 to 1000"),
        ({"discriminator": {"width": 0}}, "^method.discriminator.width=0 must be 1 at least"),
        ({"discriminator": {"layers": -1}}, "^method.discriminator.layers=-1 must be 0 to 12"),
        ({"discriminator": {"kind": "stylegan2"}}, "^method.discriminator.kind='stylegan2' must be 'patch' or 'pixel'"),
        ({"norm": "group"}, "^method.norm='group' must be 'instance' or 'batch' or 'none'"),
        ({"initializer": "he"}, "^method.initializer='he' must be 'xavier'"),
        ({"init_gain": 0.0}, "^method.init_gain=0.0 must be above 0"),
        ({"flip": 1.5}, "^method.flip=1.5 must be 0 to 1"),
        ({"precision": "half"}, "^precision='half' must be 'float32' or 'bf16'"),
        ({"crops": 4}, "^method.crops: there is no such setting"),
        ({"patches": {"number": 4}}, "^method.patches.number: there is no such setting"),
    ],
)
@pytest.mark.parametrize("name", ["cut", "fastcut"])
def test_bad_settings_are_named(name, changes, message):
    with pytest.raises(UserError, match=message):
        table.build(name, **changes)


def test_images_smaller_than_their_crops_are_refused():
    method = table.build("cut", load_size=0)
    batch = {"a": np.zeros((1, 24, 24, 3), np.uint8), "b": np.zeros((1, 12, 40, 3), np.uint8)}
    with pytest.raises(UserError, match="images of 40 x 12 are smaller than the crops of data.image_size=16"):
        jax.eval_shape(method.views, jax.random.PRNGKey(0), batch)


def test_a_queue_smaller_than_a_batch_of_patches_is_refused():
    with pytest.raises(UserError, match="^method.negatives.queue_size=64 holds less than one global batch of 80 keys"):
        table.shapes(table.build("cut", "external"), 16)


def test_a_queue_that_nothing_is_compared_with_does_not_matter():
    method = table.build("cut", "external", nce_weight=0.0, average=0.9)
    assert table.shapes(method, 16).memory == () and list(method.networks) == ["generator", "discriminator"]


PUBLISHED = {"generator": 11_378_179, "discriminator": 2_764_737, "patches": 560_384}


@pytest.mark.parametrize("kind", [CUT, FastCUT])
def test_published_defaults(kind):
    method = kind()
    expected = (1.0, True, False) if kind is CUT else (10.0, False, True)
    assert (method.nce_weight, method.identity, method.flip_equivariance) == expected
    assert (method.image_size, method.load_size, method.adam.learning_rate) == (256, 286, 2e-4)
    state = jax.eval_shape(lambda key: method.init(key, 1), jax.random.PRNGKey(0))
    assert {n: sum(x.size for x in jax.tree.leaves(v.params)) for n, v in state.learners.items()} == PUBLISHED


def test_equal_settings_are_equal_methods():
    assert methods.build("cut") == CUT() and hash(methods.build("cut")) == hash(CUT())
    assert methods.build("fastcut") != CUT()
