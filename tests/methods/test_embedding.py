"""The embedding translator: an update against a plain computation; what labels change; queues, averages, limits."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests import method_table as table
from tests.methods import by_hand
from uit_jax import config
from uit_jax.errors import UserError
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.method import Stream
from uit_jax.nn.starganv2 import Encoder, Generator
from uit_jax.training import feed

# All different, and none 1, so that none can stand in another's place.
SETTINGS = dict(
    contrastive_weight=0.7,
    label_weight=0.9,
    match_weight=1.3,
    mismatch_weight=0.8,
    adversarial_weight=0.5,
    reconstruction_weight=1.7,
    r1=dict(weight=0.02, every=3),
    key_average=0.9,
    average=0.6,
    temperature=0.5,
)
UNKNOWN = np.full(8, -1, np.int32)
WIDTHS = dict(width=4, max_width=8)
EMBEDDING = Encoder(8, {"code": 4}, **WIDTHS)
DISCRIMINATOR = Encoder(8, {"logit": 1, "projection": 4}, **WIDTHS)
GENERATOR = Generator(8, 3, bottleneck=4, blocks=1, **WIDTHS)


class Step(NamedTuple):
    """One step of a tiny translator: its views, the states around it, its metrics, and `again(state, views)`."""

    method: Any
    views: dict
    before: Any
    after: Any
    metrics: dict
    again: Any


@functools.cache
def step(number: int, **settings) -> Step:
    method = table.build_with_sgd("embedding", **SETTINGS, **settings)
    queue = np.asarray(by_hand.unit(by_hand.drawn(1, 16, 4)))
    labels = np.array([-1, 0, 1, 2, 0, 1, 1, -1, -1, 2, 0, 0, 1, -1, 2, 1], np.int32)
    before = by_hand.random_state(method, {"queue": KeyQueue(queue), "labels": KeyQueue(labels)})
    views = {
        "x": by_hand.images(0),
        "x_aug": by_hand.images(1),
        "perm": np.array([3, 1, 7, 0, 6, 2, 5, 4], np.int32),
        "label": np.array([0, 1, -1, 2, -1, 0, 3, 1], np.int32),  # no key of class 3 is in the queue
    }
    again = jax.jit(functools.partial(method.update, phase=method.phase(number)))
    after, metrics = again(before, views)
    return Step(method, views, before, after, metrics, again)


def with_labels():
    return step(0, labelled_share=0.5)


def without_labels():
    return step(0)


def with_a_logit():
    return step(1, conditioning="logit")


# --- an update, computed plainly ---


def embed(params, images):
    return by_hand.unit(EMBEDDING.apply({"params": params}, images)["code"])


def generate(params, images, codes):
    return GENERATOR.apply({"params": params}, images, 2 * codes)  # unit codes of 4 entries


def supervised(codes, queue, same, temperature):
    """Return the mean of -log p(key) over each query's own class, then over the queries whose class the queue has."""
    probability = jnp.exp(codes @ queue.T / temperature)
    losses = -jnp.log(probability / probability.sum(1, keepdims=True))
    number = same.sum(1)
    per_query = (losses * same).sum(1) / jnp.where(number > 0, number, 1)
    return per_query.sum() / jnp.maximum((number > 0).sum(), 1)


def plain_parts(ran, labels=None):
    """Return what `plainly` takes: known classes as they lie in numpy, and weights of both kinds of discriminator."""
    labels = ran.views["label"] if labels is None else labels
    queue_labels = np.asarray(ran.before.memory["labels"].keys)
    same = (labels[:, None] == queue_labels[None]) & (labels[:, None] >= 0)
    state = ran.before
    if "projection" not in state.learners["discriminator"].params:
        learner = state.learners["discriminator"]
        params = {**learner.params, "projection": with_labels().before.learners["discriminator"].params["projection"]}
        state = state.replace(learners={**state.learners, "discriminator": learner.replace(params=params)})
    return state, ran.views, same


