"""MUNIT: one update recomputed plainly, codes that come back, its files, and which settings do not go together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import assert_close, assert_terms, drawn, is_fake, is_real, random_state, stepped
from tests.nn.test_vgg import write_weights
from uit_jax import config, methods
from uit_jax.errors import UserError
from uit_jax.nn import vgg
from uit_jax.training import loop

SIZE, STYLE = 16, 4


def images(seed: int, count: int = 2):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def views() -> dict:
    styles = {name: drawn(seed, 2, STYLE) for seed, name in enumerate(("style_a", "style_b", "shown_a", "shown_b"))}
    return {"a": images(0), "b": images(1), **styles}


def l1(one, other):
    return abs(one - other).mean()


@pytest.mark.slow
def test_an_update_is_the_papers(tmp_path):
    """Codes, images and losses one by one; the discriminators learn first, from translations in other styles."""
    weights = write_weights(tmp_path / "vgg.npz")
    own = dict(vgg=str(tmp_path / "vgg.npz"), perceptual_weight=2.0, cycle_weight=7.0, gan_loss="nonsaturating")
    method = table.build_with_sgd("munit", **own)
    state = random_state(method, ())
    after, metrics = jax.jit(functools.partial(method.update, phase=method.phase(0)))(state, views())
    params, v = {name: learner.params for name, learner in state.learners.items()}, views()

    def apply(name, p, *inputs, **how):
        return method.networks[name].module.apply({"params": p[name]}, *inputs, **how)

    def encode(side, p, x):
        return apply(f"generator_{side}", p, x, method="encode")

    def decode(side, p, content, style):
        return apply(f"generator_{side}", p, content, style, method="decode")

    def over_sizes(loss, side, p, x):
        return sum(loss(logits) for logits in apply(f"discriminator_{side}", p, x))

    def discriminators_loss(p, fake_a, fake_b):
        terms = {}
        for side, fake in (("a", fake_a), ("b", fake_b)):
            terms[f"discriminator_{side}/real"] = over_sizes(is_real, side, p, v[side])
            terms[f"discriminator_{side}/fake"] = over_sizes(is_fake, side, p, fake)
        return sum(terms.values()), terms

    def generators_loss(p, judges):
        (content_a, style_a), (content_b, style_b) = encode("a", p, v["a"]), encode("b", p, v["b"])
        ba, ab = decode("a", p, content_b, v["style_a"]), decode("b", p, content_a, v["style_b"])
        (content_ba, style_ba), (content_ab, style_ab) = encode("a", p, ba), encode("b", p, ab)

        def perceptual(x, y):
            x, y = vgg.features(weights, x), vgg.features(weights, y)
            x, y = ((z - z.mean((1, 2), keepdims=True)) / jnp.sqrt(z.var((1, 2), keepdims=True) + 1e-5) for z in (x, y))
            return ((x - y) ** 2).mean()

        terms = {
            "generator_a/adversarial": over_sizes(is_real, "a", judges, ba),
            "generator_b/adversarial": over_sizes(is_real, "b", judges, ab),
            "generator_a/image": l1(decode("a", p, content_a, style_a), v["a"]),
            "generator_b/image": l1(decode("b", p, content_b, style_b), v["b"]),
            "generator_a/style": l1(style_ba, v["style_a"]),
            "generator_b/style": l1(style_ab, v["style_b"]),
            "generator_a/content": l1(content_ba, content_b),
            "generator_b/content": l1(content_ab, content_a),
            "generator_a/cycle": l1(decode("b", p, content_ba, style_b), v["b"]),
            "generator_b/cycle": l1(decode("a", p, content_ab, style_a), v["a"]),
            "generator_a/perceptual": perceptual(ba, v["b"]),
            "generator_b/perceptual": perceptual(ab, v["a"]),
        }
        factors = {"adversarial": 1, "image": 10, "style": 1, "content": 1, "cycle": 7, "perceptual": 2}
        return sum(factors[name.split("/")[1]] * value for name, value in terms.items()), terms

    @jax.jit
    def plain(params):
        shown_a = decode("a", params, encode("b", params, v["b"])[0], v["shown_a"])
        shown_b = decode("b", params, encode("a", params, v["a"])[0], v["shown_b"])
        opponents = {name: params[name] for name in ("discriminator_a", "discriminator_b")}
        gradients, against = jax.grad(discriminators_loss, has_aux=True)(opponents, shown_a, shown_b)
        opponents = stepped(opponents, gradients)
        players = {name: params[name] for name in ("generator_a", "generator_b")}
        gradients, terms = jax.grad(generators_loss, has_aux=True)(players, opponents)
        return stepped(players, gradients) | opponents, terms | against

    expected, terms = plain(params)
    assert_terms(metrics, terms)
    assert min(terms.values()) > 0.01
    for name, learner in after.learners.items():
        assert_close(learner.params, expected[name], rtol=1e-3, atol=1e-5)


@functools.cache
def model(alike: bool = False):
    """A model of random weights, those of the domains being the same or not."""
    method = table.build("munit")
    state = random_state(method, ())
    if alike:
        state = state.with_learners({"generator_b": state.learners["generator_a"]})
    return method, method.variables(state)


def test_an_image_with_its_own_style_comes_back_as_its_own_network_has_it():
    """The two domains being one, to translate to the image's own style is to reconstruct it."""
    method, variables = model(alike=True)
    x = images(0)
    translated = jax.jit(method.translate)(variables, {"content": x, "reference": x})
    own = jax.jit(method.networks["generator_a"].module.apply)(variables["generator_a"], x)
    np.testing.assert_allclose(translated, own, atol=1e-5)


