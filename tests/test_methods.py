"""What every method inherits: each test runs over all of METHODS, most over all of its configurations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.pieces import networks_once
from uit_jax import collectives, methods
from uit_jax.errors import UserError
from uit_jax.inference import batched
from uit_jax.method import training_step


def over_two_devices(method, phase):
    """Trace a training step, views included, over two devices; return its results' shapes and those of the state."""
    step = functools.partial(training_step(method), phase=phase, axis_name="data")
    step = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="data")
    state = table.shapes(method)
    batch = table.batch_of(method, phase=phase)
    batch = {name: rows.reshape(2, 4, *rows.shape[1:]) for name, rows in batch.items()}
    return state, *jax.eval_shape(step, state, batch)


@pytest.mark.parametrize("name, configuration", table.CASES)
def test_every_phase_gives_one_state_for_all_devices(name, configuration):
    """A forgotten mean or gather does not trace under vmap, whereas pmap and shard_map would train on wrong."""
    method = table.build(name, configuration)
    for phase in table.phases(method):
        with networks_once():
            before, after, metrics = over_two_devices(method, phase)
        # The state keeps its form, or the next step would compile again.
        assert jax.tree.structure(before) == jax.tree.structure(after)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), before, after)
        assert all(jax.tree.leaves(same)), phase
        assert metrics and all(value.shape == () for value in metrics.values())


def learning(method):
    """Return the first of a method's phases in which anything learns."""
    return next(phase for phase in table.phases(method) if not getattr(phase, "measures", False))


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_forgotten_mean_does_not_trace(name, monkeypatch):
    method = table.build(name)
    monkeypatch.setattr(collectives, "mean", lambda tree, axis_name: tree)
    with pytest.raises(ValueError, match="out_axes"):
        over_two_devices(method, learning(method))


@pytest.mark.parametrize("name", table.SHARING)
def test_a_forgotten_gather_does_not_trace(name, monkeypatch):
    method = table.build(name, table.SHARING[name])
    monkeypatch.setattr(collectives, "gather", lambda array, axis_name: array)
    with pytest.raises(ValueError, match="out_axes"):
        over_two_devices(method, learning(method))


def schedule(name):
    """Return two steps of each phase of a method's first configuration."""
    method = table.build(name)
    return tuple(phase for phase in table.phases(method) for _ in range(2))


