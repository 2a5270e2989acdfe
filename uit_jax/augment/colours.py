"""What colours a view has: changes of one image [H, W, C] in [0, 1], and their random parameters."""

import jax
import jax.numpy as jnp

from uit_jax.types import Array

LUMA = (0.299, 0.587, 0.114)


def color_jitter(
    image: Array, brightness: Array, contrast: Array, saturation: Array, hue: Array, order: Array
) -> Array:
    """Change the colours of an image [H, W, C] in [0, 1], clipping after every change.

    Args:
      image: RGB; any other number of channels has its mean for grey and no hue to turn.
      brightness: factor of the image.
      contrast: factor of the distance to the image's mean grey.
      saturation: factor of the distance to each pixel's grey.
      hue: turn of the hue, in whole circles.
      order: int32 [4], the order of the changes, numbered as the arguments.
    """
    factors = jnp.stack([brightness, contrast, saturation, hue])[order]
    planes = [image[..., channel] for channel in range(image.shape[-1])]
    # Every change but the hue's is a blend, so one form serves them all and the hue is computed once,
    # between the blends before it and those after it.
    place = jnp.argmax(order == 3)
    for step in (0, 1, 2):
        planes = _blend(planes, jnp.where(step < place, factors[step], 1), order[step])
    if len(planes) == 3:
        turned = _turn_hue(planes, hue)
        planes = [jnp.where(hue == 0, old, new) for old, new in zip(planes, turned, strict=True)]
    for step in (1, 2, 3):
        planes = _blend(planes, jnp.where(step > place, factors[step], 1), order[step])
    return jnp.stack(planes, -1)


def _blend(planes: list[Array], factor: Array, change: Array) -> list[Array]:
    """Move channels [H, W] from black (change 0), their mean grey (1) or their grey (2) by a factor; 1 keeps them."""
    weights = LUMA if len(planes) == 3 else (1 / len(planes),) * len(planes)
    grey = sum(weight * plane for weight, plane in zip(weights, planes, strict=True))
    base = jnp.where(change == 1, grey.mean(), jnp.where(change == 2, grey, 0))
    return [jnp.clip(factor * plane + (1 - factor) * base, 0, 1) for plane in planes]


def _turn_hue(planes: list[Array], turn: Array) -> list[Array]:
    """Turn the hue of red, green and blue [H, W] by `turn` whole circles, keeping HSV's saturation and value.

    Hue and turn are rounded to PIL's 255 steps, down and towards 0: an exact turn differs visibly from the
    reference's in saturated colours.
    """
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma > 0, chroma, 1)
    # Which channel is largest is told by >=, never by == value: a compiler may compute the two sides
    # with different roundings.
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor,
        jnp.where(green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = jnp.floor(_fraction(sixths / 6) * 255) + jnp.trunc(turn * 255)

    def channel(first_sixth):
        # It keeps the value in the sixths of the circle next to its colour, and loses the chroma opposite.
        place = 6 * _fraction(first_sixth / 6 + hue / 255)
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return [channel(5), channel(3), channel(1)]


def _fraction(x: Array) -> Array:
    return x - jnp.floor(x)


def sample_jitter(
    key: Array, *, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Sample the factors, the turn of the hue and the order for `color_jitter`.

    Factors are uniform in [max(0, 1 - limit), 1 + limit], the turn in +- `hue`, the order over all orders.
    """
    factor_key, order_key = jax.random.split(key)
    limits = (brightness, contrast, saturation)
    low = jnp.array([max(0.0, 1 - limit) for limit in limits] + [-hue])
    high = jnp.array([1 + limit for limit in limits] + [hue])
    factors = jax.random.uniform(factor_key, (4,), minval=low, maxval=high)
    return *factors, jax.random.permutation(order_key, 4)


def normalize(images: Array) -> Array:
    """Map uint8 or uint16 images to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / (jnp.iinfo(images.dtype).max / 2) - 1


def match_channels(images: Array, channels: int) -> Array:
    """Bring images [B, H, W, C] to another number of channels, so that one network reads both of two domains.

    RGB becomes its luma, one channel is repeated, any other number is interpolated along the channels (ours; the
    published code of the methods that use it has one number of channels only).
    """
    have = images.shape[-1]
    if have == channels:
        return images
    if have == 1:
        return jnp.repeat(images, channels, axis=-1)
    if channels == 1:
        weights = jnp.array(LUMA if have == 3 else (1 / have,) * have, images.dtype)
        return jnp.einsum("bhwc,c->bhw", images, weights)[..., None]
    return jax.image.resize(images, (*images.shape[:-1], channels), "linear", antialias=False)
