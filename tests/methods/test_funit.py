"""FUNIT: one update recomputed plainly, references, class codes, and which settings do not go together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import assert_close, assert_terms, random_state, stepped
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.methods.fewshot import exchanged

SIZE = 16
LABEL, REFERENCE_LABEL = np.array([2, 0], np.int32), np.array([1, 2], np.int32)


def images(seed: int, count: int = 2):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def views() -> dict:
    return {"x": images(0), "reference": images(1), "label": LABEL, "reference_label": REFERENCE_LABEL}


def l1(one, other):
    return abs(one - other).mean()


@pytest.mark.parametrize("of_mean", [True, False])
def test_an_update_is_the_papers(of_mean):
    """Images and losses one by one; the discriminator learns first, from references alone."""
    own = dict(adversarial_weight=0.5, reconstruction_weight=2.0, feature_weight=3.0, r1_weight=7.0, average=0.9)
    method = table.build_with_sgd("funit", **own, r1_of_mean=of_mean)
    state = random_state(method, ())
    after, metrics = jax.jit(functools.partial(method.update, phase=method.phase(0)))(state, views())
    params, v = {name: learner.params for name, learner in state.learners.items()}, views()

    def generate(p, part, *inputs):
        return method.networks["generator"].module.apply({"params": p}, *inputs, method=part)

    def see(p, x, labels):
        maps, features = method.networks["discriminator"].module.apply({"params": p}, x)
        return jnp.stack([each[..., label] for each, label in zip(maps, labels, strict=True)]), features

    def draw(p):
        content = generate(p, "read_content", v["x"])
        codes = [generate(p, "read_style", v[name]) for name in ("reference", "x")]
        return [generate(p, "decode", content, code) for code in codes]

    def penalty(p):
        if of_mean:
            gradient = jax.grad(lambda x: see(p, x, REFERENCE_LABEL)[0].mean())(v["reference"])
            return (gradient**2).sum() / 2
        gradient = jax.grad(lambda x: see(p, x, REFERENCE_LABEL)[0].mean((1, 2)).sum())(v["reference"])
        return (gradient**2).sum((1, 2, 3)).mean()

    def discriminator_loss(p, fake):
        terms = {
            "discriminator/real": jnp.maximum(0, 1 - see(p, v["reference"], REFERENCE_LABEL)[0]).mean(),
            "discriminator/fake": jnp.maximum(0, 1 + see(p, fake, REFERENCE_LABEL)[0]).mean(),
            "discriminator/r1": penalty(p),
        }
        real, fake, r1 = terms.values()
        return 0.5 * (real + fake) + 7 * r1, terms

    def generator_loss(p, judge):
        moved, same = draw(p)
        (logits, moved_seen), (same_logits, same_seen) = see(judge, moved, REFERENCE_LABEL), see(judge, same, LABEL)
        terms = {
            "generator/adversarial": -(logits.mean() + same_logits.mean()) / 2,
            "generator/reconstruction": l1(same, v["x"]),
            "generator/class_features": l1(moved_seen, see(judge, v["reference"], REFERENCE_LABEL)[1]),
            "generator/own_features": l1(same_seen, see(judge, v["x"], LABEL)[1]),
        }
        return sum(w * each for w, each in zip((0.5, 2, 3, 3), terms.values(), strict=True)), terms

    @jax.jit
    def plain(params):
        fake, _ = draw(params["generator"])
        gradient, against = jax.grad(discriminator_loss, has_aux=True)(params["discriminator"], fake)
        judge = stepped(params["discriminator"], gradient)
        gradient, terms = jax.grad(generator_loss, has_aux=True)(params["generator"], judge)
        return {"generator": stepped(params["generator"], gradient), "discriminator": judge}, terms | against

    expected, terms = plain(params)
    assert_terms(metrics, terms)
    for name, learner in after.learners.items():
        assert_close(learner.params, expected[name], rtol=1e-3, atol=1e-5)
    average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, state.learners["generator"].ema, expected["generator"])
    assert_close(after.learners["generator"].ema, average, rtol=1e-3, atol=1e-5)


def test_a_reference_is_the_neighbour_cropped_anew_with_its_label():
    np.testing.assert_array_equal(exchanged(jnp.arange(12).reshape(6, 2))[:, 0], [2, 0, 6, 4, 10, 8])
    method, batch = table.build("funit", flip=0.0), {}
    # Each image has a colour of its own, so that a crop tells where it is from.
    batch["image"] = np.broadcast_to(30 * np.arange(8, dtype=np.uint8)[:, None, None, None], (8, 20, 20, 3))
    batch["label"] = np.arange(8, dtype=np.int32)
    found = jax.jit(method.views)(jax.random.key(0), batch)
    places = {name: ((np.asarray(found[name]).mean((1, 2, 3)) + 1) * 255 / 60).round() for name in ("x", "reference")}
    np.testing.assert_array_equal(found["label"], places["x"])
    np.testing.assert_array_equal(found["reference_label"], places["reference"])
    np.testing.assert_array_equal(places["reference"], [1, 0, 3, 2, 5, 4, 7, 6])
    # The crops of an image, as content and as reference, are two.
    textured = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3)).astype(np.uint8)
    found = jax.jit(method.views)(jax.random.key(0), {**batch, "image": textured})
    assert np.abs(found["x"][0] - found["reference"][1]).max() > 0.1


@functools.cache
def model():
    method = table.build("funit")
    return method, method.variables(random_state(method, ()))


def test_the_average_translates_and_labels_are_not_asked_for():
    method, variables = model()
    np.testing.assert_array_equal(
        jax.tree.leaves(variables)[0], jax.tree.leaves(random_state(method, ()).learners["generator"].ema)[0]
    )
    assert set(variables) == {"generator"} and method.sides[0].labelled and method.classes == 3
    translate, read = jax.jit(method.translate), jax.jit(method.readouts["style"])
    few = read(variables, images(1, 3)).mean(0, keepdims=True)
    codes = (jnp.repeat(code, 2, 0) for code in (few, -few))
    first, other = (translate(variables, {"content": images(0), "style": code}) for code in codes)
    assert np.abs(first - other).max() > 1e-3 and np.std(first) > 0.01


def test_images_without_classes_or_of_too_many_are_refused():
    method = methods.build("funit", domains=2)
    method.check_images("pets", 10, ("cat", "dog"))
    with pytest.raises(UserError, match="pets has no labels, but this method learns from classes"):
        method.check_images("pets", 10, ())
    with pytest.raises(UserError, match="pets has 3 classes: set method.domains to as many"):
        method.check_images("pets", 10, ("ape", "cat", "dog"))


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(load_size=100), "method.load_size=100 must be 0 or at least the crop's data.image_size=128"),
        (dict(image_size=132), "data.image_size=132 must be a multiple of 8"),
        (dict(image_size=16), "data.image_size=16 is below the 32 px of the halvings of method.generator and discrim"),
        (dict(image_size=16, discriminator=dict(stages=1), generator=dict(style_downs=5)), "is below the 32 px"),
        (dict(domains=0), "method.domains=0 must be 1 to 100000"),
        (dict(generator=dict(mlp_layers=1)), "method.generator.mlp_layers=1 must be 2 to 1000"),
        (dict(rmsprop=dict(decay=1.0)), "method.rmsprop.decay=1.0 must be"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("funit", values)
    assert words in str(caught.value)
