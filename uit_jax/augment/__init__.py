"""Random views of images on the device, with torchvision's meaning of every parameter.

`affine`, `resized_crop`, `color_jitter` and `mirror` work on one image [H, W, C] and given parameters; the `sample_*`
functions sample these from a key. `plain_view` and `strong_view` compose them for a batch with one key for each
example, so that an example's view depends on its key alone.
"""

import math

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.augment.colours import LUMA, color_jitter, match_channels, normalize, sample_jitter
from uit_jax.augment.geometry import (
    affine,
    crop,
    mirror,
    mirror_places,
    resized_crop,
    sample_affine,
    sample_crop,
    sample_places,
    sample_square,
    stretched_crops,
)
from uit_jax.errors import UserError
from uit_jax.types import Array

__all__ = [
    "LUMA",
    "affine",
    "color_jitter",
    "crop",
    "cropped_view",
    "cut_patches",
    "match_channels",
    "mirror",
    "mirror_places",
    "normalize",
    "paired_places",
    "plain_view",
    "resized_crop",
    "resized_view",
    "sample_affine",
    "sample_crop",
    "sample_jitter",
    "sample_patches",
    "sample_places",
    "sample_square",
    "stretched_crops",
    "strong_view",
    "zoomed_crop",
]


def plain_view(keys: Array, images: Array, *, flip: float = 0.5) -> Array:
    """Mirror each image with probability `flip`: keys [B], uint8 [B, H, W, C] -> float32 [B, H, W, C] in [-1, 1]."""
    mirrored = jax.vmap(lambda key: jax.random.bernoulli(key, flip))(keys)
    return normalize(jax.vmap(mirror)(images, mirrored))


def resized_view(
    keys: Array,
    images: Array,
    *,
    flip: float = 0.5,
    probability: float = 0.5,
    scale: tuple[float, float],
    aspect: tuple[float, float],
) -> Array:
    """Mirror each image at random, and resize a crop of it to its own size: StarGAN v2's view (arXiv:1912.01865).

    Args:
      keys: one key for each example, [B].
      images: uint8 or uint16 [B, H, W, C].
      flip, probability: of mirroring, and of the crop.
      scale, aspect: of the crop, its share of the area and its width / height; see `sample_crop`.

    Returns:
      float32 [B, H, W, C] in [-1, 1].
    """
    size = images.shape[1:3]

    def view(key, image):
        crop_key, whether_key, flip_key = jax.random.split(key, 3)
        box = jnp.stack(sample_crop(crop_key, *size, scale=scale, aspect=aspect))
        box = jnp.where(jax.random.bernoulli(whether_key, probability), box, jnp.array([0.0, 0.0, *size]))
        return mirror(resized_crop(image, *box, size), jax.random.bernoulli(flip_key, flip))

    return jnp.clip(jax.vmap(view)(keys, normalize(images)), -1, 1)


def strong_view(
    keys: Array,
    images: Array,
    *,
    flip: float = 0.5,
    degrees: float,
    translate: float,
    shear: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    fill: str,
    crop_scale: tuple[float, float] = (1.0, 1.0),
    crop_aspect: tuple[float, float] = (1.0, 1.0),
    crop_sides: tuple[float, float] | None = None,
) -> Array:
    """Move, crop, recolour and mirror each image at random: TUNIT's second view (arXiv:2006.06500, appendix), and with
    `crop_sides` CLUIT's (arXiv:2105.03117, Section 4.2).

    Differs from the reference: the view is made from the image at its training size, not from the original file,
    and pixels are not rounded to 8 bits between the changes.

    Args:
      keys: one key for each example, [B].
      images: uint8 [B, H, W, C].
      flip: probability of mirroring.
      degrees .. fill: limits and choices of the changes, as `settings.View` tells them; with all four limits of the
        colours 0 these are left alone.
      crop_scale, crop_aspect: of the crop, as `settings.AreaView` tells them; 1 or more cannot leave the image.
      crop_sides: in place of these two, of a square crop, as `settings.SquareView` tells it.

    Returns:
      float32 [B, H, W, C] in [-1, 1].
    """
    height, width = images.shape[1:3]
    recolour = any((brightness, contrast, saturation, hue))

    def view(key, image):
        affine_key, crop_key, jitter_key, flip_key = jax.random.split(key, 4)
        image = image.astype(jnp.float32) / 255
        move = sample_affine(affine_key, height, width, degrees=degrees, translate=translate, shear=shear)
        image = affine(image, *move, fill=fill)
        if crop_sides is None:
            box = sample_crop(crop_key, height, width, scale=crop_scale, aspect=crop_aspect)
        else:
            box = sample_square(crop_key, height, width, crop_sides)
        image = resized_crop(image, *box, (height, width))
        if recolour:
            limits = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
            image = color_jitter(image, *sample_jitter(jitter_key, **limits))
        return mirror(image, jax.random.bernoulli(flip_key, flip)) * 2 - 1

    return jax.vmap(view)(keys, images)


