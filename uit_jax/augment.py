"""Random views of images on the device, with torchvision's meaning of every parameter.

`affine`, `resized_crop`, `color_jitter` and `mirror` work on one image [H, W, C] with values in [0, 1] and
given parameters; the `draw_*` functions draw those parameters from a key. `plain_view` and `strong_view`
compose them for a batch with one key for each example, so that an example's view depends on its key alone.
"""

import math

import jax
import jax.numpy as jnp

from uit_jax.errors import UserError
from uit_jax.types import Array

LUMA = (0.299, 0.587, 0.114)
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


def mirror(image: Array, mirrored: Array) -> Array:
    """Mirror an image [H, W, C] left to right where `mirrored` is true."""
    return jnp.where(mirrored, image[:, ::-1], image)


def draw_affine(
    key: Array, height: int, width: int, *, degrees: float, translate: float, shear: float
) -> tuple[Array, tuple[Array, Array], Array]:
    """Draw the angle, the translation in whole pixels and the shear for `affine`, each uniform in +- its limit.

    `translate` is a share of the image's sides.
    """
    angle, right, down, slant = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
    shift = jnp.round(right * translate * width), jnp.round(down * translate * height)
    return angle * degrees, shift, slant * shear


def draw_crop(
    key: Array, height: int, width: int, *, scale: tuple[float, float], aspect: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """Draw top, left, height and width of a box in whole pixels for `resized_crop`.

    The box's share of the area is uniform in `scale` and the logarithm of its aspect (width / height) is
    uniform in that of `aspect`; of ten draws the first that fits counts, or else the largest central
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


def draw_square(key: Array, height: int, width: int, sides: tuple[float, float]) -> tuple[Array, Array, Array, Array]:
    """Draw top, left, height and width of a square in whole pixels for `resized_crop`.

    Its side is uniform in `sides`, as a share of the shorter side of the image, and its place uniform.
    """
    side_key, place_key = jax.random.split(key)
    share = jax.random.uniform(side_key, minval=sides[0], maxval=sides[1])
    side = jnp.maximum(1.0, jnp.round(share * min(height, width)))
    free = jnp.array([height, width]) - side
    top, left = jnp.minimum(jnp.floor(jax.random.uniform(place_key, (2,)) * (free + 1)), free)
    return top, left, side, side


def draw_jitter(
    key: Array, *, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Draw the factors, the turn of the hue and the order for `color_jitter`.

    Factors are uniform in [max(0, 1 - limit), 1 + limit], the turn in +- `hue`, the order over all orders.
    """
    factor_key, order_key = jax.random.split(key)
    limits = (brightness, contrast, saturation)
    low = jnp.array([max(0.0, 1 - limit) for limit in limits] + [-hue])
    high = jnp.array([1 + limit for limit in limits] + [hue])
    factors = jax.random.uniform(factor_key, (4,), minval=low, maxval=high)
    return *factors, jax.random.permutation(order_key, 4)


def plain_view(keys: Array, images: Array, *, flip: float = 0.5) -> Array:
    """Mirror each image with probability `flip`: keys [B], uint8 [B, H, W, C] -> float32 [B, H, W, C] in [-1, 1]."""
    mirrored = jax.vmap(lambda key: jax.random.bernoulli(key, flip))(keys)
    return normalize(jax.vmap(mirror)(images, mirrored))


def strong_view(
    keys: Array,
    images: Array,
    *,
    degrees: float = 20.0,
    translate: float = 0.1,
    shear: float = 10.0,
    crop_scale: tuple[float, float] = (0.9, 1.1),
    crop_aspect: tuple[float, float] = (0.9, 1.1),
    crop_sides: tuple[float, float] | None = None,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.125,
    flip: float = 0.5,
    fill: str = "black",
) -> Array:
    """Move, crop, recolour and mirror each image at random: TUNIT's second view (arXiv:2006.06500, appendix), and with
    `crop_sides` CLUIT's (arXiv:2105.03117, Section 4.2).

    Differs from the reference: the view is made from the image at its training size, not from the original file,
    and pixels are not rounded to 8 bits between the changes.

    Args:
      keys: one key for each example, [B].
      images: uint8 [B, H, W, C].
      degrees: limit of the rotation.
      translate: limit of the translation, a share of the sides.
      shear: limit of the shear along x, in degrees.
      crop_scale: range of the crop's share of the area; 1 or more cannot leave the image.
      crop_aspect: range of the crop's aspect.
      crop_sides: in place of these two, range of the side of a square crop, a share of the image's shorter side.
      brightness: limit of the brightness factor's distance to 1.
      contrast: likewise of the contrast.
      saturation: likewise of the saturation.
      hue: limit of the hue's turn, in whole circles. With all four limits 0 colours are left alone.
      flip: probability of mirroring.
      fill: "black" or "edge", what the affine map brings in from outside.

    Returns:
      float32 [B, H, W, C] in [-1, 1].
    """
    height, width = images.shape[1:3]
    recolour = any((brightness, contrast, saturation, hue))

    def view(key, image):
        affine_key, crop_key, jitter_key, flip_key = jax.random.split(key, 4)
        image = image.astype(jnp.float32) / 255
        move = draw_affine(affine_key, height, width, degrees=degrees, translate=translate, shear=shear)
        image = affine(image, *move, fill=fill)
        if crop_sides is None:
            box = draw_crop(crop_key, height, width, scale=crop_scale, aspect=crop_aspect)
        else:
            box = draw_square(crop_key, height, width, crop_sides)
        image = resized_crop(image, *box, (height, width))
        if recolour:
            limits = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
            image = color_jitter(image, *draw_jitter(jitter_key, **limits))
        return mirror(image, jax.random.bernoulli(flip_key, flip)) * 2 - 1

    return jax.vmap(view)(keys, images)


def draw_patches(keys: Array, size: tuple[int, int], sides: tuple[float, float], count: int) -> Array:
    """Draw the squares of `count` patches of each image of height and width `size`: keys [B] -> float32 [B, count, 4].

    A square is (top, left, side, side) in whole pixels, its side uniform in `sides`, shares of the image's shorter one.
    """

    def square(key, number):
        return jnp.stack(draw_square(jax.random.fold_in(key, number), *size, sides))

    return jax.vmap(jax.vmap(square, (None, 0)), (0, None))(keys, jnp.arange(count))


def cut_patches(images: Array, squares: Array) -> Array:
    """Cut patches of any sizes out of images and resize each to the size of the image, in one program for all sizes.

    Args:
      images: [B, H, W, C].
      squares: [B, P, 4], from `draw_patches`.

    Returns:
      [B * P, H, W, C], the patches of an image next to each other.
    """
    size = images.shape[1:3]
    cut = jax.vmap(jax.vmap(lambda image, square: resized_crop(image, *square, size), (None, 0)))
    return cut(images, squares).reshape(-1, *images.shape[1:])


def crop(key: Array, image: Array, size: int) -> Array:
    """Cut a square out of an image at random: [H, W, C] -> [size, size, C]."""
    free = jnp.array(image.shape[:2]) - size
    top, left = jax.random.randint(key, (2,), 0, free + 1)
    return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[-1]))


def cropped_view(keys: Array, images: Array, size: int, *, flip: float = 0.5) -> Array:
    """Cut a square out of each image at random and mirror it with probability `flip`.

    Args:
      keys: one key for each example, [B].
      images: uint8 or uint16 [B, H, W, C], of at least `size` pixels a side.

    Returns:
      float32 [B, size, size, C] in [-1, 1].

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
        return mirror(normalize(crop(cut_key, image, size)), jax.random.bernoulli(flip_key, flip))

    return jax.vmap(view)(keys, images)


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
