"""Normalisations against numpy, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.nn.arrays import normal
from uit_jax.nn import norms


def test_batch_norm_draws_its_scales_as_told():
    norm = norms.BatchNorm(scale_init=jax.nn.initializers.normal(1.0))
    scale = norm.init(jax.random.key(0), normal(1, 2, 2, 500), train=False)["params"]["scale"]
    assert 0.8 < scale.std() < 1.2


def test_filter_response_norm_against_numpy():
    x = normal(2, 3, 5, 4)
    params = {"gamma": normal(4, seed=1), "beta": normal(4, seed=2), "tau": normal(4, seed=3)}
    y = x / np.sqrt((x.astype(np.float64) ** 2).mean((1, 2), keepdims=True) + 1e-6)
    expected = np.maximum(params["gamma"] * y + params["beta"], params["tau"])
    norm = norms.FilterResponseNorm()
    np.testing.assert_allclose(norm.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-5)
    fresh = norm.init(jax.random.key(0), x)["params"]
    assert {name: float(value[0]) for name, value in fresh.items()} == {"gamma": 1, "beta": 0, "tau": 0}


def instance_norm_oracle(x):
    x = x.astype(np.float64)
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def test_instance_norm_against_numpy():
    x = 3 * normal(2, 3, 5, 4) + 100
    np.testing.assert_allclose(norms.instance_norm(jnp.asarray(x)), instance_norm_oracle(x), atol=2e-4)
    assert (norms.instance_norm(jnp.full((1, 2, 2, 1), 7.0)) == 0).all()


def test_adaptive_instance_norm_scales_without_adding_one():
    x, bias, weight = normal(2, 3, 5, 4), normal(2, 4, seed=1), normal(2, 4, seed=2)
    expected = instance_norm_oracle(x) * weight[:, None, None] + bias[:, None, None]
    ours = norms.adaptive_instance_norm(*map(jnp.asarray, (x, bias, weight)))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_against_numpy():
    """Small numbers tell the unbiased deviation and the place of epsilon; where all is equal there is a gradient."""
    x = 0.01 * normal(2, 3, 5, 4)
    params = {"gamma": normal(4, seed=1), "beta": normal(4, seed=2)}
    mean, deviation = x.mean((1, 2, 3), keepdims=True), x.std((1, 2, 3), keepdims=True, ddof=1)
    norm = norms.LayerNorm()
    ours = norm.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(ours, (x - mean) / (deviation + 1e-5) * params["gamma"] + params["beta"], atol=1e-5)
    flat = jnp.full((1, 2, 2, 4), 7.0)
    np.testing.assert_allclose(norm.apply({"params": params}, flat)[0, 0, 0], params["beta"], atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: norm.apply({"params": params}, x).sum())(flat)).all()
    fresh = norm.init(jax.random.key(0), jnp.zeros((1, 1, 2, 500)))["params"]
    assert (fresh["beta"] == 0).all() and 0 <= fresh["gamma"].min() < 0.1 and 0.9 < fresh["gamma"].max() < 1


def batch_norm_variables():
    variables = {
        "params": {"scale": normal(3, seed=1), "bias": normal(3, seed=2)},
        "batch_stats": {"mean": normal(3, seed=3), "var": np.abs(normal(3, seed=4))},
    }
    return jax.tree.map(jnp.asarray, variables)


def test_batch_norm_against_numpy():
    """Normalises by the biased variance, remembers the unbiased one, with momentum 0.1."""
    x, variables = 2 * normal(4, 2, 3, 3) + 1, batch_norm_variables()
    params, before = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y, after = norms.BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])
    expected = (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    stats = after["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-4, atol=1e-6)
    unbiased = x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(stats["var"], 0.9 * before["var"] + 0.1 * unbiased, rtol=1e-4)
    y = norms.BatchNorm().apply(variables, x, train=False)
    expected = (x - before["mean"]) / np.sqrt(before["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_over_an_axis_is_that_of_the_global_batch():
    x, variables = normal(4, 2, 3, 3), batch_norm_variables()

    def run(x, axis_name):
        return norms.BatchNorm(axis_name).apply(variables, x, train=True, mutable=["batch_stats"])

    whole, stats = run(x, None)
    over_devices = jax.vmap(functools.partial(run, axis_name="data"), axis_name="data")
    shares, share_stats = over_devices(x.reshape(2, 2, 2, 3, 3))
    np.testing.assert_allclose(shares.reshape(x.shape), whole, rtol=1e-4, atol=1e-5)
    for name, value in stats["batch_stats"].items():
        np.testing.assert_allclose(share_stats["batch_stats"][name], np.stack([value, value]), rtol=1e-5, atol=1e-6)


def test_fresh_running_statistics_are_0_and_1():
    stats = norms.BatchNorm().init(jax.random.key(0), 5 + normal(4, 2, 2, 3), train=True)["batch_stats"]
    assert (stats["mean"] == 0).all() and (stats["var"] == 1).all()
