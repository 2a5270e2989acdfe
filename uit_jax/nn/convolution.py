"""The convolution of all networks: as XLA has it and, of large images on a processor, in faster forms of equal result.

A convolution C of images x by a kernel is linear in both, so that its derivatives are two more such maps: I, the
gradient by the images, and K, that by the kernel. Each has the other two for its derivatives, to any order; as JAX
derives them a second time, for a gradient penalty, they reverse their windows, which XLA runs on a processor in a plain
loop (of FUNIT's small step that was half of the time).

Of large images XLA is slow there in three more cases (measured on two cores, JAX 0.10.2, float32): without any padding
C takes two to three times as long as with a row of zeros, whose result is cut off again; K, one convolution with a
kernel as large as the images, takes two to four times as long for several images, or large ones, as for one image of a
moderate size, so that the images are stacked to one, which is then cut into bands; and I takes four to five times as
long for images of three channels, a matrix product of very few columns, as with a channel for every row of the kernel,
which are then shifted and added up.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from uit_jax.types import Array

_LARGE = 2**26  # multiplications, which take about a millisecond
_BAND = 8192  # pixels
_MOST_BANDS = 8  # each is a convolution of its own to compile
_FEW = 4  # channels


class _Geometry(NamedTuple):
    """What a convolution knows of its arguments beside their channels: sizes are (height, width)."""

    stride: int
    pad: tuple[int, int]
    image: tuple[int, int]
    kernel: tuple[int, int]
    gains: bool  # whether a processor computes it faster in the forms below


def convolve(x: Array, kernel: Array, stride: int = 1, pad: tuple[int, int] = (0, 0)) -> Array:
    """Convolve images [B, H, W, in] by a kernel [h, w, in, out], with zeros before and after both axes.

    It has derivatives of any order, in reverse mode.
    """
    geometry = _Geometry(stride, tuple(pad), x.shape[1:3], kernel.shape[:2], _gains(x, kernel, stride, pad))
    return _again(geometry, x, kernel)


def _gains(x: Array, kernel: Array, stride: int, pad: tuple[int, int]) -> bool:
    sizes = (*x.shape, *kernel.shape)
    if stride != 1 or not all(isinstance(size, int) for size in sizes):
        return False
    if any(side + sum(pad) < reach for side, reach in zip(x.shape[1:3], kernel.shape[:2], strict=True)):
        return False  # nothing comes of it
    if x.dtype != kernel.dtype or x.dtype not in (jnp.float32, jnp.float64):
        return False
    return math.prod(x.shape[:3]) * math.prod(kernel.shape) >= _LARGE


# --- the three maps, and each one's derivatives ---


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _again(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    return _by_platform(geometry, _with_padding, _plain, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: _Geometry, kernel: Array, cotangent: Array) -> Array:
    by_rows, plain = (functools.partial(_derived_by_input, each) for each in (_by_rows, _plain))
    return _by_platform(geometry, by_rows if kernel.shape[2] <= _FEW else plain, plain, kernel, cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(geometry: _Geometry, x: Array, cotangent: Array) -> Array:
    return _by_platform(geometry, _in_bands, _plain_kernel_gradient, x, cotangent)


def _again_back(geometry, arguments, cotangent):
    x, kernel = arguments
    return _input_gradient(geometry, kernel, cotangent), _kernel_gradient(geometry, x, cotangent)


def _input_gradient_back(geometry, arguments, direction):
    kernel, cotangent = arguments
    return _kernel_gradient(geometry, direction, cotangent), _again(geometry, direction, kernel)


def _kernel_gradient_back(geometry, arguments, direction):
    x, cotangent = arguments
    return _input_gradient(geometry, direction, cotangent), _again(geometry, x, direction)


for _map, _back in (
    (_again, _again_back),
    (_input_gradient, _input_gradient_back),
    (_kernel_gradient, _kernel_gradient_back),
):
    _map.defvjp(lambda geometry, *arguments, _map=_map: (_map(geometry, *arguments), arguments), _back)


# --- as XLA has them, and on a processor ---


def _by_platform(geometry: _Geometry, processor, default, *arguments: Array) -> Array:
    if not geometry.gains:
        return default(geometry, *arguments)
    processor, default = (functools.partial(each, geometry) for each in (processor, default))
    return jax.lax.platform_dependent(*arguments, cpu=processor, default=default)


def _plain(geometry: _Geometry, x: Array, kernel: Array, below: int = 0) -> Array:
    before, after = geometry.pad
    return _xla(x, kernel, (before, after + below), (before, after), geometry.stride)


def _xla(x: Array, kernel: Array, above: tuple[int, int], left: tuple[int, int], stride: int = 1) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), (above, left), dimension_numbers=numbers)


def _with_padding(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    return _plain(geometry, x, kernel) if any(geometry.pad) else _plain(geometry, x, kernel, below=1)[:, :-1]


def _by_rows(geometry: _Geometry, x: Array, kernel: Array) -> Array:
    height, width, _, features = kernel.shape
    x = jnp.pad(x, ((0, 0), geometry.pad, (0, 0), (0, 0)))
    rows = x.shape[1] - height + 1
    x = jnp.concatenate([x[:, row : row + rows] for row in range(height)], -1)
    return _xla(x, kernel.swapaxes(0, 1).reshape(1, width, -1, features), (0, 0), geometry.pad)


def _derived_by_input(convolution, geometry: _Geometry, kernel: Array, cotangent: Array) -> Array:
    images = jax.ShapeDtypeStruct((cotangent.shape[0], *geometry.image, kernel.shape[2]), cotangent.dtype)
    return jax.linear_transpose(lambda x: convolution(geometry, x, kernel), images)(cotangent)[0]


def _plain_kernel_gradient(geometry: _Geometry, x: Array, cotangent: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], cotangent.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(geometry, x, kernel), kernel)(cotangent)[0]


def _in_bands(geometry: _Geometry, x: Array, cotangent: Array) -> Array:
    if geometry.kernel == (1, 1) and not any(geometry.pad):
        return jnp.einsum("bhwi,bhwo->io", x, cotangent)[None, None]
    x = jnp.pad(x, ((0, 0), geometry.pad, geometry.pad, (0, 0)))
    # Between two images there are as many rows of zeros in the cotangent as the kernel reaches over.
    halo = geometry.kernel[0] - 1
    x, cotangent = _stacked(x), _stacked(jnp.pad(cotangent, ((0, 0), (0, halo), (0, 0), (0, 0))))
    rows = cotangent.shape[1] - halo
    bands = min(-(-rows * cotangent.shape[2] // _BAND), _MOST_BANDS)
    starts = range(0, rows, -(-rows // bands))
    total = 0
    for start, end in zip(starts, (*starts[1:], rows), strict=True):
        band = x[:, start : end + halo]
        piece = geometry._replace(pad=(0, 0), image=band.shape[1:3])
        total += _plain_kernel_gradient(piece, band, cotangent[:, start:end])
    return total


def _stacked(images: Array) -> Array:
    """Put images on top of one another: [B, H, W, C] -> [1, B H, W, C]."""
    return images.reshape(1, -1, *images.shape[2:])
