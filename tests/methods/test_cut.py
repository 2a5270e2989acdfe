"""CUT, FastCUT and SinCUT: what an iteration computes, against a plain computation of the same; schedules and crops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import method_table as table
from uit_jax import augment, methods, optimizers
from uit_jax.errors import UserError
from uit_jax.losses import contrastive
from uit_jax.methods import cut
from uit_jax.nn import cut as networks
from uit_jax.nn import sincut
from uit_jax.types import Method


@pytest.fixture(autouse=True, scope="module")
def quick_compile():
    with table.quick_compile():
        yield


def settings(name="cut", **changes):
    kind, _ = methods.METHODS[name]
    return kind(**{**table.TINY[name], **changes})


@functools.cache
def stepped(name: str, configuration: str):
    """Return the method of a configuration, its views, and the states around one step of it with its metrics."""
    run = table.run(name, configuration, ("cropped",))
    return run.method, run.views, run.states, run.metrics[0]


# --- the losses of an iteration, computed plainly: every pass of its own, features mirrored as images are ---


def plain_terms(name: str, configuration: str) -> dict:
    """Compute the generator's terms of the first step from the state before it and the discriminator after it."""
    s = settings(name, **table.CONFIGURATIONS[name][configuration].hparams)
    _, views, (before, after), _ = stepped(name, configuration)
    return jax.jit(functools.partial(plainly, s))(views, before, after)


def plainly(s, views, before, after) -> dict:
    generator, taps = s.generator_module, tuple(s.patch_layers)
    params = {"params": before.learners["generator"].params}
    noises = {side: views.get(f"noise_{side}") for side in "ab"}

    def turned(images):
        mirror = views.get("mirror", jnp.zeros(len(images), bool))
        return jnp.where(mirror[:, None, None, None], images[:, :, ::-1], images)

    def draw(side):
        images = turned(views[side])
        return (
            generator.apply(params, images) if noises[side] is None else generator.apply(params, images, noises[side])
        )

    def features(images, owner="generator"):
        return generator.apply({"params": before.learners[owner].params}, images, taps, method="features")

    def codes(maps, places, owner="patches"):
        flat = {t: m.reshape(len(m), -1, m.shape[-1]) for t, m in maps.items()}
        if places is not None:
            flat = {t: jnp.stack([row[p] for row, p in zip(f, places[t], strict=True)]) for t, f in flat.items()}
        flat = networks.PatchMLP(dim=s.patch_dim).apply({"params": before.learners[owner].params}, flat)
        return {t: f / (jnp.linalg.norm(f, axis=-1, keepdims=True) + 1e-7) for t, f in flat.items()}

    def nce(side, output):
        places = views[f"positions_{side}"] if s.patches else None
        own = "" if s.shared_encoder else "output_"
        found = {t: turned(f) for t, f in features(output, f"{own}generator").items()}
        query = codes(found, places, f"{own}patches")
        key = codes(features(views[side]), places)
        losses = []
        for tap in taps:
            if s.negatives in ("external", "both"):
                queue = before.memory["queues"][side][str(tap)].keys
            if s.negatives == "both":
                inside = jnp.einsum("bpd,bqd->bpq", query[tap], key[tap])
                scores = jnp.concatenate([inside, query[tap] @ queue.T], -1) / s.temperature
                picked = jnp.diagonal(jax.nn.log_softmax(scores), axis1=1, axis2=2)
                losses.append(-picked.mean())
            elif s.negatives == "external":
                scores = jnp.concatenate([(query[tap] * key[tap]).sum(-1)[..., None], query[tap] @ queue.T], -1)
                losses.append(-jax.nn.log_softmax(scores / s.temperature)[..., 0].mean())
            elif s.negatives == "minibatch":
                one = (1, -1, s.patch_dim)
                losses.append(contrastive.patch_nce(query[tap].reshape(one), key[tap].reshape(one), s.temperature))
            else:
                losses.append(contrastive.patch_nce(query[tap], key[tap], s.temperature))
        return sum(losses) / len(losses)

    fake = draw("a")
    judge = {"params": after.learners["discriminator"].params}
    if s.discriminator == "stylegan2":
        network = sincut.StyleGAN2Discriminator(image_size=s.image_size, width=s.discriminator_width)
        terms = {"generator/adversarial": jax.nn.softplus(-network.apply(judge, fake)).mean()}
    else:
        network = networks.PatchDiscriminator(width=s.discriminator_width, layers=s.discriminator_layers)
        terms = {"generator/adversarial": jnp.square(network.apply(judge, fake) - 1).mean()}
    terms["generator/nce"] = nce("a", fake)
    if s.identity:
        terms["generator/nce_identity"] = nce("b", draw("b"))
    if s.identity_l1_weight:
        terms["generator/identity"] = jnp.abs(draw("b") - turned(views["b"])).mean()
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
    ("sincut", "single"),
]