@jax.jit
def plainly(before, views, same, flags):
    """Return terms, the weights after the step, and the gradient of the generator's loss at what it does not train.

    `flags` switches the projection, the penalty and the labels' terms on or off, by 1 or 0.
    """
    s = SETTINGS
    params = {name: learner.params for name, learner in before.learners.items()}
    x, perm, queue = views["x"], views["perm"], before.memory["queue"].keys
    keys = embed(before.learners["embedding"].ema, views["x_aug"])
    keys_ref, same_ref = keys[perm], same[perm]

    def discriminate(params, images, codes):
        seen = DISCRIMINATOR.apply({"params": params}, images)
        return seen["logit"][:, 0] + flags["projection"] * (seen["projection"] * codes).sum(-1) / 2

    def discriminator_loss(params, fake):
        terms = {
            "r1": by_hand.penalty(lambda x: discriminate(params, x, keys), x),
            "real": by_hand.is_real(discriminate(params, x, keys)),
            "fake": by_hand.is_fake(discriminate(params, fake, keys_ref)),
            "mismatch": by_hand.is_fake(discriminate(params, x, keys_ref)),
        }
        weight = flags["projection"] * s["mismatch_weight"]
        wrong = (terms["fake"] + weight * terms["mismatch"]) / (1 + weight)
        return terms["real"] + wrong + flags["penalty"] * s["r1"]["weight"] * s["r1"]["every"] * terms["r1"], terms

    def generator_loss(generator, embedding, discriminator, critic):
        codes = embed(embedding, x)
        fake = generate(generator, x, codes[perm])
        every = {
            "adversarial": by_hand.is_real(discriminate(discriminator, fake, keys_ref)),
            "match": by_hand.info_nce(embed(critic, fake), keys_ref, queue, s["temperature"], ~same_ref),
            "reconstruction": jnp.abs(generate(generator, x, codes) - x).mean(),
            "contrastive": by_hand.info_nce(codes, keys, queue, s["temperature"], ~same),
            "classes": supervised(codes, queue, same, s["temperature"]),
        }
        weights = {name: s[f"{name.replace('classes', 'label')}_weight"] for name in every}
        return sum(weights[name] * value for name, value in every.items()), every

    fake = generate(params["generator"], x, embed(params["embedding"], x)[perm])
    gradient, opponent_terms = jax.grad(discriminator_loss, has_aux=True)(params["discriminator"], fake)
    new = {"discriminator": by_hand.stepped(params["discriminator"], gradient)}
    trained = params["generator"], params["embedding"], new["discriminator"], params["embedding"]
    (of_generator, of_embedding, *leaks), terms = jax.grad(generator_loss, (0, 1, 2, 3), has_aux=True)(*trained)
    new["generator"] = by_hand.stepped(params["generator"], of_generator)
    new["embedding"] = by_hand.stepped(params["embedding"], of_embedding)
    named = {f"discriminator/{name}": value for name, value in opponent_terms.items()}
    return named | {f"generator/{name}": value for name, value in terms.items()}, new, leaks


def weights(state):
    return {name: learner.params for name, learner in state.learners.items()}


def test_an_update_is_that_of_a_plain_computation():
    """The embedding network learns as style and by its contrasts, not as the judge of a translation's style; generator
    and embedding learn from the discriminator as it has become, which learns from its own losses alone."""
    ran = with_labels()
    terms, new, leaks = plainly(*plain_parts(ran), dict(projection=1.0, penalty=1.0))
    by_hand.assert_terms(ran.metrics, terms)
    by_hand.assert_close(weights(ran.after), new)
    # There are gradients that could have gone astray, into the discriminator and into the judge of style.
    assert all(by_hand.largest(leak) > 1e-3 for leak in leaks)


def test_a_single_logit_knows_nothing_of_the_reference():
    ran = with_a_logit()
    parts = plain_parts(ran, UNKNOWN)
    terms, new, _ = plainly(*parts, dict(projection=0.0, penalty=0.0))
    for absent in ("discriminator/r1", "discriminator/mismatch", "generator/classes"):
        del terms[absent]
    ran = again_with(ran, label=UNKNOWN)
    by_hand.assert_terms(ran.metrics, terms)
    untouched = new["discriminator"].pop("projection")
    by_hand.assert_close(weights(ran.after), new)
    by_hand.assert_close(untouched, parts[0].learners["discriminator"].params["projection"], rtol=0, atol=0)
    assert set(ran.after.learners["discriminator"].params) == {"trunk", "logit"}
    assert set(with_labels().after.learners["discriminator"].params) == {"trunk", "logit", "projection"}


