"""What a model makes of images whose pseudo domains and styles are known: the toy's are their colours."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests import toy
from tests.evaluation.sets import SIZE, paint, write_set
from uit_jax.errors import UserError
from uit_jax.method import Side
from uit_jax.report import looking
from uit_jax.runs import Trained

pytest.importorskip("sklearn")


def trained(tmp_path, method=None, **data):
    config = toy.config(SIZE, **{"source": str(tmp_path / "set"), "target": "", "direction": "AtoB", **data})
    return Trained(tmp_path, config, method or toy.method(image_size=SIZE), toy.variables(), 7)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Six of the twelve red test images look green, and one file is broken."""
    folder = tmp_path_factory.mktemp("looked")
    write_set(folder / "set", wrong=6)
    (folder / "set" / "test" / "a_red" / "a_red0.png").write_bytes(b"no image")
    return looking.look(trained(folder), None, 100)


def test_pseudo_domains_with_their_sizes_and_members(seen):
    assert [(each.number, each.size) for each in seen.pseudo_domains] == [(1, 17), (2, 12), (0, 6)] and not seen.empty
    assert len(seen.names) == len(seen.sheet.places) == 35 and "of step 7" not in seen.told and "step 7" in seen.told
    assert not any(name.endswith("a_red0.png") for name in seen.names)
    for domain in seen.pseudo_domains:
        assert len(domain.members) == min(looking.MEMBERS, domain.size)
        assert (seen.assigned[domain.members] == domain.number).all()


def test_confusion_counts_images_domains_in_the_order_of_their_classes(seen):
    counts, classes, domains = seen.confusion
    assert classes == ["a_red", "b_green", "c_blue"] and domains == [0, 1, 2]
    np.testing.assert_array_equal(counts, [[6, 5, 0], [0, 12, 0], [0, 0, 12]])


def test_styles_that_are_alike_lie_together(seen):
    points = seen.points
    centres = np.stack([points[seen.assigned == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
    assert points.shape == (35, 2) and (nearest == seen.assigned).mean() > 0.9


def test_strips_lead_from_one_domain_to_another(seen):
    assert [strip.told for strip in seen.strips] == [
        "pseudo domain 0 to pseudo domain 1", "pseudo domain 1 to pseudo domain 2"
    ]
    assert all(strip.data.startswith("data:image/webp") for strip in seen.strips)


def test_what_a_method_has_not_is_left_out(tmp_path):
    write_set(tmp_path / "set", labelled=False, test=1)
    plain = toy.method(image_size=SIZE)
    assert looking.look(trained(tmp_path, toy.altered(plain, readouts={})), None, 10) is None
    styled = looking.look(trained(tmp_path, toy.altered(plain, readouts={"style": plain.style})), None, 10)
    assert styled.assigned is None and styled.pseudo_domains == [] and styled.confusion is None
    # Three images are too few to be laid out, and enough for strips.
    assert styled.points is None and len(styled.strips) == 2
    sorted_ = looking.look(trained(tmp_path, toy.altered(plain, readouts={"cluster": plain.cluster})), None, 10)
    assert sorted_.pseudo_domains and sorted_.points is None and sorted_.strips == []


def test_of_two_domains_contents_are_of_the_first_and_styles_of_the_second(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        paint(tmp_path / "set" / "trainA" / f"{i}.png", 0, rng)
        paint(tmp_path / "set" / "trainB" / f"{i}.png", 2, rng)
    plain = toy.method(image_size=SIZE)
    pair = toy.altered(plain, sides=(Side("a", 3), Side("b", 3)), readouts={"style": plain.style})
    # The weights translate one way only.
    pair = toy.altered(pair, exchanged=lambda variables: None)
    seen = looking.look(trained(tmp_path, pair, test_target=""), None, 10)
    assert [name.split("/")[-2] for name in seen.names] == ["trainB"] * 6 and len(seen.strips) == 4
    with Image.open(io.BytesIO(base64.b64decode(seen.strips[0].data.partition(",")[2]))) as strip:
        pixels = np.asarray(strip.convert("RGB")).reshape(SIZE, -1, SIZE, 3)
    # Content, one end, seven frames, the other end.
    assert pixels.mean((0, 2)).argmax(-1).tolist() == [0] + [2] * 9


def test_images_that_are_gone_are_an_error_that_names_the_option(tmp_path):
    with pytest.raises(UserError, match="by --source"):
        looking.look(trained(tmp_path, source=str(tmp_path / "gone")), None, 10)


def test_codes_of_few_images_or_entries():
    assert looking.in_two_dimensions(np.zeros((4, 8), np.float32)) is None
    assert looking.in_two_dimensions(np.full((9, 8), np.nan, np.float32)) is None
    np.testing.assert_array_equal(looking.in_two_dimensions(np.ones((6, 1)))[:, 1], np.zeros(6))
    # A run whose styles have collapsed: equal codes, and equal but for rounding.
    for size, noise in ((0, 0), (1, 0), (1, 1e-8), (1e-30, 1e-31)):
        codes = size * np.ones((6, 3)) + noise * np.random.default_rng(0).normal(size=(6, 3))
        assert np.isfinite(looking.in_two_dimensions(codes)).all()
    np.testing.assert_array_equal(looking.in_two_dimensions(np.ones((6, 3), np.float32)), np.zeros((6, 2)))