def referenced_views(
    key: Array, images: Array, *, flip: float, axis_name: str | None = None, **view
) -> dict[str, Array]:
    """Make two views of each image uint8 [B, H, W, C], and sample which image of the global batch is its reference.

    Args:
      view: the second view, as `strong_view` has it.

    Returns:
      x, x_aug: float32 [B, H, W, C] in [-1, 1], plain and second views; perm: int32 [B], the place in the global batch
      of each image's reference, which is a permutation of it.
    """
    size = len(images)
    plain, strong, order = jax.random.split(key, 3)
    plain, strong = (collectives.example_keys(part, size, axis_name) for part in (plain, strong))
    order = jax.random.permutation(order, collectives.global_size(size, axis_name))
    return {
        "x": plain_view(plain, images, flip=flip),
        "x_aug": strong_view(strong, images, flip=flip, **view),
        "perm": collectives.share(order, size, axis_name),
    }


def paired_places(key: Array, labels: Array, size: int, axis_name: str | None = None) -> tuple[Array, Array]:
    """Sample for each image of a batch two references of one class, as places in the global batch.

    Args:
      labels: of the global batch, int32 [N]; the same on every device.
      size: B, this device's images.

    Returns:
      int32 [B] each: a permutation of the batch, and of each the place of some other image of that one's class, or the
      same place where there is none.
    """
    order_key, other_key = jax.random.split(key)
    first = collectives.share(jax.random.permutation(order_key, len(labels)), size, axis_name)
    keys = collectives.example_keys(other_key, size, axis_name)
    chance = jax.vmap(lambda key: jax.random.uniform(key, labels.shape, minval=1, maxval=2))(keys)
    chance = jnp.where(jnp.arange(len(labels))[None] == first[:, None], 0, chance)
    return first, jnp.where(labels[None] == labels[first][:, None], chance, -1).argmax(1)


def sample_patches(keys: Array, size: tuple[int, int], sides: tuple[float, float], count: int) -> Array:
    """Sample squares of `count` patches of each image of height and width `size`: keys [B] -> float32 [B, count, 4].

    A square is (top, left, side, side) in whole pixels, its side uniform in `sides`, shares of the image's shorter one.
    """

    def square(key, number):
        return jnp.stack(sample_square(jax.random.fold_in(key, number), *size, sides))

    return jax.vmap(jax.vmap(square, (None, 0)), (0, None))(keys, jnp.arange(count))


def cut_patches(images: Array, squares: Array) -> Array:
    """Cut patches of any sizes out of images and resize each to the size of the image, in one program for all sizes.

    Args:
      images: [B, H, W, C].
      squares: [B, P, 4], from `sample_patches`.

    Returns:
      [B * P, H, W, C], the patches of an image next to each other.
    """
    size = images.shape[1:3]
    cut = jax.vmap(jax.vmap(lambda image, square: resized_crop(image, *square, size), (None, 0)))
    return cut(images, squares).reshape(-1, *images.shape[1:])


def cropped_view(
    keys: Array, images: Array, size: int, *, flip: float = 0.5, zoom: tuple[float, float] = (1.0, 1.0)
) -> Array:
    """Cut squares out of each image at random and mirror each with probability `flip`.

    Args:
      keys: one key for each square, [n * B]: the first n are of the first image, and so on.
      images: uint8 or uint16 [B, H, W, C], of at least `size` pixels a side.
      zoom: range of the factors by which an image is shrunk before each cut; see `zoomed_crop`.

    Returns:
      float32 [n * B, size, size, C] in [-1, 1].

    Raises:
      UserError: the images are smaller than the square.
    """
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise UserError(
            f"images of {width} x {height} are smaller than the crops of data.image_size={size}: lower it, or have them"
            " enlarged by method.load_size"
        )

    def view(key, image):
        cut_key, flip_key = jax.random.split(key)
        if tuple(zoom) == (1.0, 1.0):
            square = normalize(crop(cut_key, image, size))
        else:
            square = zoomed_crop(cut_key, image, size, zoom)
        return mirror(square, jax.random.bernoulli(flip_key, flip))

    squares = jax.vmap(jax.vmap(view, (0, None)))(keys.reshape(len(images), -1, *keys.shape[1:]), images)
    return squares.reshape(-1, *squares.shape[2:])


def zoomed_crop(key: Array, image: Array, size: int, zoom: tuple[float, float]) -> Array:
    """Shrink an image by random factors, one for each axis, and cut a square out of it at random.

    Only the pixels that the square is made of are resized, so the cost does not grow with the image.

    Args:
      key: one key.
      image: uint8 or uint16 [H, W, C].
      size: side of the square; shrinking stops where a side would become smaller.
      zoom: range of the factors, within 0 to 1.

    Returns:
      float32 [size, size, C] in [-1, 1].
    """
    sides = jnp.array(image.shape[:2], jnp.float32)
    scale_key, place_key = jax.random.split(key)
    factors = jax.random.uniform(scale_key, (2,), minval=zoom[0], maxval=zoom[1])
    # Whole pixels after shrinking, as resizing the image itself would give.
    shrunk = jnp.maximum(jnp.round(sides * factors), size)
    step = sides / shrunk
    place = jnp.floor(jax.random.uniform(place_key, (2,)) * (shrunk - size + 1))
    start = jnp.minimum(place, shrunk - size) * step
    window = tuple(min(side, math.ceil(size / zoom[0]) + 4) for side in image.shape[:2])
    corner = jnp.clip(jnp.floor(start).astype(jnp.int32), 0, jnp.array(image.shape[:2]) - jnp.array(window))
    region = jax.lax.dynamic_slice(image, (*corner, 0), (*window, image.shape[-1]))
    box = start - corner
    square = resized_crop(normalize(region), box[0], box[1], step[0] * size, step[1] * size, (size, size))
    return jnp.clip(square, -1, 1)
