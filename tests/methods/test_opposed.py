"""What discriminators see, in every method that has one: changed images where that is set, and nothing else."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods import by_hand
from tests.pieces import networks_once
from uit_jax import config, methods
from uit_jax.augment import differentiable
from uit_jax.errors import UserError
from uit_jax.memory import image_pool
from uit_jax.method import Method, training_step
from uit_jax.methods import disentangled, domained
from uit_jax.methods.opposed import Opposed
from uit_jax.methods.swapped import Swapped

ALL = dict(augmentation=dict(kinds=tuple(differentiable.CHANGES)))
KINDS = ("real", "fake", "adversarial")
BOTH = {f"{kind}_{side}" for kind in KINDS for side in "ab"}
JUDGED = ("discriminator_real", "discriminator_fake", "random_discriminator_real", "random_discriminator_fake")
# Under which names a method shows images to its discriminators.
SHOWN = {
    **dict.fromkeys("tunit cluit embedding cut fastcut sincut funit semit".split(), set(KINDS)),
    **dict.fromkeys("cyclegan distancegan selfdistance munit".split(), BOTH),
    "gcgan": {f"{kind}_{frame}" for kind in KINDS for frame in ("b", "turned")},
    "drit": {f"{name}_{side}" for name in (*JUDGED, "adversarial", "random") for side in "ab"},
    "starganv2": {f"{source}_{kind}" for source in ("latent", "reference") for kind in KINDS},
    "swapping_autoencoder": {"told", "passed", "penalised"},
}


@pytest.fixture
def shown(monkeypatch):
    """Record the names under which images are seen, what else discriminators are called with, and changes in pools."""
    names, seen, wrong = set(), [], []
    see, judge, crops, exchange = Opposed.seen, Swapped.judge, Swapped.crops, image_pool.exchange

    def check(images, known=True):
        images = [x for x in jax.tree.leaves(images) if x.ndim == 4]
        wrong.extend(x for x in images if known != any(x is each for each in jax.tree.leaves(seen)))

    def remember(pool, images, *more):
        check(images, known=False)
        return exchange(pool, images, *more)

    def spied(self, images, views, name, every=1):
        names.add(name)
        seen.append(see(self, images, views, name, every))
        return seen[-1]

    def call(self, network, variables, *inputs, **options):
        # Codes are learnt from views of their own.
        if not isinstance(self, Swapped) and options.get("only") != ("code",) and is_judge(self, network):
            check(inputs)
        return apply(self, network, variables, *inputs, **options)

    monkeypatch.setattr(Opposed, "seen", spied)
    monkeypatch.setattr(image_pool, "exchange", remember)
    # These are traced apart, where an image is another object.
    for module in (disentangled, domained):
        monkeypatch.setattr(module, "_apply", module._apply.__wrapped__)
    # One judges several batches at once, and crops.
    monkeypatch.setattr(Swapped, "judge", lambda self, params, *images: check(images) or judge(self, params, *images))
    monkeypatch.setattr(Swapped, "crops", lambda self, images, chances: check(images) or crops(self, images, chances))
    # What is called is the same without changes and gradients, and sooner traced.
    monkeypatch.setattr(differentiable, "changed", lambda keys, images, **_: 1 * images)
    monkeypatch.setattr(jax, "grad", lambda function, has_aux: lambda x: (x, function(x)[1]))
    with networks_once():
        apply = Method.call
        monkeypatch.setattr(Method, "call", call)
        yield names, wrong


def is_judge(method, network) -> bool:
    judges = {name: each.module for name, each in method.networks.items() if "discriminator" in name}
    judges.pop("content_discriminator", None)  # it judges codes
    plain = network.clone(axis_name=None) if hasattr(network, "axis_name") else network
    return plain in list(judges.values())


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_discriminator_sees_nothing_but_what_is_seen(name, shown):
    names, wrong = shown
    method = table.build(name, **ALL)
    learning = [each for each in table.phases(method) if each.translates or name == "swapping_autoencoder"]
    for phase in {each.translates: each for each in reversed(learning)}.values():
        step = functools.partial(training_step(method), phase=phase)
        jax.eval_shape(step, table.shapes(method), table.batch_of(method, phase=phase))
    assert names == SHOWN[name] and not wrong


def test_without_changes_the_program_is_as_if_there_were_no_such_setting(monkeypatch):
    def program(**augmentation):
        method = table.build("distancegan", "one_way", augmentation=augmentation)
        step = functools.partial(training_step(method), phase=method.phase(0))
        with networks_once():
            traced = jax.make_jaxpr(step)(table.shapes(method), table.batch_of(method))
        return re.sub("0x[0-9a-f]+", "", str(traced))

    off, on = program(), program(**ALL["augmentation"])
    monkeypatch.setattr(Opposed, "seen", lambda self, images, *_: images)
    monkeypatch.setattr(Opposed, "changes", lambda *_: {})
    # Another probability, for what is traced is kept.
    assert off == program(probability=0.5) != on


def test_draws_are_of_an_example_and_a_name():
    method, x = table.build("cyclegan", **ALL), np.repeat(by_hand.images(0, 1), 4, 0)
    views = method.changes(jax.random.key(0), 4, None)
    see = jax.jit(lambda images, name, every: method.seen(images, views, name, every), static_argnums=(1, 2))
    real, fake, twice = see(x, "real", 1), see(x, "fake", 1), see(np.concatenate([x, x]), "real", 1)
    different = np.concatenate([twice, fake]).reshape(12, -1)
    assert np.abs(different[:, None] - different[None])[~np.eye(12, dtype=bool)].max(-1).min() > 1e-3
    np.testing.assert_allclose(real, twice[:4], atol=1e-6)
    np.testing.assert_allclose(see(x[::2], "real", 2), real[::2], atol=1e-6)


def test_draws_do_not_depend_on_the_devices():
    method, key = table.build("cyclegan", **ALL), jax.random.PRNGKey(0)
    shares = jax.vmap(lambda _: method.changes(key, 2, "data")["changes"], axis_name="data")(jnp.arange(2))
    np.testing.assert_array_equal(shares.reshape(4, 2), method.changes(key, 4, None)["changes"])


def test_a_generator_learns_through_changes_alone():
    small = dict(generator=dict(blocks=1, antialias=False, antialias_up=False), discriminator=dict(kind="pixel"))
    method = table.build_with_sgd("cut", nce_weight=0.0, patches=dict(layers=(0,)), **small, **ALL)
    state, step = by_hand.random_state(method, ()), functools.partial(training_step(method), phase=method.phase(0))
    after, terms = jax.jit(step)(state, table.batch_of(method))
    assert all(np.isfinite(each).all() for each in jax.tree.leaves((after.learners, terms)))
    for name in ("generator", "discriminator"):
        assert table.changed(state.learners[name].params, after.learners[name].params)


def test_a_penalty_is_with_respect_to_images_as_they_are():
    method, x, codes = table.build("embedding", "logit", **ALL), by_hand.images(0), np.zeros((8, 4), np.float32)
    params = by_hand.random_state(method, ()).learners["discriminator"].params
    views = {"x": x, "key": codes, "key_ref": codes, **method.changes(jax.random.key(0), 8, None)}

    def loss(params):
        loss, (terms, _) = method.oppose(views, method.phase(0), {"discriminator": params}, {"fake": -x})
        return loss, terms["r1"]

    def judge(x):
        return method.discriminate(params, method.seen(x, views, "real"), codes)[0]

    (gradient, penalty), wanted = jax.jit(lambda: (jax.grad(loss, has_aux=True)(params), by_hand.penalty(judge, x)))()
    assert penalty > 0 and all(np.isfinite(each).all() for each in jax.tree.leaves(gradient))
    np.testing.assert_allclose(penalty, wanted, rtol=1e-4)


@pytest.mark.parametrize("kinds, message", [("colour", "must be 'color' or 'trans"), ("color,color", "a change twice")])
def test_unknown_changes_are_told(kinds, message):
    with pytest.raises(UserError, match=f"^method.augmentation.kinds=.*{message}") as caught:
        config.check(config.override(config.defaults("cut"), [f"--config.method.augmentation.kinds={kinds}"]))
    assert "\n" not in str(caught.value)


def test_kinds_are_written_with_commas():
    chosen = config.override(config.defaults("cut"), ["--config.method.augmentation.kinds=color,cutout"])
    assert config.method_of(chosen).augmentation.kinds == ("color", "cutout")
    assert config.method_of(config.defaults("cut")).augmentation.kinds == ()
