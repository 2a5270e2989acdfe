"""A history of generated images that discriminators are shown instead of the newest (arXiv:1612.07828, Section 2.3)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.types import Array


class ImagePool(NamedTuple):
    """P images float32 [P, H, W, C] and how many of them there are yet, int32; every device holds them whole."""

    images: Array
    count: Array


class Tosses(NamedTuple):
    """What decides about each image of a batch: coins float32 [B] in [0, 1), and slots int32 [B] in 0 to P - 1.

    An image is exchanged where its coin is above 0.5, for the one in its slot.
    """

    coins: Array
    slots: Array


def toss(keys: Array, size: int) -> Tosses:
    """Sample the tosses for a pool of `size` images, with one key for each image [B]."""
    coin, slot = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
    slots = jax.vmap(lambda key: jax.random.randint(key, (), 0, max(size, 1)))(slot)
    return Tosses(jax.vmap(jax.random.uniform)(coin), slots)


def create(size: int, shape: tuple[int, int, int]) -> ImagePool:
    """Return an empty pool of `size` images [H, W, C]; one of size 0 gives back what it is given."""
    return ImagePool(jnp.zeros((size, *shape)), jnp.zeros((), jnp.int32))


def exchange(
    pool: ImagePool, images: Array, tosses: Tosses, axis_name: str | None = None
) -> tuple[ImagePool, Array]:
    """Put new images [B, H, W, C] into the pool and take out as many, one after the other in the global batch's order.

    While the pool fills, an image is stored and given back. Then, at every other toss, a stored image is given back and
    the new one takes its place; else the new one is given back and not stored.

    Returns:
      The pool, and what was taken out, [B, H, W, C].
    """
    size, share = pool.images.shape[0], len(images)
    if not size:
        return pool, images

    def step(pool: ImagePool, given):
        image, coin, slot = given
        full = pool.count == size
        place = jnp.where(full, slot, pool.count)
        stored, exchanged = pool.images[place], full & (coin > 0.5)
        kept = pool.images.at[place].set(jnp.where(full & ~exchanged, stored, image))
        return ImagePool(kept, jnp.minimum(pool.count + 1, size)), jnp.where(exchanged, stored, image)

    given = tuple(collectives.gather(each, axis_name) for each in (images, *tosses))
    pool, taken = jax.lax.scan(step, pool, given)
    return pool, collectives.share(taken, share, axis_name)
