"""The oracle: a perfect translator passes, an idle and a recolouring one do not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.conftest import compiled_well
from uit_jax.data import world as worlds
from uit_jax.data.world import World
from uit_jax.evaluation import oracle

WORLD = World(species=3, size=16, count=8, test_count=60)
COUNT = 120


@pytest.fixture(scope="module")
def reader():
    with compiled_well():
        return oracle.train(WORLD, steps=300, batch_size=32)


@pytest.fixture(scope="module")
def pair():
    scenes = WORLD.scenes("test")
    content, reference = oracle.pairs(scenes, COUNT)
    return scenes[content], scenes[reference]


def pixels(scenes):
    return (WORLD.render(scenes) / 127.5 - 1).astype(np.float32)


def compare(outputs, pair, reader):
    return oracle.compare(outputs, *pair, WORLD, reader)


def test_the_judge_knows_the_test_images(reader):
    assert reader.accuracy > 0.9
    species, position = reader.read(pixels(WORLD.scenes("test")))
    assert species.shape == (60,) and position.shape == (60, 2)


def test_pairs_are_of_different_species_and_drawn_once(pair):
    content, reference = pair
    assert (content.species != reference.species).all()
    first, again = oracle.pairs(WORLD.scenes("test"), COUNT), oracle.pairs(WORLD.scenes("test"), COUNT)
    np.testing.assert_array_equal(first, again)
    # Every test image is a content, equally often.
    assert (np.bincount(first[0]) == 2).all()


def test_a_perfect_translation_passes(reader, pair):
    scores = compare(pixels(worlds.translation(*pair)), pair, reader)
    assert scores["species"] > 0.9 and scores["position"] < 0.5
    assert scores["follows_reference"] == scores["ground_follows_reference"] == 1
    assert max(scores[name] for name in ("color", "object", "ground", "error")) < 1e-6
    assert scores["oracle_accuracy"] == reader.accuracy


def test_doing_nothing_keeps_the_place_but_not_the_rest(reader, pair):
    scores = compare(pixels(pair[0]), pair, reader)
    assert scores["species"] < 0.1 and scores["position"] < 0.5
    assert scores["follows_reference"] < 0.1 and scores["ground_follows_reference"] < 0.1
    assert scores["error"] > 0.1 and scores["object"] > 0.2 and scores["ground"] > 0.1


def test_copying_the_reference_loses_the_place(reader, pair):
    scores = compare(pixels(pair[1]), pair, reader)
    assert scores["species"] > 0.9 and scores["position"] > 0.8
    assert scores["ground_follows_reference"] > 0.9


def test_recolouring_without_the_shape_does_not_pass(reader, pair):
    recoloured = dataclasses.replace(pair[0], colors=pair[1].colors)
    scores = compare(pixels(recoloured), pair, reader)
    assert scores["species"] < 0.4
    assert scores["follows_reference"] > 0.95


def test_score_gives_content_and_reference_to_the_translator(reader):
    """A translator that finds its images among the test images and answers with the truth, or with the content."""
    scenes = WORLD.scenes("test")
    count, shown = len(scenes), pixels(scenes)
    first, second = np.divmod(np.arange(count**2), count)
    answers = jnp.asarray(pixels(worlds.translation(scenes[first], scenes[second]))).reshape(count, count, 16, 16, 3)

    def find(variables, images):
        return jnp.square(images[:, None] - variables[None]).sum((2, 3, 4)).argmin(1)

    class Perfect:
        @staticmethod
        def translate(variables, inputs):
            return answers[find(variables, inputs["content"]), find(variables, inputs["reference"])]

    class Idle:
        @staticmethod
        def translate(variables, inputs):
            return inputs["content"]

    pairs = [scenes[rows] for rows in oracle.pairs(scenes, COUNT)]
    perfect, idle = (oracle.score(method, shown, WORLD, *pairs, reader=reader) for method in (Perfect, Idle))
    assert perfect["species"] > 0.9 and perfect["follows_reference"] == 1 and perfect["error"] < 1e-6
    assert idle["species"] < 0.1 and idle["follows_reference"] < 0.1


def test_where_styles_are_of_classes_the_species_of_a_reference_is_told():
    scenes = WORLD.scenes("test")
    pair = [scenes[rows] for rows in oracle.pairs(scenes, 7)]

    def style(variables, images, domains):
        return jax.nn.one_hot(domains, 3) * images.mean((1, 2, 3))[:, None]

    def translate(variables, inputs):
        return inputs["content"] * 0 + inputs["style"][:, None, None]

    method = toy.altered(
        toy.method(image_size=16), sampled_by_class=True, readouts={"style": style}, translate=translate
    )
    drawn = oracle._translations(method, {}, WORLD, True, content=pair[0], reference=pair[1])
    told = pixels(pair[1]).mean((1, 2, 3))
    np.testing.assert_allclose(drawn[:, 0, 0], np.eye(3)[pair[1].species] * told[:, None], rtol=1e-5)


def of_species(number):
    scenes = WORLD.scenes("test")
    return scenes[np.flatnonzero(scenes.species == number)]


def test_a_translator_to_one_species_is_judged_without_references(reader):
    scenes, wanted = of_species(0), of_species(2)
    kind = dataclasses.replace(scenes, species=np.full_like(scenes.species, 2))

    def coloured(objects):
        return dataclasses.replace(kind, colors=np.stack([objects[:, 0], objects[:, 1], scenes.colors[:, 2]], 1))

    truth = coloured(np.resize(wanted.colors, scenes.colors.shape))
    usual = coloured(np.broadcast_to(wanted.colors.mean(0), scenes.colors.shape))
    moved = dataclasses.replace(truth, position=-truth.position)
    regrounded = dataclasses.replace(truth, colors=truth.colors * np.array([1, 1, 0])[:, None])

    def compare(outputs):
        return oracle.compare_domain(pixels(outputs), scenes, wanted, WORLD, reader)

    perfect, mean, idle, elsewhere, black = map(compare, (truth, usual, scenes, moved, regrounded))
    assert perfect["species"] > 0.9 and perfect["position"] < 0.5 and perfect["ground"] < 0.01
    assert idle["species"] < 0.1 and idle["position"] < 0.5 and idle["ground"] < 0.01
    assert elsewhere["species"] > 0.9 and elsewhere["position"] > 0.8
    assert black["ground"] > 0.3
    # As many colours as there are: as far from the mean as the species' own images; that mean is nearer, red is not.
    floor = perfect["object_floor"]
    assert 0.5 < perfect["object"] / floor < 2 and mean["object"] < 0.6 * floor and idle["object"] > 4 * floor
    np.testing.assert_allclose(black["color"], (black["object"] + black["ground"]) / 2)


def test_where_no_place_differs_there_is_no_position(reader):
    scenes = of_species(0)[:1]
    told = oracle.compare_domain(pixels(scenes), scenes, of_species(2), WORLD, reader)
    assert "position" not in told and np.isfinite([*told.values()]).all()
    assert "position" not in oracle.compare(pixels(scenes), scenes, of_species(2)[:1], WORLD, reader)


def test_such_a_translator_is_given_the_scenes(reader):
    class Darker:
        @staticmethod
        def translate(variables, inputs):
            assert set(inputs) == {"content"}
            return inputs["content"] * variables - 1 + variables

    scenes, wanted = WORLD.scenes("test"), of_species(1)
    kept, dark = (oracle.score_domain(Darker, share, WORLD, scenes, wanted, reader=reader) for share in (1.0, 0.5))
    assert kept["ground"] < 0.01 and kept["position"] < 0.5 and kept["oracle_accuracy"] == reader.accuracy
    np.testing.assert_allclose(dark["ground"], np.linalg.norm(scenes.colors[:, 2], axis=-1).mean() / 2, rtol=0.02)
    assert kept["species"] == np.mean(reader.read(pixels(scenes))[0] == 1)


def test_pairs_of_two_domains_are_drawn_once_and_evenly():
    content, reference = oracle.cross(20, 7, 50)
    assert set(np.bincount(content)) == {2, 3} and set(reference) == set(range(7))
    np.testing.assert_array_equal(reference, oracle.cross(20, 7, 50)[1])


def test_mean_colours_weigh_by_the_parts():
    images = np.zeros((1, 2, 2, 3))
    images[0, 0] = 1.0
    parts = np.zeros((1, 2, 2, 3), np.float32)
    parts[0, 0, 0, 0] = parts[0, 0, 1, 1] = parts[0, 1, :, 2] = 1
    np.testing.assert_allclose(oracle._mean_colors(images, parts), [[[1, 1, 1], [0, 0, 0]]])
