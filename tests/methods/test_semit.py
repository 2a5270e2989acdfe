"""SEMIT: its phases, how images are named and names righted, the share of low channels; golden values have the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import random_state
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.losses import noisy_labels
from uit_jax.method import Stream
from uit_jax.methods import naming
from uit_jax.methods.fewshot import FewShot
from uit_jax.methods.naming import Labels


def test_labels_alone_then_all_images_then_the_translator():
    method = methods.build("semit", labels=dict(share=0.2, steps=3, naming_steps=2, batch_size=16))
    some = Stream("partly_labelled", 0.2)
    expected = [("classify", Stream("labelled", 0.2), 16)] * 3 + [("name", some, 16)] * 2 + [("train", some, 0)] * 2
    found = [method.phase(step) for step in range(7)]
    assert [(each.name, each.stream, each.batch_size) for each in found] == expected
    assert [each.translates for each in found] == [False] * 5 + [True] * 2
    assert {each.load_size for each in found} == {130}
    # Where all labels are given nothing is named, and there is nothing that would.
    given = methods.build("semit")
    assert given.phase(0) == methods.build("funit", load_size=130).phase(0)
    assert set(given.networks) == {"generator", "discriminator"} and given.memory(jax.random.key(0), 8) == ()
    assert not given.sides[0].numbered and method.sides[0].numbered and "cluster" not in given.readouts


LABEL, NUMBER = np.array([2, -1, -1, -1], np.int32), np.array([0, 3, 1, 3], np.int32)


def test_an_image_has_its_label_or_the_name_it_had_or_that_of_the_classifier():
    memory = naming.begin(5, 3)
    memory["name"] = memory["name"].at[3].set(1)
    memory["change"] = memory["change"].at[3].set(jnp.array([12.0, -1.0, 0.0]))
    logits = jnp.array([[9.0, 0, 0], [0, 0, 9], [0, 0, 9], [0, 0, 9]])
    first, beliefs = Labels(share=0.5, certainty=10.0).names(memory, {"label": LABEL, "number": NUMBER}, logits)
    assert first.tolist() == [2, 1, 2, 1]
    assert beliefs.tolist() == [[0, 0, 10], [12, 9, 0], [0, 0, 10], [12, 9, 0]]


def test_what_is_remembered_is_of_images_without_labels_and_adds_up():
    memory, views = naming.begin(5, 2), {"label": LABEL, "number": NUMBER}
    change = jnp.arange(8.0).reshape(4, 2)
    memory = naming.remember(memory, views, jnp.array([2, 1, 0, 1]), change, None)
    assert memory["name"].tolist() == [-1, 0, -1, 1, -1]
    assert memory["change"].tolist() == [[0, 0], [4, 5], [0, 0], [2 + 6, 3 + 7], [0, 0]]


def test_beliefs_go_down_each_images_own_loss():
    labels = Labels(righting=3.0, anchor_weight=0.5, entropy_weight=0.2)
    logits, beliefs = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    first = np.array([0, 1, 2, 0])
    together = labels.righted(logits, beliefs, first)
    for row in range(4):
        one = slice(row, row + 1)

        def loss(own, one=one):
            terms = noisy_labels.terms(logits[one], own, first[one])
            return terms["agreement"] + 0.5 * terms["anchor"] + 0.2 * terms["entropy"]

        np.testing.assert_allclose(together[one], -3 * jax.grad(loss)(beliefs[one]), rtol=1e-4, atol=1e-6)


def test_naming_moves_the_classifier_and_remembers_and_training_reads_it(monkeypatch):
    method = table.build("semit")
    state = random_state(method, naming.begin(40, 3))
    namer = state.learners["classifier"].params
    state = state.replace(memory={**state.memory, "namer": namer})
    draw = np.random.default_rng(0)
    views = {"x": draw.uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32), "label": LABEL, "number": NUMBER}
    said = np.asarray(method.classify(namer, views["x"])).argmax(-1)
    step = jax.jit(method.update, static_argnames="phase")
    after, metrics = step(state, views, phase=method.phase(0))
    assert set(metrics) == {f"classifier/{name}" for name in ("agreement", "anchor", "entropy")}
    names = np.full(40, -1)
    names[1], names[3] = said[2], max(said[1], said[3])
    np.testing.assert_array_equal(after.memory["name"], names)
    moved = np.abs(after.memory["change"]).sum(1) > 0
    assert moved.nonzero()[0].tolist() == [1, 3] and int(after.step) == 1
    for name, learner in after.learners.items():
        assert table.changed(learner.params, state.learners[name].params) == (name == "classifier")

    seen = {}
    monkeypatch.setattr(FewShot, "update", lambda self, state, views, **_: seen.update(views))
    memory = {**after.memory, "name": after.memory["name"].at[3].set(0), "change": after.memory["change"].at[1].set(0)}
    memory["change"] = memory["change"].at[3].set(jnp.array([0.0, 11.0, 0.0]))
    method.update(after.replace(memory=memory), views, phase=method.phase(1))
    assert seen["label"].tolist() == [2, 1, said[2], 1] and seen["reference_label"].tolist() == [1, 2, 1, said[2]]


def test_one_share_of_low_channels_is_drawn_for_all_images_of_an_iteration():
    method = table.build("semit")
    views = jax.jit(method.views)
    shares = [np.unique(views(jax.random.key(seed), table.batch_of(method))["alpha"]) for seed in range(3)]
    assert all(each.shape == (1,) and 0 <= each < 1 for each in shares) and len(np.unique(shares)) == 3


def test_a_trained_model_translates_at_the_share_that_is_set():
    high, low = (table.build("semit", alpha=alpha) for alpha in (0.0, 1.0))
    variables = high.variables(random_state(high, ()))
    assert set(variables) == {"generator", "classifier"}
    inputs = {"content": np.zeros((1, 16, 16, 3), np.float32), "style": np.ones((1, 4), np.float32)}
    one, other = (jax.jit(method.translate)(variables, inputs) for method in (high, low))
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(labels=dict(share=0.0)), "method.labels.share=0.0 must be 1 at most and above 0"),
        (dict(image_size=96), "data.image_size=96 must be a power of two"),
        (dict(load_size=100), "method.load_size=100 must be 0 or at least the crop's data.image_size=128"),
        (dict(image_size=16, load_size=16), "data.image_size=16 is below the 32 px"),
        (dict(alpha=1.5), "method.alpha=1.5 must be 0 to 1"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(UserError) as caught:
        methods.build("semit", values)
    assert words in str(caught.value)


def test_more_images_than_names_are_refused():
    method = methods.build("semit", domains=2, labels=dict(share=0.5, images=9))
    method.check_images("pets", 9, ("cat", "dog"))
    with pytest.raises(UserError, match="pets has 10 images: set method.labels.images to as many"):
        method.check_images("pets", 10, ("cat", "dog"))
    methods.build("semit", domains=2).check_images("pets", 10**6, ("cat", "dog"))
    with pytest.raises(UserError, match="pets has no labels"):
        method.check_images("pets", 9, ())