def again_with(ran, memory=None, **views) -> Step:
    """Redo a step with other views or another memory."""
    views = {**ran.views, **views}
    before = ran.before if memory is None else ran.before.replace(memory={**ran.before.memory, **memory})
    after, metrics = ran.again(before, views)
    return ran._replace(views=views, before=before, after=after, metrics=metrics)


# --- labels ---


def test_unknown_labels_are_no_labels():
    labelled, plain = again_with(with_labels(), label=UNKNOWN), again_with(without_labels(), label=UNKNOWN)
    assert float(labelled.metrics["generator/classes"]) == 0
    assert "generator/classes" not in plain.metrics
    by_hand.assert_terms({k: v for k, v in labelled.metrics.items() if k != "generator/classes"}, plain.metrics)
    by_hand.assert_close(labelled.after.learners, plain.after.learners)


def test_keys_of_the_own_class_are_no_negatives():
    """What they are does not matter; where all are of the own class, nothing is left to tell a key from."""
    ran, label = with_labels(), np.ones(8, np.int32)
    terms = ("generator/contrastive", "generator/match")
    queue, labels = ran.before.memory["queue"].keys, ran.before.memory["labels"].keys
    others = np.where((labels == 1)[:, None], by_hand.unit(by_hand.drawn(5, 16, 4)), queue)
    one = again_with(ran, label=label).metrics
    other = again_with(ran, {"queue": KeyQueue(others)}, label=label).metrics
    alone = again_with(ran, {"labels": KeyQueue(np.ones(16, np.int32))}, label=label).metrics
    for term in terms:
        np.testing.assert_allclose(one[term], other[term], rtol=1e-6)
        np.testing.assert_allclose(alone[term], 0, atol=1e-6)
        assert one[term] > 0.1
    assert abs(one["generator/classes"] - other["generator/classes"]) > 1e-3


def test_labels_draw_classes_together():
    """Images of noise, of which nothing but the labels says which belong together."""
    ran = with_labels()
    label = np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
    same, other = (label[:, None] == label) & ~np.eye(8, dtype=bool), label[:, None] != label
    read = jax.jit(embed)

    def margin(state):
        """Return by how much cosines within classes are above those between classes."""
        codes = read(state.learners["embedding"].params, ran.views["x"])
        cosines = np.asarray(codes @ codes.T)
        return cosines[same].mean() - cosines[other].mean()

    def trained(label):
        state = ran.before
        for _ in range(150):
            state, _ = ran.again(state, {**ran.views, "label": label})
        return state

    known = margin(trained(label))
    assert known > margin(ran.before) + 0.1
    assert known > margin(trained(UNKNOWN)) + 0.1


def test_labels_move_with_their_keys():
    ran = with_labels()
    for name in ("queue", "labels"):
        np.testing.assert_array_equal(ran.after.memory[name].keys[:8], ran.before.memory[name].keys[8:])
    np.testing.assert_array_equal(ran.after.memory["labels"].keys[8:], ran.views["label"])
    assert ran.after.memory["labels"].keys.dtype == jnp.int32
    fresh = ran.method.memory(jax.random.key(0), 8)["labels"]
    assert (fresh.keys.shape, fresh.keys.dtype) == ((16,), jnp.int32)


def views_label(labelled_share):
    method = table.build("embedding", labelled_share=labelled_share)
    return method, jax.jit(lambda batch: method.views(jax.random.key(0), batch)["label"])


