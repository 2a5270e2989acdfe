"""`uit inspect`: what a patchwise method has learnt to find alike (figure 7 of arXiv:2007.15651).

For points of a translation, a map over the input shows how similar its patches are to the patch there: the cosine of
their codes, and a ring around the most similar. (The loss compares exponentials of the cosine over the temperature; in
a model that has learnt its task little else is left of these than that one patch.) Beside them, the first three
principal components of the codes of both images are colours: what is alike to the network has one colour.
"""

import argparse
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw

from uit_jax import data
from uit_jax.augment import normalize
from uit_jax.errors import UserError
from uit_jax.images import decode as decoding
from uit_jax.images import encode as encoding
from uit_jax.images import pictures
from uit_jax.inference import batched as inference
from uit_jax.inference import styles
from uit_jax.inference.styles import Trained
from uit_jax.types import Array
from uit_jax.verbs.arguments import natural, positive

# Of the image's sides (x, y): its middle, and the middles of its quarters.
_POINTS = ((0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75))


class Inspected(NamedTuple):
    """What the codes of one layer say about an image and its translation.

    Attributes:
      image, translation: uint8 or uint16 [H, W, C].
      layer: the layer the codes are of; layers: those there are.
      maps: float32 [n, h, w], over the input, the cosine with each of n points of the translation.
      components: uint8 [2, h, w, 3], the principal components of the codes of input and translation.
    """

    image: np.ndarray
    translation: np.ndarray
    layer: int
    layers: tuple[int, ...]
    maps: np.ndarray
    components: np.ndarray


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    content, out = Path(args.content), Path(args.out)
    if not content.is_file():
        raise UserError(
            f"--content={content}: " + ("give one image, not a folder" if content.is_dir() else "no such file")
        )
    if not encoding.holds(out.suffix, 3, 8) or out.suffix.lower() == ".npy" or out.is_dir():
        raise UserError(f"--out={out}: give the name of a picture, such as {out}.png")
    run = styles.open_run(args.workdir, args.checkpoint)
    try:
        image = data.decode(content.read_bytes(), **run.form)
    except (data.Unreadable, decoding.WrongChannels) as error:
        raise UserError(f"--content={content} cannot be read: {error}") from error
    height, width = image.shape[:2]
    places = [(x * width, y * height) for x, y in _POINTS] if args.points is None else args.points
    for x, y in places:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"--points: {x:g},{y:g} lies outside the image of {width} x {height} px")
    shares = [(x / width, y / height) for x, y in places]
    found = inspect(run, image, shares, layer=args.layer, longest=args.longest)
    labels = [f"x = {x:.0f}, y = {y:.0f}" for x, y in places]
    title = f"{content.name}, layer {found.layer} of {', '.join(map(str, found.layers))}, step {run.step}"
    pictures.save(out, draw(found, shares, labels, title=title))
    print(f"written to {out}: {title}")
    return 0


def inspect(
    run: Trained,
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
    method, readout = run.method, run.method.readouts.get("patch_codes")
    if readout is None:
        raise UserError("the method of this run compares no patches of an image, so there is nothing to inspect")
    scale = min(1, longest / max(image.shape[:2]))
    sides = (max(4, round(side * scale / method.multiple)) * method.multiple for side in image.shape[:2])
    image = decoding.resize(image, tuple(sides))
    content = np.asarray(normalize(image))[None]
    layers = tuple(sorted(jax.eval_shape(readout, run.variables, content)))
    layer = layers[-1] if layer is None else layer
    if layer not in layers:
        raise UserError(f"--layer={layer}: the method compares layers {', '.join(map(str, layers))}")
    drawn = _translator(method.translate)(run.variables, content)
    codes = [np.asarray(_codes(readout, layer)(run.variables, images)[0]) for images in (content, drawn)]
    maps = np.stack([codes[0] @ at(codes[1], x, y) for x, y in points])
    translation = np.asarray(inference.to_whole(drawn[0], image.dtype))
    return Inspected(image, translation, layer, layers, maps, principal_components(np.stack(codes)))


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


def draw(found: Inspected, points: Sequence[tuple[float, float]], labels: Sequence[str], *, title: str) -> np.ndarray:
    """Draw maps above, the points they belong to below, the components on the right: uint8 [H, W, 3]."""
    image, translation = (pictures.as_rgb(each) for each in (found.image, found.translation))
    heat = [_ringed(_heat(image, values), _peak(values)) for values in found.maps]
    asked = [_ringed(translation, point) for point in points]
    size = image.shape[1::-1]
    components = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.NEAREST)) for each in found.components]
    rows = [[image, *heat, components[0]], [translation, *asked, components[1]]]
    heads = ["", *labels, "principal components"]
    return pictures.table(rows, title=title, row_labels=["input", "translation"], column_labels=heads)


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
def _codes(readout: Callable, layer: int) -> Callable[..., Array]:
    # Of the other layers nothing is asked for, so nothing of them is computed.
    return jax.jit(lambda variables, images: readout(variables, images)[layer])


@functools.lru_cache(maxsize=8)
def _translator(translate: Callable) -> Callable[..., Array]:
    return jax.jit(lambda variables, images: translate(variables, {"content": images}))


def _points(text: str) -> list[tuple[float, float]]:
    number = r"\s*(\d+(?:\.\d+)?)\s*"
    found = [re.fullmatch(f"{number},{number}", part) for part in text.strip(";").split(";")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of points; write them as 'x,y;x,y', in pixels")
    return [(float(match[1]), float(match[2])) for match in found]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit inspect",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    parser.add_argument("--content", required=True, help="the image to translate and inspect")
    parser.add_argument("--points", type=_points, metavar="X,Y;X,Y", help="pixels of the image (default: five, spread)")
    parser.add_argument("--layer", type=natural, help="whose codes to compare (default: the last there is)")
    parser.add_argument("--longest", type=positive, default=512, help="shrink a longer side to so many pixels (512)")
    parser.add_argument("--out", required=True, help="the picture to write")
    return parser
