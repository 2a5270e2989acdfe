"""Where the pixels of a view come from: moves and crops of one image [H, W, C], and their random parameters."""

import math

import jax
import jax.numpy as jnp

from uit_jax.types import Array

CROP_TRIES = 10


def affine(
    image: Array,
    angle: Array,
    translate: tuple[Array, Array],
    shear: Array,
    *,
    resample: str = "nearest",
    fill: str = "black",
) -> Array:
    """Rotate, shear and shift an image [H, W, C] about its centre.

    Args:
      image: values in [0, 1].
      angle: degrees; positive turns the image clockwise as displayed.
      translate: pixels to the right and down.
      shear: degrees along x.
      resample: "nearest" or "bilinear".
      fill: what lies outside the image: "black", or "edge" for its nearest pixel.
    """
    height, width, _ = image.shape
    angle, shear = jnp.deg2rad(angle), jnp.deg2rad(shear)
    cos, sin, tan = jnp.cos(angle), jnp.sin(angle), jnp.tan(shear)
    # Where each output pixel comes from: the inverse of rotation times shear, whose determinant is 1.
    x = jnp.arange(width)[None, :] + 0.5 - width / 2 - translate[0]
    y = jnp.arange(height)[:, None] + 0.5 - height / 2 - translate[1]
    source_x = (cos - sin * tan) * x + (sin + cos * tan) * y + width / 2
    source_y = -sin * x + cos * y + height / 2

    def pixels(rows, columns):
        rows = jnp.clip(jnp.floor(rows).astype(jnp.int32), 0, height - 1)
        columns = jnp.clip(jnp.floor(columns).astype(jnp.int32), 0, width - 1)
        return jnp.take(image.reshape(height * width, -1), rows * width + columns, axis=0, mode="clip")

    if resample == "nearest":
        moved = pixels(source_y, source_x)
    else:
        x, y = source_x - 0.5, source_y - 0.5
        right, down = (x - jnp.floor(x))[..., None], (y - jnp.floor(y))[..., None]
        upper = (1 - right) * pixels(y, x) + right * pixels(y, x + 1)
        lower = (1 - right) * pixels(y + 1, x) + right * pixels(y + 1, x + 1)
        moved = (1 - down) * upper + down * lower
    if fill == "edge":
        return moved
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    return jnp.where(inside[..., None], moved, 0)


def resized_crop(image: Array, top: Array, left: Array, height: Array, width: Array, size: tuple[int, int]) -> Array:
    """Cut a box out of an image [H, W, C] and resize it bilinearly to `size` (rows, columns).

    The resize is two small matrix products, one for each axis, and antialiases where it shrinks, as PIL does.
    """
    rows = _resize_matrix(image.shape[0], top, height, size[0])
    columns = _resize_matrix(image.shape[1], left, width, size[1])
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision="highest")


def _resize_matrix(length: int, start: Array, extent: Array, size: int) -> Array:
    """Return the weights [size, length] that resize the pixels [start, start + extent) of an axis to `size`."""
    pixel = jnp.arange(length)[None, :]
    scale = extent / size
    centre = start + (jnp.arange(size)[:, None] + 0.5) * scale
    weight = jax.nn.relu(1 - jnp.abs(pixel + 0.5 - centre) / jnp.maximum(scale, 1))
    weight = jnp.where((pixel >= start) & (pixel < start + extent), weight, 0)
    return weight / weight.sum(1, keepdims=True)


def mirror(image: Array, mirrored: Array) -> Array:
    """Mirror an image [H, W, C] left to right where `mirrored` is true."""
    return jnp.where(mirrored, image[:, ::-1], image)


def crop(key: Array, image: Array, size: int) -> Array:
    """Cut a square out of an image at random: [H, W, C] -> [size, size, C]."""
    free = jnp.array(image.shape[:2]) - size
    top, left = jax.random.randint(key, (2,), 0, free + 1)
    return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[-1]))


def sample_affine(
    key: Array, height: int, width: int, *, degrees: float, translate: float, shear: float
) -> tuple[Array, tuple[Array, Array], Array]:
    """Sample the angle, the translation in whole pixels and the shear for `affine`, each uniform in +- its limit.

    `translate` is a share of the image's sides.
    """
    angle, right, down, slant = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
    shift = jnp.round(right * translate * width), jnp.round(down * translate * height)
    return angle * degrees, shift, slant * shear