def trained(name):
    return table.run(name, table.first(name), schedule(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", methods.METHODS)
def test_each_phase_is_compiled_once(name):
    assert set(trained(name).traces.values()) == {1}


@pytest.mark.parametrize("name", methods.METHODS)
def test_steps_are_counted_and_the_key_stays(name):
    states = trained(name).states
    assert [int(state.step) for state in states] == list(range(len(states)))
    assert not table.changed(states[0].key, states[-1].key)


@pytest.mark.parametrize("name", methods.METHODS)
def test_metrics_are_finite(name):
    assert all(np.isfinite(value) for metrics in trained(name).metrics for value in metrics.values())


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_phase_trains_its_learners_and_no_other(name):
    states = trained(name).states
    for phase, before, after in zip(schedule(name), states[:-1], states[1:], strict=True):
        trains = table.trained_by(name, table.first(name), phase)
        for learner in before.learners:
            moved = table.changed(before.learners[learner].params, after.learners[learner].params)
            assert moved == (learner in trains), (phase, learner)
            if learner not in trains:
                assert not table.changed(before.learners[learner].opt_state, after.learners[learner].opt_state)


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_same_state_and_views_give_the_same_bits(name):
    run = trained(name)
    assert not table.changed(run.states[0], table.snapshot(table.start(run.method)))
    for phase, before, after in zip(schedule(name), run.states[:-1], run.states[1:], strict=True):
        assert not table.changed(after, run.again(before, phase))


@pytest.mark.parametrize("name", methods.METHODS)
def test_views_are_a_function_of_their_key(name):
    method = trained(name).method
    views = jax.jit(method.views)
    first, again, other = (views(jax.random.key(seed), table.batch_of(method)) for seed in (1, 1, 2))
    assert not table.changed(first, again)
    channels = {side.channels for side in method.sides}
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
    # Beside images there may be places, squares and noise.
    images = [(one, two) for one, two in pairs if one.ndim == 4 and one.shape[-1] in channels]
    assert images
    for one, two in images:
        assert one.dtype == jnp.float32 and jnp.abs(one).max() <= 1
        assert table.changed(one, two)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_phase_lowers_for_accelerators(name):
    method = table.build(name)
    step = training_step(method)
    for phase in table.phases(method):
        batch = table.batch_of(method, phase=phase)
        traced = jax.jit(functools.partial(step, phase=phase)).trace(table.shapes(method), batch)
        # In one go: what either has no rule for is an error.
        assert traced.lower(lowering_platforms=("cuda", "tpu")).compiler_ir() is not None


def inference(name):
    """Return a trained method, its variables and contents float32 [4, S, S, C] of its first side."""
    run = trained(name)
    contents = run.views["x" if "x" in run.views else run.method.sides[0].name]
    return run.method, run.method.variables(run.states[-1]), contents[:4]


@pytest.mark.parametrize("name", [name for name in methods.METHODS if "style" in table.build(name).readouts])
def test_translation_by_reference_and_style(name):
    method, variables, content = inference(name)
    reference = jnp.flip(content, 0)
    style = jax.jit(method.readouts["style"])(variables, reference)
    translate = jax.jit(method.translate)
    by_reference = translate(variables, {"content": content, "reference": reference})
    by_style = translate(variables, {"content": content, "style": style})
    assert by_reference.shape == content.shape and jnp.abs(by_reference).max() <= 1
    np.testing.assert_allclose(by_reference, by_style, atol=1e-5)
    if "cluster" in method.readouts:
        clusters = jax.jit(method.readouts["cluster"])(variables, reference)
        np.testing.assert_allclose(clusters.sum(-1), np.ones(4), rtol=1e-5)
    assert content.shape[1] % method.multiple == 0


@pytest.mark.parametrize("name", [name for name in methods.METHODS if "style" not in table.build(name).readouts])
def test_translation_without_reference_at_any_size(name):
    method, variables, content = inference(name)
    translate = jax.jit(method.translate)
    for width in (16, 24):
        images = jnp.pad(content, ((0, 0), (0, 0), (0, width - 16), (0, 0)), "reflect")
        translated = translate(variables, {"content": images})
        assert translated.shape == images.shape and jnp.abs(translated).max() <= 1


BOTH_WAYS = [name for name in methods.METHODS if table.build(name).exchanged({})]


def test_the_methods_that_learn_both_ways():
    assert BOTH_WAYS == ["cyclegan", "distancegan", "selfdistance", "munit", "drit"]
    assert table.build("distancegan", "one_way").exchanged({}) is None


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_domains_that_are_exchanged_twice_are_as_before_and_once_translated_otherwise(name):
    method, variables, content = inference(name)
    turned, exchanged = method.exchanged(variables)
    again, same = turned.exchanged(exchanged)
    assert method == turned == again and jax.tree.structure(variables) == jax.tree.structure(exchanged)
    assert table.changed(variables, exchanged) and not table.changed(variables, same)
    inputs, translate = {"content": content, "reference": jnp.flip(content, 0)}, jax.jit(method.translate)
    assert jnp.abs(translate(variables, inputs) - translate(exchanged, inputs)).max() > 1e-4


@pytest.mark.parametrize("name", [name for name in methods.METHODS if table.build(name).style_prior])
def test_sampled_styles_are_of_their_seed_and_place_alone(name):
    method, variables, content = inference(name)
    codes = batched.sample(method, variables, 70)
    for count in (1, 3, 64, 65):
        np.testing.assert_array_equal(batched.sample(method, variables, count), codes[:count])
    read = jax.eval_shape(method.readouts["style"], variables, content)
    assert codes.shape == (70, read.shape[-1]) and codes.dtype == read.dtype == np.float32
    others = batched.sample(method, variables, 70, seed=1)
    assert len(np.unique(np.concatenate([codes, others]).round(5), axis=0)) == 140


@pytest.mark.parametrize("name", [name for name in methods.METHODS if "patch_codes" in table.build(name).readouts])
def test_codes_of_patches_are_unit(name):
    method, variables, content = inference(name)
    for codes in jax.jit(method.readouts["patch_codes"])(variables, content).values():
        assert codes.ndim == 4 and len(codes) == 4
        np.testing.assert_allclose(jnp.linalg.norm(codes, axis=-1), np.ones(codes.shape[:3]), rtol=1e-3)


@pytest.mark.parametrize("name", methods.METHODS)
def test_equal_methods_share_what_is_compiled_and_others_do_not(name):
    values = table.values(name)
    one, again, other = (methods.build(name, values, **more) for more in ({}, {}, {"channels": 1}))
    assert one == again and hash(one) == hash(again) and one is not again
    assert training_step(one) is training_step(again) is not training_step(other)
    # A subclass is another method, though its settings are the same.
    kind = table.with_sgd(type(one))
    assert kind(**{field.name: getattr(one, field.name) for field in dataclasses.fields(one)}) != one


def test_every_method_stands_in_the_tables():
    assert set(table.TINY) == set(table.CONFIGURATIONS) == set(methods.METHODS)

    def remembers(name, configuration):
        memory = functools.partial(table.build(name, configuration).memory, batch_size=8)
        return jax.tree.leaves(jax.eval_shape(memory, jax.random.key(0)))

    assert set(table.SHARING) == {name for name, configuration in table.CASES if remembers(name, configuration)}


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="'tunnit' is unknown; did you mean tunit"):
        methods.build("tunnit")
    with pytest.raises(UserError, match="there are: .*tunit"):
        methods.build("xyz")


@pytest.mark.parametrize("name", methods.METHODS)
def test_an_unknown_setting_names_the_nearest(name):
    with pytest.raises(UserError, match="method.image_sise: there is no such setting; did you mean data.image_size"):
        methods.build(name, image_sise=8)
