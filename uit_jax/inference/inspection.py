"""What a patchwise method has learnt to find alike (figure 7 of arXiv:2007.15651).

For points of a translation, a map over the input shows how similar its patches are to the patch there: the cosine of
their codes, and a ring around the most similar. (The loss compares exponentials of the cosine over the temperature; in
a model that has learnt its task little else is left of these than that one patch.) Beside them, the first three
principal components of the codes of both images are colours: what is alike to the network has one colour.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw

from uit_jax.augment import normalize
from uit_jax.errors import UserError
from uit_jax.images import decode, pictures
from uit_jax.inference import batched
from uit_jax.method import Method
from uit_jax.types import Array, PyTree

# Of the image's sides (x, y): its middle, and the middles of its quarters.
POINTS = ((0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75))


class Inspected(NamedTuple):
    """What the codes of one layer say about an image and its translation.

    Attributes:
      image, translation: uint8 or uint16 [H, W, C].
      layer: the layer the codes are of; layers: those there are.
      maps: float32 [n, h, w], over the input, the cosine with each of n points of the translation.
      components: uint8 [2, h, w, 3], the principal components of the codes of input and translation.
      points: the n points (x, y), in shares of width and height.
      labels: what each is called.
    """

    image: np.ndarray
    translation: np.ndarray
    layer: int
    layers: tuple[int, ...]
    maps: np.ndarray
    components: np.ndarray
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()

    def told(self) -> str:
        """Say which layer it is: "layer 12 of 0, 4, 12"."""
        return f"layer {self.layer} of {', '.join(map(str, self.layers))}"

    def render(self, *, title: str = "") -> np.ndarray:
        """Render maps above, the points they belong to below, the components on the right: uint8 [H, W, 3]."""
        image, translation = (pictures.as_rgb(each) for each in (self.image, self.translation))
        heat = [_ringed(_heat(image, values), _peak(values)) for values in self.maps]
        asked = [_ringed(translation, point) for point in self.points]
        size = image.shape[1::-1]
        components = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.NEAREST)) for c in self.components]
        rows = [[image, *heat, components[0]], [translation, *asked, components[1]]]
        heads = ["", *self.labels, "principal components"] if self.labels else []
        return pictures.table(rows, title=title, row_labels=["input", "translation"], column_labels=heads)


def shares(points: Sequence[tuple[float, float]] | None, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Turn points (x, y) in pixels of an image (height, width) into shares of its sides; by default five, spread.

    Raises:
      UserError: one lies outside.
    """
    if points is None:
        return list(POINTS)
    height, width = size
    if not len(points) or np.shape(points) != (len(points), 2):
        raise UserError("--points: give one or more pairs (x, y), in pixels of the image")
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"--points: {x:g},{y:g} lies outside the image of {width} x {height} px")
    return [(x / width, y / height) for x, y in points]


def inspect(
    method: Method,
    variables: PyTree,
    image: np.ndarray,
    points: Sequence[tuple[float, float]],
    *,
    layer: int | None = None,
    longest: int = 512,
) -> Inspected:
    """Compare the patches at points of an image's translation with those of the image [H, W, C].

    Args:
      points: (x, y) in shares of width and height, 0 to 1.
      layer: whose codes to compare; by default the last.
      longest: an image with a longer side is shrunk to it.

    Raises:
      UserError: the method compares no patches, or has no such layer.
    """
    readout = method.readouts.get("patch_codes")
    if readout is None:
        raise UserError("the method of this run compares no patches of an image, so there is nothing to inspect")
    scale = min(1, longest / max(image.shape[:2]))
    sides = (max(4, round(side * scale / method.multiple)) * method.multiple for side in image.shape[:2])
    labels = [f"x = {x * image.shape[1]:.0f}, y = {y * image.shape[0]:.0f}" for x, y in points]
    image = decode.resize(image, tuple(sides))
    content = np.asarray(normalize(image))[None]
    layers = tuple(sorted(jax.eval_shape(readout, variables, content)))
    layer = layers[-1] if layer is None else layer
    if layer not in layers:
        raise UserError(f"--layer={layer}: the method compares layers {', '.join(map(str, layers))}")
    drawn = _translator(method)(variables, content)
    codes = [np.asarray(_codes(method, layer)(variables, images)[0]) for images in (content, drawn)]
    maps = np.stack([codes[0] @ at(codes[1], x, y) for x, y in points])
    translation = np.asarray(batched.to_whole(drawn[0], image.dtype))
    return Inspected(image, translation, layer, layers, maps, principal_components(np.stack(codes)), points, labels)


def at(codes: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the code [D] at a place of codes [h, w, D], in shares of the sides."""
    height, width = codes.shape[:2]
    return codes[min(int(y * height), height - 1), min(int(x * width), width - 1)]


def principal_components(codes: np.ndarray) -> np.ndarray:
    """Show the first three principal components of codes [n, h, w, D], common to all n: uint8 [n, h, w, 3]."""
    flat = codes.reshape(-1, codes.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    axes = axes[:, ::-1][:, :3]
    # The sign of an eigenvector is a matter of chance; one rule gives one picture.
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    parts = flat @ axes
    low, high = np.percentile(parts, (1, 99), axis=0)
    shown = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    shown = np.pad(shown, ((0, 0), (0, 3 - shown.shape[1])))
    return np.rint(255 * shown).astype(np.uint8).reshape(*codes.shape[:-1], 3)


def _peak(values: np.ndarray) -> tuple[float, float]:
    """Return where a map [h, w] is largest, (x, y) in shares of its sides."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return (column + 0.5) / values.shape[1], (row + 0.5) / values.shape[0]


def _heat(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map [h, w] over an image [H, W, 3]: its dimmed gray up to 0, from there over red to white at 1."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    values = np.asarray(smooth)[..., None].clip(0, 1)
    colours = np.clip(3 * values - np.array([0, 1, 2], np.float32), 0, 1)
    gray = 0.4 * image.mean(-1, keepdims=True) / 255
    return np.rint(255 * np.maximum(gray * (1 - values), colours)).astype(np.uint8)


def _ringed(image: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """Draw a ring around a place of an image."""
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    x, y = point[0] * picture.width, point[1] * picture.height
    radius = max(3, 0.03 * max(picture.size))
    stroke = max(1, round(radius / 4))
    for grow, colour in ((stroke, "black"), (0, "white")):
        box = (x - radius - grow, y - radius - grow, x + radius + grow, y + radius + grow)
        canvas.ellipse(box, outline=colour, width=stroke)
    return np.asarray(picture)


@functools.lru_cache(maxsize=8)
def _codes(method: Method, layer: int) -> Callable[..., Array]:
    readout = method.readouts["patch_codes"]
    # Of the other layers nothing is asked for, so nothing of them is computed.
    return jax.jit(lambda variables, images: readout(variables, images)[layer])


@functools.lru_cache(maxsize=8)
def _translator(method: Method) -> Callable[..., Array]:
    return jax.jit(lambda variables, images: method.translate(variables, {"content": images}))