def sample_crop(
    key: Array, height: int, width: int, *, scale: tuple[float, float], aspect: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """Sample top, left, height and width of a box in whole pixels for `resized_crop`.

    The box's share of the area is uniform in `scale` and the logarithm of its aspect (width / height) is
    uniform in that of `aspect`; of ten samples the first that fits counts, or else the largest central
    box of a permitted aspect.
    """
    shape_key, place_key = jax.random.split(key)
    share, log_aspect = jax.random.uniform(
        shape_key,
        (2, CROP_TRIES),
        minval=jnp.array([[scale[0]], [math.log(aspect[0])]]),
        maxval=jnp.array([[scale[1]], [math.log(aspect[1])]]),
    )
    area, ratio = share * height * width, jnp.exp(log_aspect)
    heights, widths = jnp.round(jnp.sqrt(area / ratio)), jnp.round(jnp.sqrt(area * ratio))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = jnp.argmax(fits)
    fallback_height = min(height, round(width / aspect[0]))
    fallback_width = min(width, round(height * aspect[1]))
    found = fits[first]
    box_height = jnp.where(found, heights[first], fallback_height)
    box_width = jnp.where(found, widths[first], fallback_width)
    free = jnp.stack([height - box_height, width - box_width])
    place = jnp.minimum(jnp.floor(jax.random.uniform(place_key, (2,)) * (free + 1)), free)
    top, left = jnp.where(found, place, free // 2)
    return top, left, box_height, box_width


def sample_square(key: Array, height: int, width: int, sides: tuple[float, float]) -> tuple[Array, Array, Array, Array]:
    """Sample top, left, height and width of a square in whole pixels for `resized_crop`.

    Its side is uniform in `sides`, as a share of the shorter side of the image, and its place uniform.
    """
    side_key, place_key = jax.random.split(key)
    share = jax.random.uniform(side_key, minval=sides[0], maxval=sides[1])
    side = jnp.maximum(1.0, jnp.round(share * min(height, width)))
    free = jnp.array([height, width]) - side
    top, left = jnp.minimum(jnp.floor(jax.random.uniform(place_key, (2,)) * (free + 1)), free)
    return top, left, side, side


def sample_places(key: Array, size: tuple[int, int], count: int) -> Array:
    """Sample distinct places of maps of a height and width: int32 [count], each as row * width + column."""
    return jax.lax.top_k(jax.random.uniform(key, (size[0] * size[1],)), count)[1]


def mirror_places(places: Array, mirrored: Array, width: int) -> Array:
    """Return where places [B, P] of maps of a width lie in those that are mirrored, bool [B]."""
    row, column = jnp.divmod(places, width)
    return jnp.where(mirrored[:, None], row * width + width - 1 - column, places)


def stretched_crops(images: Array, chances: Array, sides: tuple[float, float], size: int) -> Array:
    """Cut stretched crops out of images at random, each to `size` x `size`: the Swapping Autoencoder's patches.

    As in its published code the outermost samples lie on the border of a crop, are bilinear, and mix with zeros where
    they are at the border of the image. Images are differentiable through it.

    Args:
      images: [B, H, W, C].
      chances: numbers uniform in 0 to 1, [B, T, 5]: of being mirrored, width and height, place along x and y.
      sides: range of a crop's width and height, shares of the image's.

    Returns:
      [B, T, size, size, C].
    """
    share = sides[0] + chances[..., 1:3] * (sides[1] - sides[0])
    shift = (2 * chances[..., 3:5] - 1) * (1 - share)
    line = jnp.linspace(-1, 1, size)[None, None]
    turned = line * jnp.where(chances[..., :1] > 0.5, 1.0, -1.0)
    columns = _between(turned * share[..., :1] + shift[..., :1], images.shape[2])
    rows = _between(line * share[..., 1:] + shift[..., 1:], images.shape[1])
    strips = jnp.einsum("btih,bhwc->btiwc", rows, images, precision="highest")
    return jnp.einsum("btjw,btiwc->btijc", columns, strips, precision="highest")


def _between(places: Array, length: int) -> Array:
    """Return the weights [..., length] of pixels at places along an axis whose ends are -1 and 1."""
    places = ((places + 1) * length - 1) / 2
    pixels = jnp.arange(length, dtype=places.dtype).reshape(*[1] * places.ndim, length)
    return jax.nn.relu(1 - jnp.abs(places[..., None] - pixels))
