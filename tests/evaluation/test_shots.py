"""A few references of a species: what a perfect, an idle and an averaging translator make of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from uit_jax.errors import UserError
from uit_jax.evaluation import Shots, evaluate, oracle
from uit_jax.runs import Trained

WORLD = "procedural:species=3,count=30,test_count=60"


def run(source="procedural:species=2,count=30", **attributes):
    """Return a run of the toy, which learnt from some of the world's species and is scored on all three."""
    config = toy.config(16, source=source, test_source=WORLD)
    method = toy.altered(toy.method(image_size=16), **attributes)
    return Trained("run", config, method, toy.variables(), 7)


@pytest.fixture
def reader(monkeypatch):
    """Pretend to read species and place of an image off its brightness: bright ones are triangles."""
    seen = []

    def read(images):
        seen.append(images)
        return np.where(images.mean((1, 2, 3)) > 0, 2, 0), np.zeros((len(images), 2))

    monkeypatch.setattr(oracle, "train", lambda world: oracle.Reader(read, 1.0))
    return seen


def test_translations_are_made_by_the_mean_style_of_references(reader):
    def translate(variables, inputs):
        return jnp.zeros_like(inputs["content"]) + jnp.clip(inputs["style"], -1, 1)[:, None, None]

    record = evaluate(run(translate=translate), [Shots(count=24, shots=4)])
    one, several = (images[:, 0, 0] for images in reader)
    assert one.shape == several.shape == (24, 3)
    # A mean of several varies less than any one of them.
    assert several.var(0).sum() < 0.6 * one.var(0).sum()
    scores = record["scores"]
    assert set(scores) == set(Shots.scores)
    assert scores["one_reference_species"] == (one.mean(-1) > 0).mean()
    assert "triangle, of which nothing was seen in training" in record["protocol"]["shots"]
    assert "mean style code of 1 or 4" in record["protocol"]["shots"]


def test_contents_are_of_other_species_and_come_back_by_an_idle_translator(reader):
    record = evaluate(run(translate=lambda variables, inputs: inputs["content"]), [Shots(count=24)])
    (first, again), scores = reader, record["scores"]
    np.testing.assert_array_equal(first, again)
    assert scores["one_reference_position"] == scores["several_references_position"] > 0


def test_a_species_may_be_named(reader):
    record = evaluate(run(WORLD), [Shots(of="disk", count=6, shots=2)])
    assert "disk, a species of its training" in record["protocol"]["shots"]
    for name, told in (("", "of which training saw nothing; name one by `of`"), ("cross", "called 'cross'")):
        with pytest.raises(UserError, match=f"one species is wanted, and there are 0 {told}"):
            evaluate(run(WORLD), [Shots(of=name)])
    with pytest.raises(UserError, match="61 references are more than there are"):
        evaluate(run(), [Shots(shots=61)])