@pytest.mark.parametrize("name, configuration", PLAIN)
def test_the_generator_s_terms_are_those_of_a_plain_computation(name, configuration):
    _, views, _, metrics = stepped(name, configuration)
    expected = plain_terms(name, configuration)
    assert {key for key in metrics if key.startswith("generator")} == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(metrics[key], value, rtol=2e-4, err_msg=key)
    if name == "fastcut":
        assert 0 < views["mirror"].sum() < len(views["mirror"])


def test_the_discriminator_judges_before_its_step():
    _, views, (before, _), metrics = stepped("sincut", "single")
    s = settings("sincut")
    network = sincut.StyleGAN2Discriminator(image_size=s.image_size, width=s.discriminator_width)

    @jax.jit
    def judged(params, generator, a, noise, b):
        judge = functools.partial(network.apply, {"params": params})
        fake = judge(s.generator_module.apply({"params": generator}, a, noise))
        return fake, judge(b), jax.grad(lambda x: judge(x).sum())(b)

    params = (before.learners[name].params for name in ("discriminator", "generator"))
    fake, real, gradient = judged(*params, views["a"], views["noise_a"], views["b"])
    np.testing.assert_allclose(metrics["discriminator/fake"], np.log1p(np.exp(fake)).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["discriminator/real"], np.log1p(np.exp(-real)).mean(), rtol=1e-4)
    penalty = np.square(np.asarray(gradient, np.float64)).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["discriminator/r1"], penalty, rtol=1e-3)


def test_keys_enter_the_queues_in_order_and_the_averages_follow():
    _, views, (before, after), _ = stepped("cut", "external")
    for side in ("a", "b"):
        for layer, queue in after.memory["queues"][side].items():
            old = before.memory["queues"][side][layer].keys
            added = views["a"].shape[0] * 5
            np.testing.assert_array_equal(queue.keys[:-added], old[added:])
            np.testing.assert_allclose(np.linalg.norm(queue.keys[-added:], axis=-1), np.ones(added), rtol=1e-3)
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
    assert set(codes) == set(table.PATCHES["patch_layers"])


def test_the_contrastive_loss_falls_where_nothing_opposes_it():
    method = table.build("cut", learning_rate=2e-3, adversarial_weight=0.0)
    views = jax.jit(method.views)(jax.random.key(1), table.batch_of(method))
    step, state = jax.jit(functools.partial(method.update, phase="cropped")), table.start(method)
    losses = []
    for _ in range(30):
        state, metrics = step(state, views)
        losses.append(float(metrics["generator/nce"]))
    assert losses[-1] < 0.6 * losses[0]


# --- schedules ---


def rates(name, monkeypatch, **hparams):
    """Return the learning rates, as multiples of the first, that the optimisers of a method are built with."""
    found = []

    def adam(rate, **_):
        found.append(rate)
        return optax.sgd(rate)

    monkeypatch.setattr(optimizers, "adam", adam)
    cut.build(settings(name, learning_rate=1.0, **hparams))
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
    assert [method.phase(step) for step in (0, 1, 2, 9)] == ["cropped", "cropped", "uncropped", "uncropped"]
    assert [method.load_size(phase) for phase in ("cropped", "uncropped")] == [20, 16]
    whole = table.batch_of(method, phase="uncropped")
    views = method.views(jax.random.key(0), whole)
    images = augment.normalize(whole["a"])
    for view, image in zip(views["a"], images, strict=True):
        assert min(jnp.abs(view - image).max(), jnp.abs(view - image[:, ::-1]).max()) < 1e-6
    assert table.build("cut", crop_in_decay=True).phase(9) == "cropped"
    assert table.build("cut", load_size=16).phase(9) == "cropped"


