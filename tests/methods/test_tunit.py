"""TUNIT: its schedule, what each configuration trains, its queue and averages, and where gradients may go."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from uit_jax import method as base
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.method import Stream
from uit_jax.methods.tunit import TUNITPhase
from uit_jax.nn.guide import GuidingNetwork

GUIDE, JOINT = TUNITPhase("guide"), TUNITPhase("joint", translates=True, penalised=True)
SCHEDULE = (GUIDE, GUIDE, JOINT, JOINT)


@pytest.fixture(scope="module")
def whole():
    return table.run("tunit", "unsupervised", SCHEDULE)


# --- the schedule ---


def named(method, steps):
    return [method.phase(step).name for step in steps]


def test_unsupervised_schedule():
    method = methods.build("tunit")
    assert named(method, (0, 64_999, 65_000, 200_000)) == ["guide", "guide", "joint", "joint"]
    assert {method.phase(step) for step in (0, 65_000)} == {GUIDE, JOINT}


def test_semi_supervised_schedule():
    """Labelled iterations alone for 20k, then the first share of every 1000."""
    method = methods.build("tunit", labels={"share": 0.2}, guide_steps=35_000)
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
    phases = {step: method.phase(step) for step in expected}
    assert {step: phase.name for step, phase in phases.items()} == expected
    for phase in phases.values():
        assert phase.labelled == phase.name.endswith("labelled")
        assert phase.stream == Stream("labelled" if phase.labelled else "unlabelled", 0.2)


def test_supervised_schedule():
    method = methods.build("tunit", labels={"share": 1.0})
    phases = {method.phase(step) for step in (0, 1, 100_000)}
    joint = TUNITPhase("joint_labelled", Stream("all", 1.0), translates=True, labelled=True, penalised=True)
    assert phases == {joint}


def test_lazy_gradient_penalty_schedule():
    method = methods.build("tunit", r1={"every": 4}, guide_steps=2)
    expected = ["guide", "guide", "joint_lazy", "joint_lazy", "joint", "joint_lazy", "joint_lazy"]
    assert named(method, range(7)) == expected
    assert [method.phase(step).penalised for step in range(7)] == [name == "joint" for name in expected]


def test_the_guide_may_have_its_own_batch_size():
    for labels in ({}, {"share": 0.5, "steps": 1}):
        method = methods.build("tunit", guide_batch_size=128, guide_steps=2, labels=labels)
        assert [base.phase_size(method.phase(step), 32) for step in range(3)] == [128, 128, 32]
    assert base.phase_size(methods.build("tunit").phase(0), 32) == 32


# --- the settings ---


@pytest.mark.parametrize(
    "key, values",
    [
        ("data.image_size", {"image_size": 96}),
        ("data.image_size", {"image_size": 4}),
        ("data.image_size", {"generator": {"bottleneck": 256}}),
        ("data.image_size", {"guide": {"stages": (1,) * 8}}),
        ("precision", {"precision": "fp16"}),
        ("method.domains", {"domains": 0}),
        ("method.domains", {"domains": 1001}),
        ("method.style_dim", {"style_dim": 0}),
        ("method.labels.share", {"labels": {"share": 1.5}}),
        ("method.labels.steps", {"labels": {"steps": -1}}),
        ("method.labels.cycle_steps", {"labels": {"cycle_steps": 0}}),
        ("method.joint_training", {"joint_training": "sequential"}),
        ("method.adversarial_feedback", {"adversarial_feedback": 2}),
        ("method.guide.width", {"guide": {"width": 0}}),
        ("method.guide.stages", {"guide": {"stages": ()}}),
        ("method.guide.stages", {"guide": {"stages": (1, 0)}}),
        ("method.generator.width", {"generator": {"width": -1}}),
        ("method.generator.bottleneck", {"generator": {"bottleneck": 12}}),
        ("method.generator.blocks", {"generator": {"blocks": 0}}),
        ("method.generator.mlp_width", {"generator": {"mlp_width": 0}}),
        ("method.discriminator.width", {"discriminator": {"width": -1}}),
        ("method.discriminator.max_width", {"discriminator": {"max_width": 0}}),
        ("method.discriminator.blocks", {"discriminator": {"blocks": 0}}),
        ("method.guide_steps", {"guide_steps": -1}),
        ("method.guide_batch_size", {"guide_batch_size": -1}),
        ("method.guide_batch_size", {"guide_batch_size": 64, "reference_quirks": True}),
        ("method.average_start", {"average_start": -1}),
        ("method.contrastive_weight", {"contrastive_weight": -1.0}),
        ("method.marginal_weights", {"marginal_weights": ()}),
        ("method.r1.weight", {"r1": {"weight": -3}}),
        ("method.r1.every", {"r1": {"every": 0}}),
        ("method.temperature", {"temperature": 0}),
        ("method.queue_size", {"queue_size": 0}),
        ("method.key_average", {"key_average": 1.1}),
        ("method.guide_adam.learning_rate", {"guide_adam": {"learning_rate": 0.0}}),
        ("method.joint_guide_rate", {"joint_guide_rate": 0.0}),
        ("method.optimizer", {"optimizer": "sgd"}),
        ("method.adam.b2", {"adam": {"b2": 1.0}}),
        ("method.view.fill", {"view": {"fill": "blue"}}),
        ("method.flip", {"flip": 7}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_out_of_range_is_named(key, values):
    with pytest.raises(UserError, match=f"^{key}="):
        methods.build("tunit", values)


def test_a_source_whose_classes_cannot_be_learned_is_refused():
    some = methods.build("tunit", domains=2, labels={"share": 0.1})
    some.check_images("data.source=x", 99, ("cat", "dog"))
    with pytest.raises(UserError, match="^data.source=x has no labels, but method.labels.share is above 0"):
        some.check_images("data.source=x", 99, ())
    with pytest.raises(UserError, match="^data.source=x has 3 classes: set method.domains to as many"):
        some.check_images("data.source=x", 99, ("cat", "dog", "fox"))
    for classes in ((), ("cat", "dog", "fox")):
        methods.build("tunit", domains=2).check_images("data.source=x", 99, classes)


def test_clusters_are_read_unless_all_labels_are_given():
    for configuration, readouts in (("unsupervised", {"style", "cluster"}), ("supervised", {"style"})):
        assert table.build("tunit", configuration).readouts.keys() == readouts


def test_a_queue_smaller_than_a_batch_is_refused():
    for hparams in ({}, {"guide_batch_size": 32}):
        method = table.build("tunit", **hparams)
        with pytest.raises(UserError, match="queue_size=16"):
            table.shapes(method, 8 if hparams else 17)


# --- the phases ---


def test_labels_are_read_in_labelled_phases_alone():
    def trace(configuration, step):
        method = table.build("tunit", configuration)
        views = jax.eval_shape(method.views, jax.random.key(0), table.batch())
        views = {name: value for name, value in views.items() if name != "label"}
        phase = method.phase(step)
        jax.eval_shape(functools.partial(method.update, phase=phase), table.shapes(method), views)
        return phase.name

    assert trace("unsupervised", 2) == "joint"
    assert trace("semi", 3) == "joint"
    for configuration, step in (("supervised", 0), ("semi", 0)):
        with pytest.raises(KeyError, match="label"):
            trace(configuration, step)


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
    return run.again(state, JOINT).learners["guide"].params


def test_the_adversarial_gradient_reaches_style_head_and_trunk_but_not_the_clusters(whole):
    """The guide's new weights depend on the discriminator's. SGD: a head without gradient stays as it is."""
    before = whole.states[2]
    after, other = guide_after(whole, before), guide_after(whole, perturbed(before, "discriminator"))
    for part in ("style", "conv_0", "conv_1"):
        assert table.changed(after[part], other[part]), part
    assert not table.changed(after["cluster"], other["cluster"])


def test_without_feedback_the_guide_learns_from_the_generator_but_not_from_the_discriminator():
    run = table.run("tunit", "no_feedback", (JOINT,))
    before = run.states[0]
    after = guide_after(run, before)
    assert not table.changed(after, guide_after(run, perturbed(before, "discriminator")))
    other = guide_after(run, perturbed(before, "generator"))
    for part in ("style", "conv_0", "conv_1"):
        assert table.changed(after[part], other[part]), part


def test_the_generator_learns_from_the_discriminator_without_feedback_too():
    run = table.run("tunit", "no_feedback", (JOINT,))
    after = [
        run.again(state, JOINT).learners["generator"].params
        for state in (run.states[0], perturbed(run.states[0], "discriminator"))
    ]
    assert table.changed(*after)


def test_a_frozen_guide_keeps_weights_statistics_and_average():
    run = table.run("tunit", "frozen", (JOINT,))
    before, after = (state.learners for state in run.states)
    assert not table.changed(before["guide"].params, after["guide"].params)
    assert not table.changed(before["guide"].stats, after["guide"].stats)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5),
                 before["guide"].ema, after["guide"].ema)  # fmt: skip
    assert table.changed(before["generator"].params, after["generator"].params)
    assert table.changed(before["discriminator"].params, after["discriminator"].params)


def test_frozen_domains_are_found_by_iic_alone_and_kept_while_the_style_learns():
    run = table.run("tunit", "frozen_domains", (GUIDE, JOINT))
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
    state = table.shapes(method)
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
    step = jax.jit(functools.partial(base.training_step(method), phase=method.phase(0), axis_name=None))
    after, _ = step(table.start(method), table.batch())
    first = after.memory["queue"].first
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


@pytest.mark.parametrize(
    "image_size, generator, discriminator", [(128, 27_333_763, 70_935_242), (256, 27_424_835, 70_983_018)]
)
def test_default_widths_are_the_published_ones(image_size, generator, discriminator):
    """64 below 256 px, 32 from there on."""
    method = methods.build("tunit", image_size=image_size)
    learners = jax.eval_shape(lambda: method.init(jax.random.key(0), 8)).learners
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(learner.params)) for name, learner in learners.items()}
    assert sizes == {"guide": 9_296_778, "generator": generator, "discriminator": discriminator}