def test_contents_are_read_by_a_and_styles_by_b():
    """Of A's network what decodes and reads styles does not matter, nor of B's what reads contents."""
    method, variables = model()
    spoilt = {
        "generator_a": {"encoder": variables["generator_a"]["params"]["encoder"]},
        "generator_b": {name: own for name, own in variables["generator_b"]["params"].items() if name != "encoder"},
    }
    zeros = jax.tree.map(jnp.zeros_like, variables)
    spoilt = {name: {"params": {**zeros[name]["params"], **own}} for name, own in spoilt.items()}
    translate, inputs = jax.jit(method.translate), {"content": images(0), "reference": images(1)}
    expected = translate(variables, inputs)
    np.testing.assert_array_equal(translate(spoilt, inputs), expected)
    assert np.std(expected) > 0.01
    # Another style is another image.
    other = translate(variables, inputs | {"reference": images(2)})
    assert np.abs(other - expected).max() > 1e-3


def test_domains_that_are_exchanged_are_translated_back():
    """What encodes contents is B's, what reads styles and decodes A's."""
    method, variables = model()
    _, exchanged = method.exchanged(variables)
    content, reference = images(0), images(1)

    @jax.jit
    def by_hand(content, reference):
        a, b = (functools.partial(method.networks[name].module.apply, variables[name]) for name in method.kept)
        style = a(reference, method="encode")[1]
        return a(b(content, method="encode")[0], style, method="decode"), style

    expected, style = by_hand(content, reference)
    for given in ({"reference": reference}, {"style": style}):
        back = jax.jit(method.translate)(exchanged, {"content": content, **given})
        np.testing.assert_allclose(back, expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(method.readouts["style"])(exchanged, reference), style, atol=1e-5)


def test_styles_are_sampled_from_a_normal_prior_one_for_each_key():
    method = table.build("munit", style_dim=64)
    keys = jax.random.split(jax.random.key(0), 100)
    styles = jax.jit(method.style_prior)(None, keys)
    assert styles.shape == (100, 64) and abs(styles.mean()) < 0.05 and abs(styles.std() - 1) < 0.05
    np.testing.assert_array_equal(jax.jit(method.style_prior)(None, keys[7:9]), styles[7:9])


def test_a_styles_samples_are_four_of_every_pair():
    method = table.build("munit")
    views = jax.jit(method.views)(jax.random.key(0), table.batch_of(method))
    styles = [np.asarray(views[name]) for name in ("style_a", "style_b", "shown_a", "shown_b")]
    assert len(np.unique(np.concatenate(styles).round(4))) == 4 * 8 * STYLE


def test_terms_that_are_not_asked_for_are_not_there():
    method = table.build("munit")
    shapes = jax.eval_shape(functools.partial(method.update, phase=method.phase(0)), table.shapes(method), views())
    assert {name.split("/")[1] for name in shapes[1]} == {"adversarial", "image", "style", "content", "real", "fake"}


def test_training_does_not_begin_without_the_weights_of_a_perceptual_term(tmp_path):
    """Nothing is written; what is trained is used without them."""
    wanted = config.update(config.defaults("munit"), {"method.vgg": str(tmp_path / "nowhere.npz")})
    with pytest.raises(UserError, match="nowhere.npz cannot be read as an .npz file of VGG-16's weights: No such file"):
        loop.train(wanted, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    method = config.method_of(wanted)
    assert jax.eval_shape(functools.partial(method.init, batch_size=1), jax.random.key(0)).learners.keys()


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(image_size=258, load_size=258), "data.image_size=258 must be a multiple of 4"),
        (dict(load_size=100), "method.load_size=100 must be 0 or at least the crop's data.image_size=256"),
        (dict(image_size=60, load_size=60), "data.image_size=60 is below the 61 px of method.discriminator"),
        (dict(image_size=8, load_size=8, discriminator=dict(layers=1, scales=1)), "is below the 16 px of method."),
        (dict(target_channels=1), "data.target_channels=1 must be 0 or data.channels=3"),
        (dict(channels=1, vgg="vgg.npz"), "method.vgg='vgg.npz' must be empty where data.channels=1"),
        (dict(style_dim=0), "method.style_dim=0 must be 1 at least"),
        (dict(schedule=dict(factor=2.0)), "method.schedule.factor=2.0 must be"),
        (dict(gan_loss="wasserstein"), "method.gan_loss='wasserstein' must be 'lsgan' or 'nonsaturating'"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("munit", values)
    assert words in str(caught.value)