# --- views ---


def test_places_are_distinct_the_same_in_all_images_and_cover_the_layer():
    method, seen = table.build("cut"), set()
    for seed in range(40):
        views = method.views(jax.random.key(seed), table.batch_of(method, 2))
        for side in ("a", "b"):
            for places in views[f"positions_{side}"].values():
                assert (places[0] == places[1]).all() and len(set(places[0].tolist())) == 5
        assert not (views["positions_a"][12] == views["positions_b"][12]).all()
        seen |= set(views["positions_a"][12][0].tolist())
    assert seen == set(range(16))


def test_crops_of_one_pair_differ_and_come_from_their_images():
    method = table.build("sincut", crops=6)
    batch = {"a": np.full((1, 40, 60, 3), 10, np.uint8), "b": np.full((1, 30, 20, 3), 200, np.uint8)}
    batch["a"][:, :, 30:] = 90
    views = method.views(jax.random.key(0), batch)
    assert views["a"].shape == views["b"].shape == (6, 16, 16, 3) and views["noise_a"].shape == (6, 16, 16, 1)
    np.testing.assert_allclose(views["b"], np.full((6, 16, 16, 3), 200 / 127.5 - 1), atol=1e-5)
    assert len(np.unique(np.asarray(views["a"]).reshape(6, -1), axis=0)) > 1
    assert len(np.unique(np.asarray(views["noise_a"]).reshape(6, -1), axis=0)) == 6


# --- channels, sizes and stages ---


