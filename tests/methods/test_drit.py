"""DRIT: one update recomputed plainly, its schedules, and what of the settings does not go together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import assert_close, assert_terms, drawn, is_fake, is_real, random_state, stepped
from uit_jax import methods
from uit_jax.errors import UserError

SIZE, WIDTH, STYLE, COUNT = 16, 8, 2, 4
DOMAIN = {"a": is_fake, "b": is_real}
ENCODED = ("a", "b", "fake_a", "fake_b")


def views() -> dict:
    """Images of each domain, every other one of them to be encoded."""
    made = {side: np.tanh(drawn(seed, 2 * COUNT, SIZE, SIZE, 3)) for seed, side in enumerate("ab")}
    made |= {f"noise_{name}": drawn(seed, COUNT, 4, 4, WIDTH) for seed, name in enumerate(ENCODED, 2)}
    made |= {f"style_{name}": drawn(seed, COUNT, STYLE) for seed, name in enumerate(ENCODED, 6)}
    return made | {f"random_{number}": drawn(10 + number, COUNT, STYLE) for number in (0, 1)}


@functools.cache
def updated(step: int):
    """One update of plain gradient descent from random weights: before, after, metrics."""
    method = table.build("drit")
    run = table.run("drit", table.first("drit"), tuple(p for p in table.phases(method) for _ in range(2)))
    state = random_state(run.method, ())
    after, metrics = run.lifted.step(run.lifted.put_state(state), views(), phase=method.phase(step))
    return run.method, state, after, metrics


def plain(method):
    """Return the networks as functions: of one side's arrays where it has layers of its own."""

    def network(name):
        apply = method.networks[name].module.apply
        return lambda p, side, *x: apply({"params": p[name]}, *({side: each} for each in x))[side]

    return {name: network(name) for name in method.networks}


def both(function) -> dict:
    return {side: function(side, {"a": "b", "b": "a"}[side]) for side in "ab"}


def l1(one, other):
    return abs(one - other).mean()


def scales(logits, loss):
    return sum(loss(each) for each in logits)


def divergence(mean, log_variance):
    """Return the divergence from the standard normal, of which the entries' add up."""
    return ((mean**2 + jnp.exp(log_variance) - 1 - log_variance) / 2).sum() / COUNT


def undecided(logits):
    """Return the loss of not being taken for half real, half fake."""
    return (is_real(logits) + is_fake(logits)) / 2


def named(learner, **terms):
    """Return terms by their names in the metrics."""
    return {f"{learner}/{kind}_{side}": value for kind, sides in terms.items() for side, value in sides.items()}


def total(terms, weights):
    return sum(weights[name.split("/")[1][:-2]] * value for name, value in terms.items())


