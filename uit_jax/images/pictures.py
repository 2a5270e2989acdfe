"""Labelled pictures of what a model does: grids of translations, the members of pseudo domains, any table of images."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uit_jax.errors import UserError
from uit_jax.images import encode
from uit_jax.images.decode import to_depth
from uit_jax.listing import ARRAYS, picked
from uit_jax.paths import PathLike

WHITE, INK, MUTED = (255, 255, 255), (32, 33, 36), (95, 99, 104)
GAP, MARGIN, FRAME = 4, 12, 10  # pixels: between cells, around the picture, between headers and body
SMALLEST_CELL, LARGEST_CELL = 64, 256


def reference_grid(
    contents: Sequence[np.ndarray],
    references: Sequence[np.ndarray | None],
    translations: Sequence[Sequence[np.ndarray]],
    *,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> np.ndarray:
    """Render sources x references: references on top, contents on the left, a white corner: uint8 [H, W, 3].

    Args:
      contents: m images uint8 [H, W, C], of any sizes.
      references: n images, or None where a column has no picture of its own; where none has, there is no such row.
      translations: m rows of n images.
      title, row_labels, column_labels: captions; none where empty.
    """
    top = [[None, *references]] if any(image is not None for image in references) else []
    rows = [*top, *([content, *row] for content, row in zip(contents, translations, strict=True))]
    labels = [*([""] * len(top)), *row_labels] if row_labels else []
    heads = ["", *column_labels] if column_labels else []
    return table(rows, title=title, row_labels=labels, column_labels=heads, header=bool(top), lead=True)


def domain_grid(
    images: np.ndarray, domains: np.ndarray, count: int, *, members: int = 10, rows: int = 20, title: str = ""
) -> np.ndarray:
    """Render members of each pseudo domain, one row a domain with its number and count: uint8 [H, W, 3].

    Args:
      images: uint8 [n, H, W, C].
      domains: int [n], the pseudo domain of each image, in 0 to count - 1.
      count: the number of pseudo domains; empty ones get an empty row.
      members: images shown of each domain, evenly spread among its own.
      rows: where there are more domains, the largest of them are shown.
    """
    sizes = np.bincount(domains, minlength=count)
    shown = np.sort(np.argsort(-sizes, kind="stable")[:rows])
    cells = [[images[i] for i in picked(np.flatnonzero(domains == domain), members)] for domain in shown]
    width = max(map(len, cells))
    cells = [row + [None] * (width - len(row)) for row in cells]
    labels = [f"domain {domain}\n{sizes[domain]} {'image' if sizes[domain] == 1 else 'images'}" for domain in shown]
    return table(cells, title=title, row_labels=labels)


def table(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    header: bool = False,
    lead: bool = False,
) -> np.ndarray:
    """Lay images out in rows of equal cells on white, with captions: uint8 [H, W, 3].

    Args:
      rows: images uint8 [H, W, C] of any sizes and channels; None leaves a cell empty.
      title: one line above everything.
      row_labels: a caption of one or two lines left of each row.
      column_labels: a caption above each column.
      captions: rows of captions of one or more lines, below each cell.
      header: set the first row and the first column apart from the rest; their corner stays white.
      lead: set the first column alone apart.
    """
    title, row_labels, column_labels = plain(title), [*map(plain, row_labels)], [*map(plain, column_labels)]
    captions = [[*map(plain, row)] for row in captions]
    cell = _cell_size([image for row in rows for image in row if image is not None])
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    left = MARGIN + (max(_text_width(label, small) for label in row_labels) + 8 if row_labels else 0)
    title_height = 28 if title else 0
    top = MARGIN + title_height + (18 if column_labels else 0)
    count = max(len(row) for row in rows)
    lines = max((text.count("\n") + 1 for row in captions for text in row), default=0)
    below = 15 * lines + (GAP if lines else 0)

    def x_of(column):
        return left + column * (cell[1] + GAP) + (FRAME if (header or lead) and column else 0)

    def y_of(row):
        return top + row * (cell[0] + below + GAP) + (FRAME if header and row else 0)

    width = max(x_of(count) - GAP, MARGIN + _text_width(title, font)) + MARGIN
    canvas = Image.new("RGB", (width, y_of(len(rows)) - GAP + MARGIN), WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN - 2), title, fill=INK, font=font)
    for column, label in enumerate(column_labels):
        text = _fit(label, cell[1], small)
        draw.text((x_of(column) + cell[1] // 2, top - 4), text, fill=MUTED, font=small, anchor="ms")
    for row, label in enumerate(row_labels):
        middle = y_of(row) + cell[0] // 2
        draw.multiline_text((left - 8, middle), label, fill=MUTED, font=small, anchor="rm", align="right")
    for row, texts in enumerate(captions):
        for column, text in enumerate(texts):
            place = x_of(column) + cell[1] // 2, y_of(row) + cell[0] + GAP
            shown = "\n".join(_fit(line, cell[1], small) for line in text.split("\n"))
            draw.multiline_text(place, shown, fill=MUTED, font=small, anchor="ma", align="center", spacing=2)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            if image is not None:
                canvas.paste(Image.fromarray(_letterbox(image, cell)), (x_of(column), y_of(row)))
    return np.asarray(canvas)


def mosaic(images: Sequence[np.ndarray], side: int | None = None) -> np.ndarray:
    """Show several images in the space of one, `side` pixels wide: the image itself, or the first four in a square."""
    if len(images) == 1:
        return images[0] if side is None else _letterbox(images[0], (side, side))
    side = side or max(_cell_size(images))
    half = (side // 2, side // 2)
    tiles = [_letterbox(image, half) for image in images[:4]]
    tiles += [np.full_like(tiles[0], 255)] * (4 - len(tiles))
    return np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)])


def plain(text: str) -> str:
    """Return a text without accents, which Pillow's own font has none of."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink an image [H, W, C] to what a cell of a table shows of it: uint8 [h, w, 3]."""
    scale = LARGEST_CELL / max(image.shape[:2])
    return as_rgb(image) if scale >= 1 else _letterbox(image, [max(1, round(side * scale)) for side in image.shape[:2]])


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Show an image uint8 or uint16 [H, W, C] as uint8 [H, W, 3]: one channel as grey, of many the first three."""
    image = to_depth(image, 8)
    return np.ascontiguousarray(np.repeat(image[..., :1], 3, -1) if image.shape[-1] < 3 else image[..., :3])


def save(path: PathLike, image: np.ndarray) -> None:
    """Write an image uint8 [H, W, C] in the format of the name's ending, whole or not at all.

    Raises:
      UserError: the ending is no format of pictures, or the file cannot be written.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix in ARRAYS or not encode.holds(suffix, image.shape[-1], 8):
        raise UserError(f"{path}: pictures are written as .png, .jpg, .webp, .bmp or .tif")
    encode.write(path, image)


def _cell_size(images: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return height and width of a cell that shows all images: small ones are enlarged by a whole factor."""
    if not len(images):
        return SMALLEST_CELL, SMALLEST_CELL
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    scale = max(1, -(-SMALLEST_CELL // max(height, width)))
    if max(height, width) > LARGEST_CELL:
        scale = LARGEST_CELL / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _letterbox(image: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Fit an image into a cell, its sides in proportion, the rest white: uint8 [*cell, 3]."""
    picture = Image.fromarray(as_rgb(image))
    scale = min(cell[0] / picture.height, cell[1] / picture.width)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size != picture.size:
        # Enlarged pixels stay what they are; smoothing would flatter the model.
        picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (cell[1], cell[0]), WHITE)
    canvas.paste(picture, ((cell[1] - size[0]) // 2, (cell[0] - size[1]) // 2))
    return np.asarray(canvas)


def _text_width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return max((int(font.getlength(line)) + 1 for line in text.split("\n")), default=0)


def _fit(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Shorten a caption to a width, keeping its end: file names differ there."""
    if _text_width(text, font) <= width:
        return text
    while text and _text_width("…" + text, font) > width:
        text = text[1:]
    return "…" + text