def test_channels_are_matched():
    rgb = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 3)), jnp.float32)
    luma = cut.match_channels(rgb, 1)
    np.testing.assert_allclose(luma[..., 0], np.asarray(rgb) @ np.array([0.299, 0.587, 0.114]), atol=1e-6)
    np.testing.assert_array_equal(cut.match_channels(luma, 3), np.repeat(luma, 3, -1))
    np.testing.assert_allclose(cut.match_channels(cut.match_channels(luma, 3), 1), luma, atol=1e-6)
    assert cut.match_channels(rgb, 3) is rgb
    ramp = jnp.arange(4.0).reshape(1, 1, 1, 4)
    np.testing.assert_allclose(cut.match_channels(ramp, 8)[0, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(cut.match_channels(ramp, 2)[0, 0, 0], [0.5, 2.5])


@pytest.mark.parametrize("name", ["cut", "fastcut", "sincut"])
@pytest.mark.parametrize("channels, target", [(1, 3), (3, 1), (5, 3), (1, 1)])
def test_domains_may_differ_in_channels(name, channels, target):
    method = table.build(name, channels=channels, target_channels=target, identity=True)
    batch = {
        side: np.zeros((2, *((24, 30) if name == "sincut" else (20, 20)), count), np.uint16)
        for side, count in (("a", channels), ("b", target))
    }
    step = functools.partial(methods.training_step(method), phase="cropped")
    state = jax.eval_shape(method.init, jax.random.PRNGKey(0), batch)
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    content = jnp.zeros((1, 16, 24, channels))
    variables = jax.eval_shape(method.variables, state)
    assert jax.eval_shape(method.translate, variables, {"content": content}).shape == (1, 16, 24, target)


def test_stages_say_their_scale():
    origin = jnp.zeros(2, jnp.int32)
    for name in ("cut", "sincut"):
        method, _, (_, after), _ = stepped(name, table.first(name))
        maps, scale = jnp.zeros((1, 32, 48, 3)), 1.0
        for stage in method.stages:
            run = functools.partial(stage.run, normalize=lambda x: x)
            maps = jax.eval_shape(lambda v, m, o, run=run: run(v, m, origin=o), method.variables(after), maps, origin)
            scale *= stage.scale
            assert maps.shape[1:3] == (32 * scale, 48 * scale)
        assert scale == 1 and maps.shape == (1, 32, 48, 3)


def test_noise_is_of_training_alone():
    method, _, (_, after), _ = stepped("sincut", "single")
    translate = jax.jit(lambda content: method.translate(method.variables(after), {"content": content}))
    once, again = (translate(jnp.zeros((1, 16, 16, 3))) for _ in range(2))
    np.testing.assert_array_equal(once, again)


# --- settings ---


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("cut", {"image_size": 18}, "^data.image_size=18 must be a multiple of 4"),
        ("cut", {"image_size": 16, "discriminator_layers": 3, "load_size": 16}, "image_size=16 is below the .* px"),
        ("cut", {"load_size": 12}, "load_size=12 must be 0 or at least"),
        ("cut", {"patch_layers": (0, 99)}, "patch_layers: the generator has no layer 99 to compare; it has 0, 1, 2"),
        ("cut", {"patch_layers": ()}, "patch_layers must name one layer at least"),
        ("sincut", {"patch_layers": (0, 16)}, "no layer 16 to compare"),
        ("cut", {"negatives": "moco"}, "negatives='moco' must be 'internal' or 'minibatch' or 'external'"),
        ("cut", {"gan_loss": "wgan"}, "gan_loss='wgan' must be 'lsgan'"),
        ("cut", {"negatives": "external", "average": 0.9}, "average must be 0 with negatives='external'"),
        ("cut", {"negatives": "both", "shared_encoder": False}, "shared_encoder must be true with negatives='both'"),
        ("cut", {"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ("cut", {"learning_rate": -1.0}, "method.learning_rate=-1.0 must be above 0"),
        ("cut", {"nce_weight": -1.0}, "method.nce_weight=-1.0 must be 0 at least"),
        ("cut", {"key_average": 2.0}, "method.key_average=2.0 must lie in 0 to 1"),
        ("cut", {"b1": 1.0}, "method.b1=1.0 must lie in 0 to 1"),
        ("cut", {"patch_layers": (0, 0)}, "names a layer twice"),
        ("cut", {"precision": "half"}, "^precision='half' must be 'float32' or 'bf16'"),
        ("sincut", {"zoom": ("a", "b")}, "zoom=.* must be two factors"),
        ("sincut", {"zoom": (0.0, 1.0)}, "zoom=.* must be two factors"),
        ("sincut", {"image_size": 48}, "image_size=48 must be a power of two"),
        ("cut", {"patches": -1}, "patches=-1 must be 0 at least"),
        ("cut", {"crops": 0}, "crops=0 must be 1 at least"),
    ],
)
def test_bad_settings_are_named(name, changes, message):
    with pytest.raises(UserError, match=message):
        settings(name, **changes)


@pytest.mark.parametrize("name", ["cut", "sincut"])
def test_images_smaller_than_their_crops_are_refused(name):
    method = table.build(name, load_size=0)
    batch = {"a": np.zeros((1, 24, 24, 3), np.uint8), "b": np.zeros((1, 12, 40, 3), np.uint8)}
    with pytest.raises(UserError, match="images of 40 x 12 are smaller than the crops of data.image_size=16"):
        jax.eval_shape(method.views, jax.random.PRNGKey(0), batch)


def test_a_queue_smaller_than_a_batch_of_patches_is_refused():
    with pytest.raises(UserError, match="queue_size=64 holds less than one global batch of 80 keys"):
        table.shapes(table.build("cut", "external"), 16)


def test_published_defaults():
    plain, fast, single = cut.Settings(), cut.FastSettings(), cut.SinSettings()
    assert (plain.nce_weight, plain.identity, plain.flip_equivariance) == (1.0, True, False)
    assert (fast.nce_weight, fast.identity, fast.flip_equivariance) == (10.0, False, True)
    assert (single.nce_weight, single.image_size, single.crops, single.patches) == (4.0, 64, 16, 1)
    for s in (plain, fast, single):
        method: Method = cut.build(s)
        size = 2 * s.image_size if s.load_size == 0 else s.load_size
        shape = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
        state = jax.eval_shape(method.init, jax.random.PRNGKey(0), {"a": shape, "b": shape})
        counts = {n: sum(x.size for x in jax.tree.leaves(v.params)) for n, v in state.learners.items()}
        published = {"generator": 11_378_179, "discriminator": 2_764_737, "patches": 560_384}
        if s is single:
            published = {"generator": 3_068_404, "discriminator": 5_885_473, "patches": 280_832}
        assert counts == published