@pytest.mark.slow
def test_an_update_is_the_papers():
    """Contents and styles one by one; both gradients of the generator at one place, against updated discriminators."""
    method, state, after, metrics = updated(2)
    given = views()
    x, rest = ({side: given[side][row::2] for side in "ab"} for row in (0, 1))
    params, net = {name: learner.params for name, learner in state.learners.items()}, plain(method)

    def contents(p, images, of=""):
        return both(lambda s, _: net["content_encoder"](p, s, images[s]) + given[f"noise_{of}{s}"])

    def styles(p, images, of=""):
        moments = both(lambda s, _: net["style_encoder"](p, s, images[s]))
        return moments, both(lambda s, _: moments[s][0] + given[f"style_{of}{s}"] * jnp.exp(moments[s][1] / 2))

    def draw(p, codes, styles):
        return both(lambda s, _: net["generator"](p, s, codes[s], styles[s]))

    def crossed(values):
        return both(lambda _, other: values[other])

    def exchanged(p):
        codes, (moments, z) = contents(p, x), styles(p, x)
        return codes, moments, draw(p, crossed(codes), z), draw(p, codes, z)

    def sampled(p):
        codes = crossed(contents(p, x))
        return [draw(p, codes, dict.fromkeys("ab", given[f"random_{number}"])) for number in (0, 1)]

    def judge(p, opponents):
        """The first loss of encoders and generator, as terms."""
        codes, moments, fake, same = exchanged(p)
        back = draw(p, crossed(contents(p, fake, "fake_")), styles(p, fake, "fake_")[1])
        return named(
            "generator",
            adversarial=both(lambda s, _: scales(net["discriminator"](opponents, s, fake[s]), is_real)),
            content=both(lambda s, _: scales(net["content_discriminator"](opponents, s, codes[s]), undecided)),
            prior=both(lambda s, _: divergence(*moments[s])),
            size=both(lambda s, _: (codes[s] ** 2).mean()),
            cross=both(lambda s, _: l1(back[s], x[s])),
            self=both(lambda s, _: l1(same[s], x[s])),
        )

    def judge_sampled(p, opponents):
        """The second one; the style encoder only reads."""
        p = {**p, "style_encoder": params["style_encoder"]}
        first, second = sampled(p)
        z, z2 = given["random_0"], given["random_1"]

        def alike(s):
            ratios = [l1(first[s][i], second[s][i]) / l1(z[i], z2[i]) for i in range(COUNT)]
            return sum(1 / (ratio + 1e-5) for ratio in ratios) / COUNT

        def real(s):
            return sum(scales(net["random_discriminator"](opponents, s, each[s]), is_real) for each in (first, second))

        return named(
            "generator",
            random=both(lambda s, _: real(s) / 2),
            latent=both(lambda s, _: l1(net["style_encoder"](p, s, first[s])[0], z)),
            mode_seeking=both(lambda s, _: alike(s)),
        )

    codes, _, fake, _ = jax.jit(exchanged)(params)
    first, second = jax.jit(sampled)(params)

    def told(p):
        return named(
            "discriminator",
            real=both(lambda s, _: scales(net["discriminator"](p, s, x[s]), is_real)),
            fake=both(lambda s, _: scales(net["discriminator"](p, s, fake[s]), is_fake)),
            content=both(lambda s, _: scales(net["content_discriminator"](p, s, codes[s]), DOMAIN[s])),
        )

    def told_sampled(p):
        net_of = net["random_discriminator"]
        return named(
            "random_discriminator",
            real=both(lambda s, _: scales(net_of(p, s, rest[s]), is_real)),
            fake=both(lambda s, _: sum(scales(net_of(p, s, each[s]), is_fake) for each in (first, second)) / 2),
        )

    moved = {name: jax.tree.map(jnp.subtract, after.learners[name].params, params[name]) for name in params}
    opponents = {name: learner.params for name, learner in after.learners.items()}
    ones = dict.fromkeys(("real", "fake", "content"), 1.0)
    first_weights = dict(adversarial=1, content=1, prior=0.01, size=0.01, cross=10, self=10)
    second_weights = dict(random=2, latent=10, mode_seeking=1)
    players = ("generator", "content_encoder", "style_encoder")
    games = [
        (told, ("discriminator", "content_discriminator"), ones),
        # Once for each of the two sampled styles.
        (told_sampled, ("random_discriminator",), {name: 2 * weight for name, weight in ones.items()}),
        (functools.partial(judge, opponents=opponents), players, first_weights),
        (functools.partial(judge_sampled, opponents=opponents), players[:2], second_weights),
    ]
    terms, slopes, ways = {}, dict.fromkeys(params, 0.0), random_state(method, (), seed=1).learners
    for terms_of, names, weights in games:

        @jax.jit
        def slope(direction, terms_of=terms_of, weights=weights):
            """Return the terms, and how fast the loss grows where some weights move in a direction."""

            def loss(learning):
                found = terms_of({**params, **learning})
                return total(found, weights), found

            start = {name: params[name] for name in direction}
            gradient, found = jax.grad(loss, has_aux=True)(start)
            return found, sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))

        for name in names:
            still = {other: jax.tree.map(jnp.zeros_like, params[other]) for other in names}
            found, grows = slope({**still, name: ways[name].params})
            terms |= found
            slopes[name] += grows
    assert_terms(metrics, terms)
    for name in params:
        products = jax.tree.map(lambda one, other: (one * other).sum(), moved[name], ways[name].params)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), -table.RATE * slopes[name], rtol=5e-3, err_msg=name)


def test_between_updates_the_content_discriminator_learns_alone():
    method, state, after, metrics = updated(0)
    given, net = views(), plain(method)
    params = {name: learner.params for name, learner in state.learners.items()}
    codes = both(lambda s, _: net["content_encoder"](params, s, given[s][0::2]) + given[f"noise_{s}"])

    def loss(learning):
        p = {**params, "content_discriminator": learning}
        (a,), (b,) = (net["content_discriminator"](p, side, codes[side]) for side in "ab")
        return is_fake(a) + is_real(b), {"discriminator/content_a": is_fake(a), "discriminator/content_b": is_real(b)}

    gradient, terms = jax.grad(loss, has_aux=True)(params["content_discriminator"])
    assert_terms(metrics, terms)
    params["content_discriminator"] = stepped(params["content_discriminator"], gradient)
    for name, learner in after.learners.items():
        assert_close(learner.params, params[name], rtol=1e-3, atol=2e-5)


def test_either_schedule_is_one_of_phases():
    def told(**settings):
        phases = [table.build("drit", **settings).phase(step) for step in range(6)]
        assert {phase.load_size for phase in phases} == {20}
        return [(phase.name, phase.translates, phase.content) for phase in phases]

    alone, whole, rest = ("content", False, True), ("update", True, True), ("update_alone", True, False)
    assert told() == [alone, alone, whole] * 2
    assert told(update_every=1, content_every=3) == [rest, rest, whole] * 2
    assert told(update_every=1) == [whole] * 6


