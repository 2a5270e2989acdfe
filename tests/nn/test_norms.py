"""Normalisations against numpy, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.parametrize("apart", [0, 100])
def test_batch_norm_over_an_axis_is_that_of_the_global_batch(apart):
    x, variables = normal(4, 2, 3, 3), batch_norm_variables()
    x[2:] += apart  # the second device's

    def run(x, axis_name):
        return norms.BatchNorm(axis_name).apply(variables, x, train=True, mutable=["batch_stats"])

    whole, stats = run(x, None)
    over_devices = jax.vmap(functools.partial(run, axis_name="data"), axis_name="data")
    shares, share_stats = over_devices(x.reshape(2, 2, 2, 3, 3))
    np.testing.assert_allclose(shares.reshape(x.shape), whole, rtol=1e-4, atol=1e-5)
    for name, value in stats["batch_stats"].items():
        np.testing.assert_allclose(share_stats["batch_stats"][name], np.stack([value, value]), rtol=1e-5, atol=1e-6)


def test_what_batch_norm_exchanges_does_not_grow_with_the_devices():
    apply = functools.partial(norms.BatchNorm("data").apply, train=True, mutable=["batch_stats"])
    program = str(jax.make_jaxpr(apply, axis_env=[("data", 2)])(batch_norm_variables(), normal(4, 2, 3, 3)))
    assert program.count("psum") == 2 and "all_gather" not in program


def test_fresh_running_statistics_are_0_and_1():
    stats = norms.BatchNorm().init(jax.random.key(0), 5 + normal(4, 2, 2, 3), train=True)["batch_stats"]
    assert (stats["mean"] == 0).all() and (stats["var"] == 1).all()


def plain(x, scale, bias, axes, ddof=0, epsilon=1e-5):
    """The two-pass form, in the precision of its arguments."""
    centred = x - x.mean(axes, keepdims=True)
    count = np.prod([x.shape[axis] for axis in axes]) - ddof
    deviation = jnp.sqrt(jnp.square(centred).sum(axes, keepdims=True) / count + (0 if ddof else epsilon))
    return centred / (deviation + (epsilon if ddof else 0)) * scale + bias


def plain_filter_response(x, scale, bias):
    return jnp.maximum(x / jnp.sqrt(jnp.square(x).mean((1, 2), keepdims=True) + 1e-6) * scale + bias, -0.3 * bias)


def batch_norm(x, scale, bias):
    stats = {"mean": jnp.zeros_like(bias[0, 0, 0]), "var": jnp.ones_like(bias[0, 0, 0])}
    variables = {"params": {"scale": scale[0, 0, 0], "bias": bias[0, 0, 0]}, "batch_stats": stats}
    return norms.BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0]


def layer_norm(x, scale, bias):
    return norms.LayerNorm().apply({"params": {"gamma": scale[0, 0, 0], "beta": bias[0, 0, 0]}}, x)


def filter_response_norm(x, scale, bias):
    gamma, beta = scale[0, 0, 0], bias[0, 0, 0]
    return norms.FilterResponseNorm().apply({"params": {"gamma": gamma, "beta": beta, "tau": -0.3 * beta}}, x)


# Ours and the plain form, as functions of x [B, H, W, C], scale and bias [1, 1, 1, C].
BOTH = {
    "instance": (lambda x, scale, bias: norms.instance_norm(x) * scale + bias, functools.partial(plain, axes=(1, 2))),
    "adaptive": (
        lambda x, scale, bias: norms.adaptive_instance_norm(x, bias[0, 0], scale[0, 0]),
        functools.partial(plain, axes=(1, 2)),
    ),
    "batch": (batch_norm, functools.partial(plain, axes=(0, 1, 2))),
    "layer": (layer_norm, functools.partial(plain, axes=(1, 2, 3), ddof=1)),
    "filter_response": (filter_response_norm, plain_filter_response),
}


def with_gradients(norm, arguments, cotangent):
    """Return a norm's maps and its gradients by x, scale and bias."""

    @jax.jit
    def both(arguments, cotangent):
        maps, back = jax.vjp(norm, *arguments)
        return maps, *back(cotangent)

    return [np.asarray(each, np.float64) for each in both(arguments, cotangent)]


