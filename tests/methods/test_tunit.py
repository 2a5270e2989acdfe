"""TUNIT: its schedule, what each configuration trains, its queue and averages, and where gradients may go."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.nn.tunit import GuidingNetwork

SCHEDULE = ("guide", "guide", "joint", "joint")


@pytest.fixture(autouse=True, scope="module")
def quick_compile():
    with table.quick_compile():
        yield


@pytest.fixture(scope="module")
def whole():
    return table.run("tunit", "unsupervised", SCHEDULE)


# --- the schedule ---


def test_unsupervised_schedule():
    method = methods.build("tunit")
    assert [method.phase(step) for step in (0, 64_999, 65_000, 200_000)] == ["guide", "guide", "joint", "joint"]
    assert {method.stream(phase) for phase in ("guide", "joint")} == {"all"}


def test_semi_supervised_schedule():
    """Labelled iterations alone for 20k, then the first share of every 1000."""
    method = methods.build("tunit", labelled_share=0.2, guide_steps=35_000)
    expected = {
        0: "guide_labelled",
        19_999: "guide_labelled",
        20_199: "guide_labelled",
        20_200: "guide",
        20_999: "guide",
        34_999: "guide",
        35_000: "joint_labelled",
        35_199: "joint_labelled",
        35_200: "joint",
    }
    assert {step: method.phase(step) for step in expected} == expected
    assert method.stream("joint_labelled") == method.stream("guide_labelled") == "labelled"
    assert method.stream("joint") == method.stream("guide") == "unlabelled"


def test_supervised_schedule():
    method = methods.build("tunit", labelled_share=1.0)
    assert {method.phase(step) for step in (0, 1, 100_000)} == {"joint_labelled"}
    assert method.stream("joint_labelled") == "all"


def test_lazy_gradient_penalty_schedule():
    method = methods.build("tunit", r1_every=4, guide_steps=2)
    phases = [method.phase(step) for step in range(7)]
    assert phases == ["guide", "guide", "joint_lazy", "joint_lazy", "joint", "joint_lazy", "joint_lazy"]


def test_the_guide_may_have_its_own_batch_size():
    method = methods.build("tunit", guide_batch_size=128)
    assert method.batch_size("guide", 32) == method.batch_size("guide_labelled", 32) == 128
    assert method.batch_size("joint", 32) == 32
    assert methods.build("tunit").batch_size("guide", 32) == 32


# --- the settings ---


@pytest.mark.parametrize(
    "hparams",
    [
        {"image_size": 96},
        {"image_size": 4},
        {"bottleneck": 12},
        {"bottleneck": 256},
        {"domains": 0},
        {"domains": 1001},
        {"labelled_share": 1.5},
        {"precision": "fp16"},
        {"joint_training": "sequential"},
        {"optimizer": "sgd"},
        {"marginal_weights": ()},
        {"r1_every": 0},
        {"guide_stages": (1, 1, 1, 1, 1, 1, 1, 1)},
        {"guide_batch_size": 64, "reference_quirks": True},
    ],
    ids=lambda hparams: "-".join(hparams),
)
def test_a_setting_out_of_range_is_named(hparams):
    with pytest.raises(UserError, match=f"method\\..*{next(iter(hparams))}"):
        methods.build("tunit", **hparams)


def test_a_queue_smaller_than_a_batch_is_refused():
    for hparams in ({}, {"guide_batch_size": 32}):
        method = table.build("tunit", **hparams)
        with pytest.raises(UserError, match="queue_size=16"):
            jax.eval_shape(method.init, jax.random.key(0), table.batch(8 if hparams else 17))


# --- the phases ---


def test_labels_are_read_in_labelled_phases_alone():
    def trace(configuration, phase):
        method = table.build("tunit", configuration)
        views = jax.eval_shape(method.views, jax.random.key(0), table.batch())
        views = {name: value for name, value in views.items() if name != "label"}
        return jax.eval_shape(functools.partial(method.update, phase=phase), table.shapes(method), views)

    trace("unsupervised", "joint")
    trace("semi", "guide")
    for configuration, phase in (("supervised", "joint_labelled"), ("semi", "guide_labelled")):
        with pytest.raises(KeyError, match="label"):
            trace(configuration, phase)


def encode(state, images):
    """Encode images with the averaged guiding network, normalised by their own statistics."""
    learner = state.learners["guide"]
    network = GuidingNetwork(3, 4, width=4, stages=(1, 1))
    variables = {"params": learner.ema, **learner.stats}
    return network.apply(variables, images, train=True, mutable=["batch_stats"])[0][1]


def test_the_queue_is_first_in_first_out_and_takes_the_averaged_networks_keys(whole):
    for before, after in zip(whole.states[:-1], whole.states[1:], strict=True):
        old, new = before.memory["queue"].keys, after.memory["queue"].keys
        np.testing.assert_array_equal(new[:-8], old[8:])
        np.testing.assert_allclose(new[-8:], encode(before, whole.views["x_aug"]), rtol=1e-4, atol=1e-6)


def test_the_guides_average_follows_slowly(whole):
    for before, after in zip(whole.states[:-1], whole.states[1:], strict=True):
        expected = jax.tree.map(
            lambda ema, params: 0.999 * ema + 0.001 * params,
            before.learners["guide"].ema,
            after.learners["guide"].params,
        )
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7),
                     after.learners["guide"].ema, expected)  # fmt: skip


def test_the_generators_average_equals_its_weights_until_it_starts(whole):
    first, second, third = (state.learners["generator"] for state in whole.states[2:])
    assert not table.changed(second.ema, second.params)
    expected = jax.tree.map(lambda ema, params: 0.999 * ema + 0.001 * params, second.ema, third.params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), third.ema, expected)
    assert table.changed(first.params, second.params)


def perturbed(state, name):
    """Move all weights of one learner."""
    learner = state.learners[name]
    params = jax.tree.map(lambda p: p + 0.3 * np.cos(np.arange(p.size, dtype=np.float32)).reshape(p.shape),
                          learner.params)  # fmt: skip
    return state.replace(learners={**state.learners, name: learner.replace(params=params)})


def guide_after(run, state):
    return run.again(state, "joint").learners["guide"].params


def test_the_adversarial_gradient_reaches_style_head_and_trunk_but_not_the_clusters(whole):
    """The guide's new weights depend on the discriminator's. SGD: a head without gradient stays as it is."""
    before = whole.states[2]
    after, other = guide_after(whole, before), guide_after(whole, perturbed(before, "discriminator"))
    for part in ("style", "conv_0", "conv_1"):
        assert table.changed(after[part], other[part]), part
    assert not table.changed(after["cluster"], other["cluster"])


def test_without_feedback_the_guide_learns_from_the_generator_but_not_from_the_discriminator():
    run = table.run("tunit", "no_feedback", ("joint",))
    before = run.states[0]
    after = guide_after(run, before)
    assert not table.changed(after, guide_after(run, perturbed(before, "discriminator")))
    other = guide_after(run, perturbed(before, "generator"))
    for part in ("style", "conv_0", "conv_1"):
        assert table.changed(after[part], other[part]), part


def test_the_generator_learns_from_the_discriminator_without_feedback_too():
    run = table.run("tunit", "no_feedback", ("joint",))
    after = [
        run.again(state, "joint").learners["generator"].params
        for state in (run.states[0], perturbed(run.states[0], "discriminator"))
    ]
    assert table.changed(*after)


def test_a_frozen_guide_keeps_weights_statistics_and_average():
    run = table.run("tunit", "frozen", ("joint",))
    before, after = (state.learners for state in run.states)
    assert not table.changed(before["guide"].params, after["guide"].params)
    assert not table.changed(before["guide"].stats, after["guide"].stats)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5),
                 before["guide"].ema, after["guide"].ema)  # fmt: skip
    assert table.changed(before["generator"].params, after["generator"].params)
    assert table.changed(before["discriminator"].params, after["discriminator"].params)


def test_frozen_domains_are_found_by_iic_alone_and_kept_while_the_style_learns():
    run = table.run("tunit", "frozen_domains", ("guide", "joint"))
    start, found, end = run.states
    # First phase: the clusters train, the style head has no loss; the domains are a copy of the guide.
    assert table.changed(start.learners["guide"].params["cluster"], found.learners["guide"].params["cluster"])
    assert not table.changed(start.learners["guide"].params["style"], found.learners["guide"].params["style"])
    assert not table.changed(found.memory["domains"]["params"], found.learners["guide"].params)
    # Then the style trains, no loss reaches the clusters, and the domains stay.
    assert table.changed(found.learners["guide"].params["style"], end.learners["guide"].params["style"])
    assert not table.changed(found.learners["guide"].params["cluster"], end.learners["guide"].params["cluster"])
    assert not table.changed(found.memory["domains"], end.memory["domains"])
    # They are what the method reads clusters with.
    method, images = run.method, run.views["x"]
    read = jax.jit(method.readouts["cluster"])
    first = read(method.variables(end), images)
    moved = method.variables(perturbed(end, "guide"))
    np.testing.assert_array_equal(first, read(moved, images))


def test_the_best_head_names_the_domains():
    """`head` picks among the heads' clusters, K for each."""
    method = table.build("tunit", "heads")
    state = jax.eval_shape(method.init, jax.random.key(0), table.batch())
    assert state.learners["guide"].params["cluster"]["kernel"].shape == (8, 6)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.array(np.abs(rng.normal(size=leaf.shape)), leaf.dtype), method.variables(state)
    )
    images = jnp.array(rng.uniform(-1, 1, (4, 8, 8, 3)), jnp.float32)
    read = jax.jit(method.readouts["cluster"])
    first, second = (read({**variables, "head": jnp.int32(head)}, images) for head in (0, 1))
    kernel, bias = (variables["guide"]["params"]["cluster"][name] for name in ("kernel", "bias"))
    swapped = {"kernel": jnp.roll(kernel, 3, axis=1), "bias": jnp.roll(bias, 3)}
    guide = {**variables["guide"], "params": {**variables["guide"]["params"], "cluster": swapped}}
    np.testing.assert_allclose(second, read({**variables, "guide": guide, "head": jnp.int32(0)}, images), rtol=1e-5)
    assert first.shape == second.shape == (4, 3) and table.changed(first, second)


