"""Float64 for golden values, at the speed of matrix products: a CPU's own float64 convolutions are slow loops."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uit_jax.method import Method


def widened(tree):
    """Return a tree with float64 in place of float32."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64) if x.dtype == np.float32 else x, tree)


def method(narrow: Method, **settings) -> Method:
    """Return a method that computes in float64."""
    fields = {field.name: getattr(narrow, field.name) for field in dataclasses.fields(narrow)} | settings
    return type("Wide", (type(narrow),), {"dtype": property(lambda _: jnp.float64)})(**fields)


@contextlib.contextmanager
def float64():
    """Compute in float64 where inputs are."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "conv_general_dilated", convolve)
        yield


def convolve(x, kernel, window_strides, padding, dimension_numbers=None, **options):
    """Do as `jax.lax.conv_general_dilated` does [B, H, W, C] by [k, k, C, D], by a product with each place's patch."""
    assert all(value in (None, 1, (1, 1)) for name, value in options.items() if "dilation" in name or "count" in name)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    for axis, size, stride in ((1, kernel.shape[0], window_strides[0]), (3, kernel.shape[1], window_strides[1])):
        end = x.shape[axis] - size + 1
        taps = [jax.lax.slice_in_dim(x, tap, tap + end, stride, axis) for tap in range(size)]
        x = jnp.stack(taps, axis + 1)
    return jnp.einsum("bhiwjc,ijcd->bhwd", x, kernel)