def test_labels_of_the_share_reach_the_method_and_no_other(tmp_path):
    """Three classes of eight images, half of them labelled: an epoch draws each image once, shows twelve labels."""
    for k in range(3):
        (tmp_path / f"class_{k}").mkdir()
        for i in range(8):
            pixels = np.full((8, 8, 3), 80 * k + 10 * i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"class_{k}" / f"{i}.png")
    tiny = config.flatten({"method": table.TINY["embedding"] | {"labelled_share": 0.5}})
    tiny.pop("method.image_size")
    wanted = {"steps": 3, "batch_size": 8, "data.image_size": 8, "data.source": str(tmp_path)}
    c = config.update(config.defaults("embedding"), {**tiny, **wanted})
    method, read = views_label(0.5)
    assert method.phase(1).stream == Stream("partly_labelled", 0.5)
    assert views_label(0.0)[0].phase(1).stream == Stream("all", 0.0)
    streams = feed.Streams(c, method, feed.open_sources(c, method)[0], [method.phase(0)])
    seen = {}
    for number in range(3):
        batch = streams.batch(number, method.phase(number))
        seen |= dict(zip(batch["image"][:, 0, 0, 0].tolist(), np.asarray(read(batch)).tolist(), strict=True))
    streams.close()
    assert seen == {80 * k + 10 * i: k if i < 4 else -1 for k in range(3) for i in range(8)}
    assert (views_label(0.0)[1](batch) == -1).all()


# --- what a step leaves behind ---


def test_embeddings_are_unit_and_the_newest_keys_are_the_averaged_networks_of_the_second_views():
    ran = with_labels()
    read = jax.jit(ran.method.readouts["style"])
    variables = ran.method.variables(ran.before)
    np.testing.assert_allclose(ran.after.memory["queue"].keys[8:], read(variables, ran.views["x_aug"]), atol=1e-5)
    lengths = np.linalg.norm(read(variables, 9 * ran.views["x"]), axis=-1)
    np.testing.assert_allclose(lengths, np.ones(8), rtol=1e-5)
    memory = ran.method.memory(jax.random.key(0), 8)
    np.testing.assert_allclose(np.linalg.norm(memory["queue"].keys, axis=-1), np.ones(16), rtol=1e-5)
    assert (memory["labels"].keys == -1).all()


@pytest.mark.parametrize("name, decay", [("generator", 0.6), ("embedding", 0.9)])
def test_averages_follow_the_new_weights_and_are_what_inference_uses(name, decay):
    ran = with_labels()
    before, after = ran.before.learners[name], ran.after.learners[name]
    moved = jax.tree.map(lambda ema, params: decay * ema + (1 - decay) * params, before.ema, after.params)
    by_hand.assert_close(after.ema, moved, rtol=1e-5, atol=1e-6)
    used = ran.method.variables(ran.after)
    assert set(used) == {"generator", "embedding"} and not table.changed(used[name]["params"], after.ema)
    assert ran.after.learners["discriminator"].ema is None


def test_images_are_redrawn_in_their_own_style_better_after_a_few_steps():
    ran = with_a_logit()
    state, errors = ran.before, []
    for _ in range(30):
        state, metrics = ran.again(state, ran.views)
        errors.append(float(metrics["generator/reconstruction"]))
    assert errors[-1] < 0.7 * errors[0] and np.isfinite(errors).all()


def test_the_penalty_is_due_at_the_first_and_then_every_so_many_steps():
    phases = [with_labels().method.phase(step) for step in range(4)]
    assert [phase.penalised for phase in phases] == [True, False, False, True] and len(set(phases)) == 2


# --- bad input ---


def test_a_bottleneck_larger_than_the_images_is_refused():
    with pytest.raises(UserError, match="^method.bottleneck=16 must be data.image_size=8 at most$"):
        table.build("embedding", bottleneck=16)


def test_a_source_without_labels_is_refused_where_they_are_asked_for():
    table.build("embedding").check_images("data.source=x", 99, ())
    with pytest.raises(UserError, match="^data.source=x has no labels, but method.labelled_share is above 0$"):
        table.build("embedding", "labels").check_images("data.source=x", 99, ())


def test_a_batch_that_the_queue_cannot_hold_is_refused():
    with pytest.raises(UserError, match="method.queue_size=16 is not a multiple of batch_size=6"):
        table.shapes(table.build("embedding"), 6)
