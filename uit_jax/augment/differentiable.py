"""Changes of what a discriminator sees, through which gradients reach the images (Zhao et al. 2020, arXiv:2006.10738).

A discriminator of few images learns them by heart. It cannot where it sees every image changed, real or translated, and
each time by another draw; and a generator that learns from what becomes of its translations when they are changed has
no reason to draw the changes. As in the published code images are in [-1, 1], 0 moves in, and nothing is clipped.

`recolored`, `shifted` and `cut_out` change one image [H, W, C] by given parameters; `changed` samples these for a batch
with one key for each example. Of the image all of them are affine, so that gradients of gradients cost no more.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from uit_jax.types import Array

SHIFT, CUT = 0.125, 0.5
"""The largest shift, and the side of what is cut out, as shares of an image's sides."""


def recolored(image: Array, brightness: Array, saturation: Array, contrast: Array) -> Array:
    """Change the colours of an image [H, W, C].

    Args:
      brightness: what is added.
      saturation: factor of the distance to each pixel's grey, the mean of its channels.
      contrast: factor of the distance to the image's mean.
    """
    image = image + brightness
    grey = image.mean(-1, keepdims=True)
    image = saturation * (image - grey) + grey
    mean = image.mean()
    return contrast * (image - mean) + mean


def shifted(image: Array, down: Array, right: Array) -> Array:
    """Shift an image [H, W, C] by whole pixels; 0 moves in.

    It is two small products with matrices of ones and zeros, as `augment.resized_crop` has them: gradients of these are
    such products too, where those of a gather would have to be scattered.
    """

    def moves(length: int, by: Array) -> Array:
        place = jnp.arange(length)
        return (place[:, None] - by == place[None]).astype(image.dtype)

    rows, columns = moves(image.shape[0], down), moves(image.shape[1], right)
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision="highest")


def cut_out(image: Array, row: Array, column: Array) -> Array:
    """Make 0 what of an image [H, W, C] lies in a box of half its sides, in whose middle a pixel is."""

    def inside(length: int, middle: Array) -> Array:
        side = _pixels(length, CUT)
        place = jnp.arange(length) - middle + side // 2
        return (place >= 0) & (place < side)

    box = inside(image.shape[0], row)[:, None] & inside(image.shape[1], column)[None]
    return jnp.where(box[..., None], 0, image)


def _pixels(side: int, share: float) -> int:
    """Return a share of a side in whole pixels, a half being one as in the published code."""
    return int(side * share + 0.5)


def _recolored(key: Array, image: Array) -> Array:
    low, high = jnp.array([-0.5, 0.0, 0.5]), jnp.array([0.5, 2.0, 1.5])
    return recolored(image, *jax.random.uniform(key, (3,), minval=low, maxval=high))


def _shifted(key: Array, image: Array) -> Array:
    most = jnp.array([_pixels(side, SHIFT) for side in image.shape[:2]])
    return shifted(image, *jax.random.randint(key, (2,), -most, most + 1))


def _cut_out(key: Array, image: Array) -> Array:
    # The middle of a box of an even side lies between pixels, and may lie on the image's end.
    middles = jnp.array([side + 1 - _pixels(side, CUT) % 2 for side in image.shape[:2]])
    return cut_out(image, *jax.random.randint(key, (2,), 0, middles))


CHANGES: dict[str, Callable[[Array, Array], Array]] = {
    "color": _recolored,
    "translation": _shifted,
    "cutout": _cut_out,
}
"""The kinds of changes, in the order in which they are made: (key, image [H, W, C]) -> image."""


def changed(keys: Array, images: Array, kinds: Iterable[str], probability: float = 1.0) -> Array:
    """Change each image of a batch at random.

    Args:
      keys: one key for each image, [N].
      images: float32 [N, H, W, C] in [-1, 1].
      kinds: names of `CHANGES`: "color", brightness by up to 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5;
        "translation", by up to an eighth of the sides; "cutout", of half the sides.
      probability: of each of them, for each image.

    Returns:
      [N, H, W, C], in which values may lie outside [-1, 1].
    """

    def change(key: Array, image: Array) -> Array:
        for number, (kind, make) in enumerate(CHANGES.items()):
            if kind in kinds:
                draw, whether = jax.random.split(jax.random.fold_in(key, number))
                made = make(draw, image)
                image = made if probability == 1 else jnp.where(jax.random.bernoulli(whether, probability), made, image)
        return image

    return jax.vmap(change)(keys, images)
