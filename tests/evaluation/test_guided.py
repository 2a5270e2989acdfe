"""Every class drawn as every other, by sampled styles and by those of references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.evaluation.sets import SIZE, write_set
from uit_jax import evaluation
from uit_jax.errors import UserError
from uit_jax.evaluation import Guided, guided, networks, perceptual
from uit_jax.evaluation.context import open_context
from uit_jax.runs import Trained


@pytest.fixture(autouse=True)
def plain_features(monkeypatch):
    """Let mean colours be what images are compared in."""
    for name in (networks.VARIABLE, perceptual.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    about = dict(kind="plain", name="mean colours", weights="", sha256="0" * 64, side=SIZE, channels=3)
    plain = networks.FeatureNetwork(
        **about, resize="pillow_bilinear", function=lambda _, images: images.mean((1, 2)), variables=()
    )
    monkeypatch.setattr(networks, "random_network", lambda seed, channels: plain)


def sampled(variables, keys, domains):
    """Sample colours whose channel of the class is the brightest."""
    noise = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-0.8, maxval=-0.6))(keys)
    return noise + jax.nn.one_hot(domains, 3)


def style(variables, images, domains=None):
    """Tell the colour of an image whose class is known, and of others none."""
    return images.mean((1, 2)) * (domains is not None)


@pytest.fixture
def run(tmp_path):
    """A run of the toy, whose styles are of classes, sampled ones and those of images."""
    write_set(tmp_path / "set", test=4, train=6)
    config = toy.config(SIZE, source=str(tmp_path / "set"), target="", test_target="", direction="AtoB")
    method = toy.method(image_size=SIZE)
    readouts = {"style": style, "cluster": method.cluster}
    method = toy.altered(method, style_prior=sampled, sampled_by_class=True, readouts=readouts)
    return Trained(tmp_path, config, method, toy.variables(), 7)


def test_pairs_of_classes_are_drawn_both_ways_and_scored(run, monkeypatch):
    seen = []

    def translations(method, variables, source, contents, codes, others, what, *, shown):
        seen.append((what, source.labels[contents].tolist(), codes[others].argmax(-1)))
        yield np.repeat(source.images(contents), others.shape[1], axis=0)

    monkeypatch.setattr(guided, "translations", translations)
    record = evaluation.evaluate(run, [Guided(outputs=3)])
    assert set(record["scores"]) == {"latent_frechet", "latent_apart", "reference_frechet", "reference_apart"}
    assert len(seen) == 2 * 6 and len({what for what, *_ in seen}) == 6
    for what, labels, brightest in seen:
        names = [record["classes"].index(name) for name in what.split(" to ")]
        assert labels == 4 * [names[0]] and brightest.shape == (4, 3) and (brightest == names[1]).all()
    assert record["scores"]["latent_apart"] == record["scores"]["reference_apart"] == 0
    assert record["scores"]["latent_frechet"] == pytest.approx(record["scores"]["reference_frechet"])
    told = record["protocol"]["latent_frechet"]
    assert told.startswith("mean over 6 ordered pairs of classes") and "drawn 3 times" in told and "sampled" in told
    assert "Fréchet distance, by sampled styles" in evaluation.table(record)


def test_translations_in_the_right_colours_are_nearer_than_idle_ones(run):
    found = evaluation.evaluate(run, [Guided(outputs=2)])["scores"]
    still = toy.altered(run.method, translate=lambda variables, inputs: inputs["content"], style_prior=None)
    idle = evaluation.evaluate(Trained(run.workdir, run.config, still, run.variables, 7), [Guided(outputs=2)])["scores"]
    assert set(idle) == {"reference_frechet", "reference_apart"} and idle["reference_apart"] == 0
    assert found["reference_frechet"] < 0.5 * idle["reference_frechet"] and found["reference_apart"] > 0


def test_an_image_without_a_label_has_the_style_of_the_class_it_is_taken_for(run):
    context = open_context(run)
    context.labels = context.labels.copy()
    context.labels[:4] = -1

    def style(variables, images, domains=None):
        return jnp.zeros((len(images), 3)) if domains is None else jax.nn.one_hot(domains, 3)

    context.trained = altered = Trained(
        run.workdir,
        run.config,
        toy.altered(run.method, readouts={"style": style, "cluster": run.method.cluster}),
        run.variables,
        7,
    )
    # The first four are red, whose cluster is the first.
    assert context.class_codes().argmax(-1).tolist() == np.repeat([0, 1, 2], 4).tolist()
    assert (context.class_codes().sum(-1) == 1).all() and not context.codes().any()
    altered.config.data.labels = "labels.csv"
    assert not context.classes_told and not context.class_codes().any()
    plain = open_context(Trained(run.workdir, run.config, toy.altered(altered.method, sampled_by_class=False), {}, 7))
    assert not plain.class_codes().any()


def test_what_cannot_be_scored_is_told(run):
    for outputs in (1, 5):
        with pytest.raises(UserError, match=f"outputs={outputs}: a pair takes two, and a class has 4 test images"):
            evaluation.evaluate(run, [Guided(outputs=outputs)])
    unstyled = toy.altered(run.method, readouts={"cluster": lambda variables, images: jnp.zeros((len(images), 3))})
    with pytest.raises(UserError, match="takes no styles of classes"):
        evaluation.evaluate(Trained(run.workdir, run.config, unstyled, run.variables, 7), [Guided()])
