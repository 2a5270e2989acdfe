"""Distances between sets of features: closed forms, invariances. The published tools' numbers are golden values."""

import zlib

import numpy as np
import pytest

from uit_jax.metrics import frechet, manifold


@pytest.fixture(scope="module")
def published():
    """The features that pytorch-fid's and prdc's golden values are of, made as their manifest says."""
    rng = np.random.RandomState(zlib.crc32(b"dev/feat"))
    a, mixing = rng.standard_normal((500, 64)), rng.standard_normal((64, 64)) * 0.2
    b = rng.standard_normal((400, 64)) @ (np.eye(64) + mixing) + 0.3
    real = rng.standard_normal((500, 8)).astype(np.float32)
    fake = (rng.standard_normal((400, 8)) * 0.8 + 0.25).astype(np.float32)
    return a, b, real, fake


def fid(a, b):
    return frechet.distance(frechet.moments(a), frechet.moments(b))


def test_moments_add_up_over_any_parts(published):
    a, b = 1e3 + published[0], published[1]
    for cut in (1, 99, 499):
        merged = frechet.merge(frechet.moments(a[:cut]), frechet.moments(a[cut:]))
        whole = frechet.moments(a)
        assert merged.count == 500
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(merged.covariance, np.cov(a, rowvar=False), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(frechet.distance(merged, frechet.moments(b)), fid(a, b), rtol=1e-9)


def test_of_diagonal_gaussians_the_distance_has_a_closed_form():
    signs = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)], np.float64)
    one, two = signs * [2, 3], signs * [5, 1] + [1, -1]
    scale = np.sqrt(4 / 3)
    wanted = 2 + scale**2 * ((2 - 5) ** 2 + (3 - 1) ** 2)
    np.testing.assert_allclose(fid(one, two), wanted, rtol=1e-12)


def test_a_set_is_no_distance_from_itself_in_any_order(published):
    a, b, real, _ = published
    assert fid(a, a) < 1e-9 * np.trace(frechet.moments(a).covariance)
    np.testing.assert_allclose(fid(a[::-1], b), fid(b, a), rtol=1e-9)
    # Of fewer features than entries the covariance is singular, whose root pytorch-fid finds no more.
    few = a[:20]
    assert 0 <= fid(few, few) < 1e-6 and np.isfinite(fid(few, b[:30]))
    same = manifold.scores(real, real)
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    shuffled = manifold.scores(real[::-1], real + 1e4)
    assert shuffled == dict.fromkeys(shuffled, 0.0)


def test_balls_are_counted_as_by_hand():
    """Of points on a line, in units: true ones at 0, 1, 3 and 7; with k = 1 their balls reach 1, 1, 2 and 4 far."""
    real, fake = (np.array(places, np.float64)[:, None] for places in ([0, 1, 3, 7], [0.5, 4.5, 30]))
    found = manifold.scores(real, fake, k=1)
    # 0.5 lies in the balls of 0 and 1, 4.5 in those of 3 and 7, 30 in none.
    assert found["precision"] == 2 / 3 and found["density"] == 4 / 3 and found["coverage"] == 1
    # The generated balls reach 4, 4 and 25.5 far: all true ones lie in some.
    assert found["recall"] == 1
    # A translation of both changes nothing, however far.
    assert manifold.scores(real + 1e6, fake + 1e6, k=1) == found


def test_large_sets_are_compared_in_blocks(published, monkeypatch):
    *_, real, fake = published
    whole = manifold.scores(real, fake)
    monkeypatch.setattr(manifold, "_BLOCK", 77)
    assert manifold.scores(real, fake) == whole


def test_what_cannot_be_compared_is_refused():
    ok, other = np.zeros((9, 3)), np.zeros((9, 4))
    for wrong in (np.zeros((0, 3)), np.zeros(3), np.full((9, 3), np.nan)):
        with pytest.raises(ValueError):
            frechet.moments(wrong)
    with pytest.raises(ValueError, match="3 and of 4"):
        fid(ok, other)
    with pytest.raises(ValueError, match="1 features have no covariance"):
        fid(ok, ok[:1])
    with pytest.raises(ValueError, match="cannot be compared"):
        manifold.scores(ok, other)
    with pytest.raises(ValueError, match="more than k=5 of either are needed"):
        manifold.scores(ok, ok[:5])
