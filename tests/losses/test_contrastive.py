"""Contrastive losses against numpy, closed forms and where their gradients may go."""

import functools

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


def test_info_nce_with_negatives_of_each_query_s_own():
    """Row by row as if the others were not there, in value and gradient."""
    queries, keys, negatives = unit(3, 4), unit(3, 4, seed=1), unit(7, 4, seed=2)
    valid = np.random.default_rng(3).random((3, 7)) < 0.5
    valid[2] = False

    def one_by_one(queries):
        rows = zip(queries, keys, valid, strict=True)
        return sum(contrastive.info_nce(q[None], k[None], negatives[v], 0.5) for q, k, v in rows) / 3

    def together(queries, negatives=negatives):
        return contrastive.info_nce(queries, keys, negatives, 0.5, valid=valid)

    found = (jax.jit(jax.value_and_grad(loss))(queries) for loss in (together, one_by_one))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert not np.asarray(jax.jit(jax.grad(together, 1))(queries, negatives))[~valid.any(0)].any()


def test_info_nce_without_negatives_has_nothing_to_tell():
    queries, keys, nothing = unit(3, 4), unit(3, 4, seed=1), np.zeros((3, 7), bool)
    loss = functools.partial(contrastive.info_nce, keys=keys, negatives=unit(7, 4, seed=2), valid=nothing)
    value, gradient = jax.jit(jax.value_and_grad(loss))(queries)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((3, 4)), atol=1e-6)


# Compiled once: the tests of this loss have their numbers in arrays of the same shapes.
supervised = jax.jit(jax.value_and_grad(contrastive.supervised_nce))
KEYS = unit(9, 4, seed=1)
QUERIES = unit(5, 4)


def classes():
    """Return for 5 queries which of 9 keys are of their class: some, none, one, all, some."""
    same = np.random.default_rng(4).random((5, 9)) < 0.4
    same[1], same[2], same[3] = False, np.arange(9) == 6, True
    return same


def test_supervised_nce_against_numpy():
    same, terms = classes(), []
    for query, own in zip(QUERIES.astype(np.float64), same, strict=True):
        scores = np.exp(KEYS @ query / 0.07)
        if own.any():
            terms.append(-np.log(scores[own] / scores.sum()).mean())
    assert len(terms) == 4
    np.testing.assert_allclose(supervised(QUERIES, KEYS, same)[0], np.mean(terms), rtol=1e-5)


def test_supervised_nce_of_one_own_key_is_info_nce_against_the_others():
    one = np.zeros((5, 9), bool)
    one[:, 6] = True
    expected = jax.jit(contrastive.info_nce)(QUERIES, np.tile(KEYS[6], (5, 1)), np.delete(KEYS, 6, axis=0))
    np.testing.assert_allclose(supervised(QUERIES, KEYS, one)[0], expected, rtol=1e-5)


def test_supervised_nce_without_own_keys_is_0_and_moves_nothing():
    value, gradient = supervised(QUERIES, KEYS, np.zeros((5, 9), bool))
    assert value == 0 and not gradient.any()
    # A query without such keys does not count, whatever it is.
    _, gradient = supervised(QUERIES, KEYS, classes())
    assert np.asarray(gradient).any(axis=1).tolist() == [True, False, True, True, True]


def test_supervised_nce_of_own_keys_alone_is_least_where_they_are_equal():
    """Where every key is of the class it is ln N or more: the mean of -ln p is least where all p are 1 / N."""
    every = np.ones((5, 9), bool)
    equal, _ = supervised(QUERIES, np.tile(KEYS[:1], (9, 1)), every)
    np.testing.assert_allclose(equal, np.log(9), rtol=1e-5)
    assert supervised(QUERIES, KEYS, every)[0] > equal


def test_supervised_nce_knows_no_order():
    rng, same = np.random.default_rng(0), classes()
    rows, columns = rng.permutation(5), rng.permutation(9)
    value, gradient = supervised(QUERIES, KEYS, same)
    shuffled, to_rows = supervised(QUERIES[rows], KEYS[columns], same[rows][:, columns])
    np.testing.assert_allclose(value, shuffled, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(gradient)[rows], to_rows, rtol=1e-4, atol=1e-6)


def test_supervised_nce_trains_queries_only():
    to_queries, to_keys = jax.jit(jax.grad(contrastive.supervised_nce, (0, 1)))(QUERIES, KEYS, classes())
    assert np.asarray(to_queries).any() and not np.asarray(to_keys).any()


def test_supervised_nce_over_devices_is_that_of_their_queries_together():
    """In value and gradient, though one device has no query that counts and the others have unequal numbers."""
    rows = np.array([0, 2, 3, 1, 1])
    value, gradient = supervised(QUERIES, KEYS, classes()[rows])
    # A sixth query of no class changes nothing and makes three shares of two.
    queries, same = np.concatenate([QUERIES, QUERIES[:1]]), classes()[[*rows, 1]]

    def on_device(queries, same):
        loss = functools.partial(contrastive.supervised_nce, axis_name="data")
        value, gradient = jax.value_and_grad(loss)(queries, KEYS, same)
        return jax.lax.pmean(value, "data"), gradient / 3

    over_devices = jax.jit(jax.vmap(on_device, axis_name="data"))
    for order in ([0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]):
        shares = np.array(order).reshape(3, 2)
        values, gradients = over_devices(queries[shares], same[shares])
        np.testing.assert_allclose(values, np.full(3, value), rtol=1e-5)
        expected = np.concatenate([gradient, np.zeros((1, 4))])[shares]
        np.testing.assert_allclose(gradients, expected, rtol=1e-4, atol=1e-6)


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