def errors(found, true):
    return np.array([np.abs(one - other).max() / np.abs(other).max() for one, other in zip(found, true, strict=True)])


@pytest.mark.parametrize("mean", [0, 100])
@pytest.mark.parametrize("kind", BOTH)
def test_digits_are_kept_where_the_mean_is_large(kind, mean):
    """In float32, against float64: at 100 standard deviations the two-pass form itself is 1e-5 from the truth."""
    ours, two_pass = BOTH[kind]
    scale, bias = 1 + normal(1, 1, 1, 3, seed=1) / 4, normal(1, 1, 1, 3, seed=2)
    arguments = [normal(2, 32, 32, 3) + np.float32(mean), scale, bias]
    cotangent = normal(2, 32, 32, 3, seed=3)
    with jax.enable_x64(True):
        true = with_gradients(two_pass, [each.astype(np.float64) for each in arguments], cotangent.astype(np.float64))
    found, usual = (errors(with_gradients(norm, arguments, cotangent), true) for norm in (ours, two_pass))
    assert (found <= np.maximum(1.5 * usual, 1e-6)).all()


@pytest.mark.parametrize("kind", ["instance", "batch"])
def test_sixteen_bits_are_as_exact_as_their_rounding(kind):
    """The variance of numbers of 16 bits is formed otherwise; at 100 standard deviations that is not seen."""
    ours, two_pass = BOTH[kind]
    x = jnp.asarray(normal(2, 64, 64, 3) + 100, jnp.bfloat16)
    ones, zeros = jnp.ones((1, 1, 1, 3)), jnp.zeros((1, 1, 1, 3))
    with jax.enable_x64(True):
        true = two_pass(jnp.asarray(np.asarray(x, np.float64)), 1.0, 0.0)
    found = ours(x, ones, zeros)
    assert errors([np.asarray(found, np.float64)], [np.asarray(true)]) <= 2.0**-8


@pytest.mark.parametrize("kind", BOTH)
def test_second_derivatives(kind):
    """Of the gradient's size, as R1 asks for them: against the plain form, and finite differences, in float64."""
    with jax.enable_x64(True):
        x, way = (jnp.asarray(normal(2, 4, 5, 3, seed=seed), jnp.float64) for seed in (0, 4))
        scale, bias = (jnp.asarray(normal(1, 1, 1, 3, seed=seed), jnp.float64) for seed in (1, 2))

        def penalty(norm, *arguments):
            slope = jax.grad(lambda x: jnp.sin(norm(x, *arguments[1:])).sum())
            return jnp.square(slope(arguments[0])).sum()

        found, expected = (
            jax.jit(jax.grad(functools.partial(penalty, norm), (0, 1, 2)))(x, scale, bias) for norm in BOTH[kind]
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
        along = jax.jit(lambda step: penalty(BOTH[kind][0], x + step * way, scale, bias))
        difference = (along(1e-5) - along(-1e-5)) / 2e-5
        np.testing.assert_allclose((found[0] * way).sum(), difference, rtol=1e-6)


def test_filter_response_norm_of_sixteen_bits():
    """The threshold acts on rounded numbers, with the same result, and its gradient is summed in float32."""
    x, count = jnp.asarray(normal(1, 32, 32, 1), jnp.bfloat16), 32 * 32
    params = {"gamma": jnp.full(1, 0.7), "beta": jnp.full(1, 0.1), "tau": jnp.full(1, 0.3)}
    norm = norms.FilterResponseNorm()
    wide = norm.apply({"params": params}, x.astype(jnp.float32)).astype(jnp.bfloat16)
    assert (norm.apply({"params": params}, x) == wide).all()
    low = params | {"tau": jnp.full(1, 50.0)}
    gradient = jax.grad(lambda p: norm.apply({"params": p}, x).astype(jnp.float32).sum())(low)
    assert gradient["tau"][0] == count and gradient["gamma"][0] == 0
