"""What JAX computes and what onnxruntime makes of its graph, primitive by primitive, for any number of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from uit_jax.errors import UserError
from uit_jax.exporting import onnx_files
from uit_jax.exporting.functions import Function, Named
from uit_jax.nn import convs, resampling
from uit_jax.nn.convolution import convolve

WEIGHT = np.random.default_rng(1).normal(size=(3, 3, 4, 5)).astype(np.float32)
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def platforms(x):
    return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)


CASES = {
    "arithmetic": lambda x: jnp.clip(x**2 / 3 - jnp.abs(x), -1, 1) ** 3 + jnp.round(4 * x) * jnp.sign(x),
    "functions": lambda x: jnp.exp(x) + jnp.tanh(x) + jax.nn.sigmoid(x) + jnp.sin(x) + jnp.floor(x) + lax.erf(x),
    "roots": lambda x: lax.rsqrt(jnp.square(x) + 1) + jnp.sqrt(jnp.abs(x)) + jnp.log(jnp.abs(x) + 1),
    "choice": lambda x: jnp.where((x > 0) & ~(x >= 0.5) | (x != x), x, -2 * x) + jax.nn.leaky_relu(x, 0.2),
    "whole numbers": lambda x: (x * 9).astype(jnp.int32) % 4 + (x * 9).astype(jnp.int32) // 2,
    "reductions": lambda x: x.mean((1, 2), keepdims=True) + x.max((1, 2, 3), keepdims=True) - x.min(),
    "largest": lambda x: x.argmax(-1),
    "softmax": lambda x: jax.nn.softmax(x.mean((1, 2))),
    "shapes": lambda x: x.reshape(x.shape[0], -1, 2).swapaxes(1, 2)[:, None],
    "first and last": lambda x: x[:1] + lax.slice_in_dim(x, x.shape[0] - 1, x.shape[0]),
    "joined": lambda x: jnp.concatenate([x[:, :1], x[:, 1:], x[:, :0]], 1),
    "places of an axis": lambda x: x[:, :, jnp.array([3, 0, 5])],
    "every other, backwards": lambda x: x[:, ::-1, 1::2],
    "borders": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), "reflect"),
    "cut by a negative border": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-1, 2, 0), (1, -2, 0), (0, 0, 0))),
    "added at a line": lambda x: x.at[:, -1].add(x[:, 0]).at[:, :, 2].add(1.0),
    "rows of a table": lambda x: jnp.asarray(ROWS).at[(x[:, 0, 0, 0] * 9).astype(jnp.int32)].get(mode="clip"),
    "an entry of each": lambda x: jnp.take_along_axis(x[:, 0], x[:, 0].argmax(1)[:, :1, None], axis=1),
    "parts": lambda x: jnp.stack(jnp.split(x, 2, -1), 1),
    "counted": lambda x: x.mean((1, 2, 3)) + jnp.arange(x.shape[0]) + x.shape[0],
    "a product": lambda x: x.mean((1, 2)) @ ROWS.T,
    "a product of images": lambda x: jnp.einsum("bhwc,bijc->bhwij", x, x),
    "convolutions": lambda x: convolve(x, WEIGHT, 2, (1, 0)) + convolve(x, WEIGHT, pad=(1, 1))[:, 1::2, 1::2],
    "depthwise": lambda x: lax.conv_general_dilated(
        x, WEIGHT[..., :1, :4], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
    ),
    "pools": lambda x: resampling.average_pool(x) + resampling.max_pool(x) + resampling.overlapping_pool(x, 2),
    "blurs": lambda x: resampling.blur_up(resampling.blur_down(x)) + resampling.repeat(x)[:, ::2, 1::2],
    "reflected": lambda x: convs.bordered(x, 2, "reflect") + convs.bordered(x, 2, "edge"),
    "the form of no platform": platforms,
    "a custom derivative": jax.nn.relu,
}

ACROSS = {"reductions", "first and last", "counted"}
"""Those of which one image alone gives something else."""


def written(call, folder):
    """Return what onnxruntime makes of a function of images [b, 6, 6, 4]."""
    inputs = (Named("x", ("b", 6, 6, 4), "float32", ""),)
    function = Function("call", lambda weights, x: call(x), (), inputs, Named("y", ("b",), "", ""), {})
    onnx_files.write(function, folder / "x.onnx")
    return onnx_files.opened(folder / "x.onnx")


@pytest.mark.parametrize("name", CASES)
def test_a_node_does_what_the_primitive_does(name, tmp_path):
    run, x = written(CASES[name], tmp_path), np.random.default_rng(3).normal(size=(3, 6, 6, 4)).astype(np.float32)
    wanted = np.asarray(np.cos(x) if name == "the form of no platform" else jax.jit(CASES[name])(x))
    found, alone = run(x), run(x[:1])
    assert found.dtype == wanted.dtype and alone.shape == (1, *wanted.shape[1:])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    if name not in ACROSS:
        np.testing.assert_allclose(alone, wanted[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda x: jnp.sort(x), "sort"),
        (lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), "cond"),
        (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))), "pad, between entries"),
        (lambda x: lax.dynamic_slice_in_dim(x, x.argmax().astype(int), 2, 1), "dynamic_slice"),
    ],
)
def test_what_has_no_form_is_named(call, told, tmp_path):
    with pytest.raises(UserError, match=f"--to=onnx: .*{told}.*--to=stablehlo"):
        written(call, tmp_path)
    assert not (tmp_path / "x.onnx").exists()
