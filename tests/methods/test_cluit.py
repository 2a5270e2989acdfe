"""CLUIT: what an update computes, against a plain computation of the same; what enters queue and averages; limits."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods import by_hand
from uit_jax import augment, config, methods
from uit_jax.errors import UserError
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.method import Phase
from uit_jax.methods.cluit import LAZY, PENALISED, halves
from uit_jax.nn.starganv2 import Encoder, Generator
from uit_jax.training import loop

# All different, and none 1, so that none can stand in another's place.
SETTINGS = dict(
    contrastive_weight=0.7,
    match_weight=1.3,
    cycle_weight=0.6,
    r1=dict(weight=0.02, every=3),
    key_average=0.9,
    average=0.6,
    temperature=0.5,
)
WHOLE = np.array([0, 0, 8, 8], np.float32)
WIDTHS = dict(width=4, max_width=8)
DISCRIMINATOR = Encoder(8, {"code": 8, "logit": 1}, **WIDTHS)
ENCODER = Encoder(8, {"style": 4}, **WIDTHS)
GENERATOR = Generator(8, 3, bottleneck=4, blocks=1, **WIDTHS)


class Step(NamedTuple):
    """One step of a tiny CLUIT: its views, the states around it, its metrics, and `again(state, views)` to redo it."""

    method: Any
    views: dict
    before: Any
    after: Any
    metrics: dict
    again: Any
    traces: list


@functools.cache
def step(patches: int, phase: Phase) -> Step:
    method = table.build_with_sgd("cluit", **SETTINGS, patches=patches)
    queue = np.asarray(by_hand.unit(by_hand.drawn(1, 16, 8)))
    before = by_hand.random_state(method, {"queue": KeyQueue(queue)})
    views = {name: by_hand.images(seed) for seed, name in enumerate(("x", "x_crop", "x_aug"))}
    if patches:
        views["squares"] = squares(0)
    traces = []

    def update(state, views):
        traces.append(phase)
        return method.update(state, views, phase=phase)

    again = jax.jit(update)
    after, metrics = again(before, views)
    return Step(method, views, before, after, metrics, again, traces)


def squares(seed):
    """Return two squares of each of eight images of 8 x 8, of all sizes."""
    rng = np.random.default_rng(seed)
    side = rng.integers(2, 9, (8, 2, 1))
    place = np.floor(rng.uniform(0, 1, (8, 2, 2)) * (9 - side))
    return np.concatenate([place, side, side], -1).astype(np.float32)


def with_patches():
    return step(2, PENALISED)


def with_whole_images():
    return step(0, LAZY)


# --- an update, computed plainly ---


def code(params, images):
    return DISCRIMINATOR.apply({"params": params}, images)["code"]


def discriminate(params, images):
    return DISCRIMINATOR.apply({"params": params}, images)["logit"][:, 0]


def encode(params, images):
    return ENCODER.apply({"params": params}, images)["style"]


def generate(params, images, style):
    return GENERATOR.apply({"params": params}, images, style)


def patch_code(params, images, squares):
    """Return the mean of the patches' codes, as they are, brought to length 1 afterwards."""
    cut = jax.vmap(lambda image, square: augment.resized_crop(image, *square, (8, 8)))
    return by_hand.unit(sum(code(params, cut(images, squares[:, p])) for p in range(2)) / 2)


@jax.jit
def plainly(before, views, penalised):
    """Return terms, the weights after the step, and the gradient that the generator's loss has at the discriminator.

    `penalised` is 1 or 0, whether the gradient penalty counts.
    """
    s = SETTINGS
    params = {name: learner.params for name, learner in before.learners.items()}
    momentum, queue = before.learners["discriminator"].ema, before.memory["queue"].keys
    x, content, reference = views["x"], views["x"][0::2], views["x"][1::2]

    def discriminator_loss(params, fake):
        terms = {
            "r1": by_hand.penalty(functools.partial(discriminate, params), x),
            "real": by_hand.is_real(discriminate(params, x)),
            "fake": by_hand.is_fake(discriminate(params, fake)),
            "contrastive": by_hand.info_nce(
                by_hand.unit(code(params, views["x_crop"])),
                by_hand.unit(code(momentum, views["x_aug"])),
                queue,
                s["temperature"],
            ),
        }
        penalty = s["r1"]["weight"] * s["r1"]["every"] * penalised * terms["r1"]
        return terms["real"] + terms["fake"] + s["contrastive_weight"] * terms["contrastive"] + penalty, terms

    def generator_loss(generator, encoder, discriminator):
        fake = generate(generator, content, encode(encoder, reference))
        terms = {
            "adversarial": by_hand.is_real(discriminate(discriminator, fake)),
            "match": by_hand.info_nce(
                patch_code(discriminator, fake, views["squares"][0::2]),
                patch_code(momentum, reference, views["squares"][1::2]),
                queue,
                s["temperature"],
            ),
            "cycle": jnp.abs(generate(generator, fake, encode(encoder, content)) - content).mean(),
        }
        return terms["adversarial"] + s["match_weight"] * terms["match"] + s["cycle_weight"] * terms["cycle"], terms

    fake = generate(params["generator"], content, encode(params["encoder"], reference))
    gradient, opponent_terms = jax.grad(discriminator_loss, has_aux=True)(params["discriminator"], fake)
    new = {"discriminator": by_hand.stepped(params["discriminator"], gradient)}
    (of_generator, of_encoder, leak), terms = jax.grad(generator_loss, (0, 1, 2), has_aux=True)(
        params["generator"], params["encoder"], new["discriminator"]
    )
    new["generator"] = by_hand.stepped(params["generator"], of_generator)
    new["encoder"] = by_hand.stepped(params["encoder"], of_encoder)
    named = {f"discriminator/{name}": value for name, value in opponent_terms.items()}
    return named | {f"generator/{name}": value for name, value in terms.items()}, new, leak


