"""The Swapping Autoencoder's turns, what is swapped, its settings; golden values hold losses and whole iterations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import drawn, images, random_state
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.methods.swapping_autoencoder import DISCRIMINATE, PENALISED, TRANSLATE


def test_both_sides_take_turns_and_the_penalty_comes_with_every_sixteenth_of_the_discriminators():
    method = methods.build("swapping_autoencoder")
    turns = [method.phase(step) for step in range(96)]
    assert set(turns[1::2]) == {TRANSLATE} and set(turns[0::2]) == {DISCRIMINATE, PENALISED}
    assert [step for step, turn in enumerate(turns) if turn == PENALISED] == [30, 62, 94]
    without = methods.build("swapping_autoencoder", r1=dict(weight=0.0))
    assert not any(without.phase(step).penalised for step in range(96))
    assert methods.build("swapping_autoencoder", load_size=300).phase(0).load_size == 300


def test_discriminators_move_by_sixteen_seventeenths():
    method = methods.build("swapping_autoencoder", adam=dict(b1=0.5))
    rates = method.rates(0)
    assert rates["encoder"] == rates["generator"] == 2e-3
    np.testing.assert_allclose(rates["discriminator"], 2e-3 * 16 / 17)
    # The first step of Adam is its rate; the second, of a gradient of the other sign, tells the decays.
    for name, share in (("patch_discriminator", 16 / 17), ("generator", 1.0)):
        transformation, params = method.networks[name].optimizer, jnp.zeros(())
        state = transformation.init(params)
        for gradient in (1.0, -3.0):
            update, state = transformation.update(jnp.float32(gradient), state, params)
        b1, b2 = 0.5**share, 0.99**share
        mean = (b1 * (1 - b1) - 3 * (1 - b1)) / (1 - b1**2)
        square = (b2 * (1 - b2) + 9 * (1 - b2)) / (1 - b2**2)
        np.testing.assert_allclose(update, -2e-3 * share * mean / np.sqrt(square), rtol=1e-3)


@functools.cache
def made():
    """Return a method, its weights, views, codes, and what is made of them."""
    method = table.build("swapping_autoencoder")
    params = {name: learner.params for name, learner in random_state(method, ()).learners.items()}
    views = jax.jit(method.views)(jax.random.key(1), table.batch_of(method))

    @jax.jit
    def run(params, views):
        codes = method.run(params, "encoder", views["x"])
        return codes, method.make(params, views)

    return method, params, views, *run(params, views)


def test_neighbours_exchange_their_structures_and_every_second_image_is_redrawn():
    method, params, views, (structure, texture), (own, mix) = made()
    draw = jax.jit(functools.partial(method.run, params, "generator"))
    neighbours = np.array([1, 0, 3, 2, 5, 4, 7, 6])
    expected = draw(structure[neighbours], texture, views["noise_mix"])
    np.testing.assert_allclose(mix, expected, rtol=1e-4, atol=1e-5)
    expected = draw(structure[::2], texture[::2], views["noise_own"])
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(structure) - structure[neighbours]).max() > 0.1


def test_crops_are_compared_with_the_mean_of_the_reference_s_or_with_one():
    method, params, *_ = made()
    known, others = drawn(0, 3, 2, 4, 4, 3), drawn(1, 3, 2, 4, 4, 3)
    single = table.build("swapping_autoencoder", patches=dict(pooled=False))
    module, own = method.networks["patch_discriminator"].module, {"params": params["patch_discriminator"]}
    one, other = (
        jnp.stack([module.apply(own, crops[:, i], method="features") for i in range(2)], 1) for crops in (known, others)
    )
    for kind, reference in ((method, [one.mean(1)] * 2), (single, [one[:, 0], one[:, 1]])):
        expected = [module.apply(own, reference[i], other[:, i], method="compare") for i in range(2)]
        (found,) = kind.compare(params, known, others)
        np.testing.assert_allclose(found, jnp.stack(expected, 1), rtol=1e-4, atol=1e-5)


def test_averages_follow_encoder_and_generator_in_their_turns_and_are_what_translates():
    method = table.build("swapping_autoencoder")
    schedule = tuple(phase for phase in table.phases(method) for _ in range(2))
    states = table.run("swapping_autoencoder", "pooled", schedule).states
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for phase, before, after in zip(schedule, states[:-1], states[1:], strict=True):
        for name in method.kept:
            old, new = before.learners[name].ema, after.learners[name]
            moved = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * p, old, new.params) if phase.translates else old
            jax.tree.map(close, new.ema, moved)
            assert method.variables(after)[name]["params"] is new.ema


def test_a_translation_has_the_structure_of_its_content_and_the_texture_of_its_reference():
    method, params, *_ = made()
    variables = {name: {"params": params[name]} for name in method.kept}
    translate, first, second = jax.jit(method.translate), images(1), images(2)
    structure, texture = method.run(params, "encoder", first)
    other = translate(variables, {"content": first, "reference": second})
    assert jnp.abs(other - translate(variables, {"content": first, "reference": first})).max() > 1e-3
    assert jnp.abs(other - translate(variables, {"content": second, "reference": second})).max() > 1e-3
    # Half way between two textures, of whatever length, and always with the same noise.
    half = (texture + method.read_style(variables, second)) / 2
    between = translate(variables, {"content": first, "style": half})
    np.testing.assert_allclose(translate(variables, {"content": first, "style": 7 * half}), between, atol=1e-5)
    np.testing.assert_allclose(translate(variables, {"content": first[4:], "style": half[4:]}), between[4:], atol=1e-5)


def test_images_of_another_size_keep_theirs():
    method, params, *_ = made()
    variables = {name: {"params": params[name]} for name in method.kept}
    content = jax.ShapeDtypeStruct((2, 10, 16, 3), jnp.float32)
    assert method.multiple == 2
    found = jax.eval_shape(method.translate, variables, {"content": content, "reference": content})
    assert found.shape == content.shape


@pytest.mark.parametrize(
    "values, line",
    [
        (dict(image_size=96), "data.image_size=96 is below the 112 px of method.encoder.downs and"),
        (dict(image_size=200), "data.image_size=200 must be a multiple of 16"),
        (dict(load_size=128), "method.load_size=128 must be 0 or at least the crop's data.image_size=256"),
        (dict(patches=dict(size=48)), "method.patches.size=48 must be a power of two"),
        (dict(patches=dict(sides=(0.5, 0.1))), "method.patches.sides=.* the smaller first"),
        (dict(encoder=dict(scale=0.0)), "method.encoder.scale=0.0 must be above 0"),
    ],
)
def test_settings_that_cannot_be(values, line):
    with pytest.raises(UserError, match=line):
        methods.build("swapping_autoencoder", values)


def test_a_batch_has_pairs():
    with pytest.raises(UserError, match="batch_size=3 cannot be divided by 2"):
        table.build("swapping_autoencoder").init(jax.random.key(0), 3)
