"""InfoNCE against numpy, closed forms and where its gradient may go."""

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.losses import contrastive


def codes(rows, seed, dim=4):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def test_info_nce_against_numpy():
    queries, keys, negatives = codes(3, 0), codes(3, 1), codes(5, 2)
    terms = []
    for query, key in zip(queries.astype(np.float64), keys, strict=True):
        positive = np.exp(query @ key / 0.5)
        terms.append(-np.log(positive / (positive + sum(np.exp(query @ other / 0.5) for other in negatives))))
    loss = jax.jit(contrastive.info_nce)
    np.testing.assert_allclose(loss(queries, keys, negatives, 0.5), np.mean(terms), rtol=1e-5)
    one_by_one = jax.vmap(lambda q, k: contrastive.info_nce(q[None], k[None], negatives, 0.5))(queries, keys)
    np.testing.assert_allclose(one_by_one, terms, rtol=1e-5)


def test_info_nce_of_equal_keys_is_log_of_their_number():
    keys = jnp.ones((2, 4))
    np.testing.assert_allclose(contrastive.info_nce(keys, keys, jnp.ones((9, 4))), np.log(10), rtol=1e-5)


def test_info_nce_of_orthogonal_negatives():
    """A unit query on its key, N negatives at a right angle: ln(1 + N exp(-1 / t)), t = 0.07 as published."""
    query = jnp.array([[1.0, 0, 0]])
    negatives = jnp.tile(jnp.array([[0.0, 1, 0]]), (1024, 1))
    expected = np.log1p(1024 * np.exp(-1 / 0.07))
    np.testing.assert_allclose(contrastive.info_nce(query, query, negatives), expected, rtol=1e-2)
    np.testing.assert_allclose(contrastive.info_nce(query, -query, negatives), 1 / 0.07 + np.log(1024), rtol=1e-5)


def test_info_nce_does_not_overflow():
    large = jnp.full((1, 4), 1e3)
    assert jnp.isfinite(contrastive.info_nce(large, -large, large))


def test_the_gradient_reaches_queries_but_not_keys():
    arguments = tuple(map(jnp.asarray, (codes(3, 0), codes(3, 1), codes(5, 2))))
    to_queries, to_keys = jax.grad(contrastive.info_nce, (0, 1))(*arguments)
    assert jnp.abs(to_queries).min() > 0
    assert (to_keys == 0).all()


def test_normalize():
    x = jnp.asarray(codes(3, 0))
    np.testing.assert_allclose(jnp.linalg.norm(contrastive.normalize(x), axis=-1), np.ones(3), rtol=1e-5)
    np.testing.assert_allclose(contrastive.normalize(5 * x), contrastive.normalize(x), rtol=1e-5)
    np.testing.assert_allclose(contrastive.normalize(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-5)
    assert (contrastive.normalize(jnp.zeros(4)) == 0).all()
    assert jnp.isfinite(jax.grad(lambda x: contrastive.normalize(x).sum())(jnp.zeros(4))).all()


def test_info_nce_leaves_out_invalid_negatives():
    """Neither their values nor gradients into them count: as if they were not there."""
    queries, keys, negatives = (jax.random.normal(jax.random.key(i), (n, 4)) for i, n in ((0, 3), (1, 3), (2, 7)))
    valid = jnp.array([False, True, True, False, True, False, True])
    masked = jax.value_and_grad(lambda q: contrastive.info_nce(q, keys, negatives, valid=valid))(queries)
    without = jax.value_and_grad(lambda q: contrastive.info_nce(q, keys, negatives[np.flatnonzero(valid)]))(queries)
    for ours, expected in zip(masked, without, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def unit(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_patch_nce_against_numpy():
    """One query at a time, its own key against the other keys of its image."""
    queries, keys = unit(2, 5, 4, seed=0), unit(2, 5, 4, seed=1)
    terms = []
    for image in range(2):
        for patch in range(5):
            scores = np.exp(keys[image].astype(np.float64) @ queries[image, patch] / 0.3)
            terms.append(-np.log(scores[patch] / scores.sum()))
    loss = jax.jit(contrastive.patch_nce)(queries, keys, 0.3)
    np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-5)


def test_patch_nce_of_orthogonal_patches_has_the_published_value():
    """The reference fills the diagonal of the negatives with -10; 143 below the others, it counts for nothing."""
    patches, t = 6, 0.07
    eye = jnp.eye(patches)[None]
    published = -1 / t + np.log(np.exp(1 / t) + (patches - 1) + np.exp(-10 / t))
    # Of size 3e-6: the rounding of 1 / t alone is 1e-6.
    np.testing.assert_allclose(contrastive.patch_nce(eye, eye, t), published, atol=2e-6)
    np.testing.assert_allclose(contrastive.patch_nce(eye, jnp.roll(eye, 1, axis=1), t), 1 / t + published, rtol=1e-5)


def test_patch_nce_of_equal_patches_is_the_logarithm_of_their_number():
    same = jnp.broadcast_to(jnp.array([1.0, 0, 0]), (2, 7, 3))
    np.testing.assert_allclose(contrastive.patch_nce(same, same), np.log(7), rtol=1e-5)


def test_candidates_of_all_images_are_more_negatives():
    queries, keys = unit(2, 5, 4, seed=0), unit(2, 5, 4, seed=1)
    everything = keys.reshape(-1, 4)
    together = contrastive.patch_nce(queries, keys, candidates=everything)
    as_one_image = contrastive.patch_nce(queries.reshape(1, 10, 4), everything[None])
    np.testing.assert_allclose(together, as_one_image, rtol=1e-5)
    assert together > contrastive.patch_nce(queries, keys)
    alone = contrastive.patch_nce(queries[:1], keys[:1], candidates=keys[0])
    np.testing.assert_allclose(alone, contrastive.patch_nce(queries[:1], keys[:1]), rtol=1e-5)


def test_patch_nce_trains_queries_only():
    queries, keys = jnp.asarray(unit(2, 5, 4, seed=0)), jnp.asarray(unit(2, 5, 4, seed=1))
    for candidates in (False, True):

        def loss(queries, keys, candidates=candidates):
            return contrastive.patch_nce(queries, keys, candidates=keys.reshape(-1, 4) if candidates else None)

        to_queries, to_keys = jax.grad(loss, (0, 1))(queries, keys)
        assert jnp.abs(to_queries).min() > 0
        assert (to_keys == 0).all()