def test_with_quirks_the_queue_restarts_from_the_first_keys_and_grows():
    """Of a queue of 32, only the first 8 keys count at step 1000, and 16 keys one step later."""
    method = table.build("tunit", "", reference_quirks=True, queue_size=32)
    step = jax.jit(functools.partial(methods.training_step(method), phase="guide", axis_name=None))
    after, _ = step(table.start(method), table.batch())
    first = after.memory["first_keys"]
    # Restarted from the first batch's keys, to which that batch's are added.
    np.testing.assert_array_equal(after.memory["queue"].keys[-16:], jnp.concatenate([first, first]))

    def contrastive_at(number, *, older, newer):
        """Return the loss with 16 older keys, and 16 newer ones, of those values."""
        keys = jnp.concatenate([jnp.full((16, first.shape[1]), older), jnp.full((16, first.shape[1]), newer)])
        memory = {**after.memory, "queue": after.memory["queue"]._replace(keys=keys)}
        state, metrics = step(after.replace(step=jnp.int32(number), memory=memory), table.batch())
        return float(metrics["guide/contrastive"]), state.memory["queue"].keys

    restarted, queue = contrastive_at(1000, older=0.0, newer=0.0)
    assert restarted == contrastive_at(1000, older=9.0, newer=9.0)[0]
    np.testing.assert_array_equal(queue[-16:-8], first)
    grown, _ = contrastive_at(1001, older=0.0, newer=0.0)
    assert grown == contrastive_at(1001, older=9.0, newer=0.0)[0]
    assert grown != contrastive_at(1001, older=0.0, newer=9.0)[0]