@pytest.mark.parametrize("settings, absent", [({"mode_seeking_weight": 0.0}, "mode_seeking"), ({}, "content")])
def test_what_does_not_learn_has_no_terms(settings, absent):
    """Without mode seeking one style is sampled; contents are told apart only where that is learnt."""
    method = table.build("drit", update_every=1, content_every=3, **settings)
    update = functools.partial(method.update, phase=method.phase(0))
    _, metrics = jax.eval_shape(update, table.shapes(method), views())
    assert not any(name.endswith((f"discriminator/{absent}_a", f"generator/{absent}_a")) for name in metrics) or (
        absent == "content" and "discriminator/content_a" not in metrics
    )


def test_rates_fall_with_the_runs_iterations_whoever_moves_how_often():
    """Of a period of three iterations generator and content encoder move twice in the last."""

    def rates(name, count, **settings):
        adam = dict(learning_rate=1.0, weight_decay=0.0)
        half = dict(constant_steps=6, decay_steps=5)
        method = table.build("drit", adam=adam, content_rate=1.0, schedule=half, **settings)
        tx, params, found = method.optimizers[name], jnp.ones(()), []
        state = tx.init(params)
        for _ in range(count):
            # Adam moves by its rate where the gradient stays the same.
            update, state = tx.update(params, state, params)
            found.append(-float(update))
        return found

    falling = [1, 1, 1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]
    each, last = np.array(falling), np.array(falling[2::3])
    np.testing.assert_allclose(rates("content_discriminator", 12), each, atol=1e-4)
    for name in ("style_encoder", "discriminator", "random_discriminator"):
        np.testing.assert_allclose(rates(name, 4), last, atol=1e-4)
    for name in ("generator", "content_encoder"):
        np.testing.assert_allclose(rates(name, 8), last.repeat(2), atol=1e-4)
    other = dict(update_every=1, content_every=3)
    np.testing.assert_allclose(rates("content_discriminator", 4, **other), last, atol=1e-4)
    np.testing.assert_allclose(rates("generator", 24, **other), each.repeat(2), atol=1e-4)


def test_the_content_discriminators_gradient_is_cut_to_its_longest():
    """Adam moves by what it remembers: after a long gradient, cut to 5, a short one counts for more."""

    def second(clip, first):
        adam = dict(weight_decay=0.0)
        tx = table.build("drit", content_clip=clip, adam=adam).optimizers["content_discriminator"]
        params = jnp.zeros(2)
        _, state = tx.update(first, tx.init(params), params)
        return tx.update(jnp.array([0.3, -0.4]), state, params)[0]

    long = jnp.array([30.0, 40.0])
    np.testing.assert_allclose(second(5.0, long), second(100.0, long / 10), rtol=1e-4)
    assert np.abs(second(5.0, long) / second(100.0, long) - 1).max() > 0.1


@pytest.mark.parametrize("styling", ["concat", "featurewise"])
def test_domains_that_are_exchanged_are_translated_back(styling):
    """By what is each one's own and what both share: contents of B, drawn as A in the style of an image of A."""
    method = table.build("drit", styling=styling)
    params = {name: learner.params for name, learner in random_state(method, ()).learners.items()}
    net, content, reference = plain(method), views()["b"], views()["a"]
    variables = {name: {"params": params[name]} for name in method.kept}
    _, exchanged = method.exchanged(variables)
    style = jax.jit(lambda p: net["style_encoder"](p, "a", reference)[0])(params)
    expected = jax.jit(lambda p: net["generator"](p, "a", net["content_encoder"](p, "b", content), style))(params)
    back = jax.jit(method.translate)(exchanged, {"content": content, "reference": reference})
    np.testing.assert_allclose(back, expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(method.readouts["style"])(exchanged, reference), style, atol=1e-5)


def test_a_batch_holds_images_to_encode_and_others():
    with pytest.raises(UserError, match="batch_size=3 cannot be divided by 2"):
        table.build("drit").init(jax.random.key(0), 3)


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(image_size=218), "data.image_size=218 must be a multiple of 4"),
        (dict(image_size=128), "method.content_layers=3 is for 212 px at least, and not for data.image_size=128"),
        (dict(discriminator=dict(layers=7)), "data.image_size=216 is below the 512 px of method.discriminator's"),
        (dict(content_every=3), "method.content_every=3 must be 1 where method.update_every is not"),
        (dict(target_channels=1), "data.target_channels=1 must be data.channels=3 or 0"),
        (dict(styling="adain"), "method.styling='adain' must be 'concat' or 'featurewise'"),
        (dict(content_clip=0.0), "method.content_clip=0.0 must be above 0"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("drit", {"load_size": 0, **values})
    assert words in str(caught.value)