def weights(state):
    return {name: learner.params for name, learner in state.learners.items()}


def test_an_update_is_that_of_a_plain_computation():
    """Generator and encoder learn from the discriminator as it has become, which learns from its own losses alone."""
    ran = with_patches()
    terms, new, leak = plainly(ran.before, ran.views, 1.0)
    by_hand.assert_terms(ran.metrics, terms)
    by_hand.assert_close(weights(ran.after), new)
    # There is a gradient that could have gone astray.
    assert set(leak) == {"trunk", "code", "logit"}
    assert all(by_hand.largest(part) > 1e-3 for part in leak.values())


def test_matching_whole_images_is_matching_patches_that_are_whole():
    ran = with_whole_images()
    whole = {**ran.views, "squares": np.broadcast_to(WHOLE, (8, 2, 4))}
    terms, new, _ = plainly(ran.before, whole, 0.0)
    terms.pop("discriminator/r1")
    by_hand.assert_terms(ran.metrics, terms)
    by_hand.assert_close(weights(ran.after), new)


def test_the_penalty_is_due_at_the_first_and_then_every_so_many_steps():
    phases = [PENALISED, LAZY, LAZY, PENALISED, LAZY]
    assert [with_patches().method.phase(step) for step in range(5)] == phases
    assert methods.build("cluit").phase(15) == LAZY and methods.build("cluit").phase(16) == PENALISED
    assert {table.build("cluit", r1=dict(every=1)).phase(step) for step in range(3)} == {PENALISED}
    assert {table.build("cluit", r1=dict(weight=0.0)).phase(step) for step in range(3)} == {LAZY}


def test_patches_of_any_size_are_one_program():
    ran = with_patches()
    terms = [ran.again(ran.before, {**ran.views, "squares": squares(seed)})[1] for seed in range(4)]
    assert ran.traces == [PENALISED]
    assert len({float(metrics["generator/match"]) for metrics in terms}) == 4
    assert len({float(metrics["discriminator/contrastive"]) for metrics in terms}) == 1


# --- what a step leaves behind ---


def test_the_newest_keys_are_the_averaged_discriminators_codes_of_the_other_views():
    ran = with_patches()
    old, new = ran.before.memory["queue"].keys, np.asarray(ran.after.memory["queue"].keys)
    momentum = ran.before.learners["discriminator"].ema
    expected = jax.jit(lambda images: by_hand.unit(code(momentum, images)))(ran.views["x_aug"])
    np.testing.assert_array_equal(new[:8], old[8:])
    np.testing.assert_allclose(new[8:], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(new, axis=-1), np.ones(16), rtol=1e-5)


@pytest.mark.parametrize("name, decay", [("generator", 0.6), ("encoder", 0.6), ("discriminator", 0.9)])
def test_averages_follow_the_new_weights(name, decay):
    ran = with_patches()
    before, after = ran.before.learners[name], ran.after.learners[name]
    moved = jax.tree.map(lambda ema, params: decay * ema + (1 - decay) * params, before.ema, after.params)
    by_hand.assert_close(after.ema, moved, rtol=1e-5, atol=1e-6)


def test_inference_uses_the_averages_of_generator_and_encoder_alone():
    ran = with_patches()
    used = ran.method.variables(ran.after)
    assert set(used) == {"generator", "encoder"}
    for name, variables in used.items():
        assert not table.changed(variables["params"], ran.after.learners[name].ema)
        assert table.changed(variables["params"], ran.after.learners[name].params)


