"""Pictures on a page: as data in it, small enough that the page stays light."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from uit_jax.errors import shown
from uit_jax.files import read_regular
from uit_jax.images.encode import as_data
from uit_jax.images.opening import Unreadable, loaded, opened
from uit_jax.images.pictures import as_rgb
from uit_jax.listing import pick_evenly

THUMBNAIL = 56
"""Side of the images in a sheet, pixels."""

_COLUMNS = 32
_WIDEST = 1_000  # pixels of a training's picture
_MOST = 24  # of these, of a name


class Sheet(NamedTuple):
    """Thumbnails of images in one picture, as data: and where each lies in it, (x, y) in pixels."""

    data: str
    places: list[tuple[int, int]]
    size: tuple[int, int]


def sheet(images: Sequence[np.ndarray]) -> Sheet:
    """Lay thumbnails of images uint8 or uint16 [H, W, C] out in one picture."""
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (columns * THUMBNAIL, rows * THUMBNAIL), "white")
    places = [(i % columns * THUMBNAIL, i // columns * THUMBNAIL) for i in range(len(images))]
    for image, place in zip(images, places, strict=True):
        picture = Image.fromarray(as_rgb(image))
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        scale = THUMBNAIL / max(picture.size)
        if scale > 1:
            wanted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(wanted, Image.Resampling.NEAREST)
        canvas.paste(picture, place)
    return Sheet(as_data(canvas, quality=75), places, canvas.size)


def strip(images: Sequence[np.ndarray], side: int = 128) -> str:
    """Show images uint8 or uint16 [H, W, C] of one size side by side, none larger than `side`, as data."""
    line = Image.fromarray(np.concatenate([as_rgb(image) for image in images], axis=1))
    height = min(side, line.height)
    return as_data(line.resize((round(line.width * height / line.height), height), Image.Resampling.LANCZOS))


def series(drawn: Sequence[tuple[int, Path]], room: int, notes: list[str]) -> list[dict[str, Any]]:
    """Return pictures of a training, evenly spread, as many as fit: {"step", "data"} each, the last always.

    Args:
      drawn: steps, ascending, and files.
      room: characters for all of them.
      notes: is told of what cannot be read.
    """
    count, found = _MOST, {}
    while True:
        chosen = pick_evenly(len(drawn), count)[::-1]
        for index in chosen:
            if index not in found:
                found[index] = _opened(drawn[index][1], notes)
        kept = [index for index in chosen if found[index]]
        if count == 1 or sum(len(found[index]) for index in kept) <= room:
            break
        count = -(-count // 2)
    if kept and len(found[kept[0]]) > room:
        notes.append(f"{drawn[kept[0]][1]} is too large for the page")
        return []
    return [{"step": drawn[index][0], "data": found[index]} for index in sorted(kept)]


def _opened(path: Path, notes: list[str]) -> str:
    """Read a picture file as data, "" where it is none, which is told."""
    try:
        picture = loaded(opened(read_regular(path))).convert("RGB")
    except (OSError, Unreadable) as error:
        notes.append(shown(f"{path} cannot be shown: {getattr(error, 'strerror', None) or error}"))
        return ""
    picture.thumbnail((_WIDEST, 4 * _WIDEST), Image.Resampling.LANCZOS)
    return as_data(picture)