def test_a_fresh_queue_holds_unit_keys():
    method = table.build("cluit")
    memory = method.memory(jax.random.key(0), 8)
    np.testing.assert_allclose(np.linalg.norm(memory["queue"].keys, axis=-1), np.ones(16), rtol=1e-5)


def test_the_cycle_closes_in_a_few_steps():
    ran = with_whole_images()
    state, cycles = ran.before, []
    for _ in range(30):
        state, metrics = ran.again(state, ran.views)
        cycles.append(float(metrics["generator/cycle"]))
    assert cycles[-1] < 0.7 * cycles[0] and np.isfinite(cycles).all()


# --- views ---


def test_even_rows_are_inputs_and_odd_ones_references():
    inputs, references = halves({"x": jnp.arange(6)})
    assert inputs["x"].tolist() == [0, 2, 4] and references["x"].tolist() == [1, 3, 5]


def test_crops_squares_and_second_views_have_their_ranges():
    neutral = dict(degrees=0.0, translate=0.0, shear=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    neutral["crop_sides"] = (1.0, 1.0)
    method = table.build("cluit", view=neutral, flip=0.0, patches=3, patch_sides=(0.25, 0.75))
    batch = table.batch()
    traces = []
    views = jax.jit(lambda key: traces.append(key) or method.views(key, batch))
    made = [views(jax.random.key(seed)) for seed in range(40)]
    assert len(traces) == 1
    image = augment.normalize(batch["image"])
    for name in ("x", "x_crop", "x_aug"):
        np.testing.assert_allclose(made[0][name], image, atol=1e-5)
    squares = np.stack([view["squares"] for view in made])
    assert squares.shape == (40, 8, 3, 4) and set(squares[..., 2].ravel()) == {2, 3, 4, 5, 6}
    assert (squares[..., 2] == squares[..., 3]).all() and (squares == squares.round()).all()
    assert (squares[..., :2] >= 0).all() and (squares[..., :2] + squares[..., 2:] <= 8).all()
    assert (squares[:, 0] != squares[:, 1]).any() and (squares[:, :, 0] != squares[:, :, 1]).any()


def test_views_of_whole_images_have_no_squares():
    method = table.build("cluit", patches=0)
    assert set(jax.eval_shape(method.views, jax.random.key(0), table.batch())) == {"x", "x_crop", "x_aug"}


# --- bad input ---


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_size": 96}, "data.image_size=96 must be a power of two"),
        ({"image_size": 4}, "data.image_size=4 must be a power of two and 8 to 16384"),
        ({"bottleneck": 12}, "method.bottleneck=12 must be a power of two"),
        ({"bottleneck": 256}, "method.bottleneck=256 must be data.image_size=128 at most"),
        ({"patch_sides": (0.5,)}, "method.patch_sides=(0.5,) must be 2 numbers"),
        ({"image_size": 8, "bottleneck": 4}, "data.image_size=8 is too small: the smallest patch"),
    ],
)
def test_what_does_not_go_together_is_named_in_one_line(changes, message):
    with pytest.raises(UserError) as caught:
        methods.build("cluit", changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_smallest_patch_has_two_pixels_a_side():
    with pytest.raises(UserError, match="method.patch_sides=.*, has 1.6 pixels a side, not 2"):
        table.build("cluit", patch_sides=(0.2, 1.0))
    table.build("cluit", patch_sides=(0.25, 1.0))
    table.build("cluit", patch_sides=(0.2, 1.0), patches=0)


@pytest.mark.parametrize("size, message", [
    (7, "batch_size=7 cannot be divided by 2"),
    (6, "method.queue_size=16 is not a multiple of batch_size=6, the keys of one step: use 18"),
    (32, "method.queue_size=16 is not a multiple of batch_size=32, the keys of one step: use 32"),
])  # fmt: skip
def test_a_batch_that_halves_or_queue_cannot_hold_is_refused(size, message):
    with pytest.raises(UserError) as caught:
        table.shapes(table.build("cluit"), size)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_device_s_odd_share_is_refused_before_anything_is_written(tmp_path):
    """Nine images are three for each of three devices, which no device can halve."""
    tiny = config.flatten({"method": table.TINY["cluit"]})
    tiny.pop("method.image_size")
    run = {"steps": 2, "batch_size": 9, "devices": 3, "data.image_size": 8, "data.source": "procedural:count=24"}
    with pytest.raises(UserError) as caught:
        loop.train(config.update(config.defaults("cluit"), {**tiny, **run}), tmp_path / "run")
    assert "batch_size=9 gives each of the 3 devices 3 images" in str(caught.value)
    assert "use a multiple of 6" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
