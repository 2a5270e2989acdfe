"""Search by style: the images whose style codes have the largest cosine with a query's (Section 4.2, arXiv:2105.03117).

An image of those searched that is the query itself is left out of its neighbours.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from uit_jax.errors import UserError, shown
from uit_jax.images import pictures
from uit_jax.inference import batched, inputs
from uit_jax.inference.inputs import Given
from uit_jax.listing import pick_evenly
from uit_jax.method import Method
from uit_jax.metrics import retrieval
from uit_jax.paths import PathLike
from uit_jax.types import PyTree

PROTOCOL = "largest cosine of the style codes, by the weights kept for inference, images resized to the model's size"
_CHUNK = 256
_READERS = 4
_COUNT = 8


class Searched(Protocol):
    """What is searched: a source of data, or `Listed`.

    Attributes:
      spec: what messages call it.
      names, labels: of each image; labels are indices into `classes`, -1 unknown.
    """

    spec: str
    names: Sequence[str]
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int: ...
    def describe(self) -> str: ...
    def image(self, index: int) -> np.ndarray: ...


class Listed:
    """Images that were handed in, to be searched as those of a source are."""

    def __init__(self, given: Given, size: int, form: dict[str, Any]):
        self.given, self._size, self._form = given, size, form
        self.spec, self.classes = given.name, ()
        self.names = [given.told(index) for index in range(len(given.items))]
        self.labels = np.full(len(given.items), -1, np.int32)

    def __len__(self) -> int:
        return len(self.given.items)

    def describe(self) -> str:
        return f"{self.spec}: {len(self)} image{'s' * (len(self) != 1)}"

    def image(self, index: int) -> np.ndarray:
        return inputs.pixels(self.given.items[index], size=self._size, **self._form)


class Gallery(NamedTuple):
    """The images that are searched: their numbers in a source int64 [n], and their style codes float32 [n, D].

    `unreadable` counts those that were to be searched and are not.
    """

    source: Searched
    indices: np.ndarray
    codes: np.ndarray
    unreadable: int = 0

    def about(self, row: int) -> dict[str, str]:
        """Return what is known of an image, for JSON: its name, and its class where that is known."""
        index = int(self.indices[row])
        label = int(self.source.labels[index])
        return {"image": self.source.names[index], **({"class": self.source.classes[label]} if label >= 0 else {})}

    def image(self, row: int) -> np.ndarray:
        """Return an image at the model's size, uint8 or uint16 [S, S, C]."""
        return self.source.image(int(self.indices[row]))


class Queries(NamedTuple):
    """What is searched for: names, images, style codes float32 [m, D], and which rows of the gallery each one is."""

    names: list[str]
    images: Sequence[np.ndarray]
    codes: np.ndarray
    itself: np.ndarray


class Found(NamedTuple):
    """The nearest images of each query, the nearest first.

    Attributes:
      queries, gallery: what was searched for, and what was searched.
      rows: int64 [m, count], rows of the gallery.
      cosines: float64 [m, count], of their style codes with the query's.
    """

    queries: Queries
    gallery: Gallery
    rows: np.ndarray
    cosines: np.ndarray

    @property
    def names(self) -> list[list[str]]:
        """The names of the images that were found, of each query."""
        return [[self.gallery.about(row)["image"] for row in rows] for rows in self.rows]

    def images(self, query: int = 0) -> list[np.ndarray]:
        """Return the images that were found for a query: uint8 or uint16 [S, S, C]."""
        return [self.gallery.image(row) for row in self.rows[query]]

    def record(self) -> dict[str, Any]:
        """Return what was found in a form for JSON."""
        queries, gallery, found = self.queries, self.gallery, []
        for name, itself, row, values in zip(queries.names, queries.itself, self.rows, self.cosines, strict=True):
            # What the source knows of the query, under the name it was asked for by.
            known = gallery.about(int(itself.argmax())) if itself.any() else {}
            near = [{**gallery.about(k), "cosine": round(float(v), 6)} for k, v in zip(row, values, strict=True)]
            found.append({**known, "image": name, "neighbours": near})
        return {
            "queries": found,
            "source": gallery.source.describe(),
            "images": len(gallery.codes),
            "unreadable_images": gallery.unreadable,
            "protocol": {"search": PROTOCOL},
        }

    def render(self, *, title: str = "") -> np.ndarray:
        """Render a row for each query: itself and its neighbours with cosine and class or name: uint8 [H, W, 3]."""
        images = [[query, *self.images(index)] for index, query in enumerate(self.queries.images)]
        captions = [
            ["query\n" + _told(query), *(f"{each['cosine']:.3f}\n{_told(each)}" for each in query["neighbours"])]
            for query in self.record()["queries"]
        ]
        return pictures.table(images, title=title, captions=captions, lead=True)

    def text(self) -> str:
        """Lay what was found out for a terminal."""
        result = self.record()
        lines, queries = [result["source"]], result["queries"]
        width = max((len(near.get("class", "")) for query in queries for near in query["neighbours"]), default=0)
        for query in queries:
            lines += ["", query["image"] + (f" ({query['class']})" if "class" in query else "")]
            for near in query["neighbours"]:
                known = f"{near.get('class', ''):<{width}}  " if width else ""
                lines.append(f"  {near['cosine']:7.4f}  {known}{near['image']}")
        return "\n".join(map(shown, lines))


def encode(
    method: Method, variables: PyTree, source: Searched, chosen: Sequence[int], *, label: int | None = None
) -> Gallery:
    """Encode images of a source; unreadable ones are named and left out. Raises UserError where none is left.

    `label` is the class that all are of, where the method's styles are of classes and it is known.
    """
    size = min(64, len(chosen))
    kept, codes, why = [], [], ""

    def read(index):
        try:
            return source.image(int(index)), None
        except inputs.UNREADABLE as error:
            return None, error

    with ThreadPoolExecutor(_READERS) as pool, tqdm(total=len(chosen), unit="image", disable=None) as bar:
        for start in range(0, len(chosen), _CHUNK):
            chunk, images = chosen[start : start + _CHUNK], []
            for index, (image, error) in zip(chunk, pool.map(read, chunk), strict=True):
                if error is None:
                    kept.append(index)
                    images.append(image)
                else:
                    bar.write(shown(f"skipped {source.names[index]}: {error}"), file=sys.stderr)
                    why = why or f" ({source.names[index]}: {error})"
                bar.update()
            if images:
                codes.append(batched.read(method, "style", variables, np.stack(images), batch_size=size, label=label))
    if not kept:
        raise UserError(f"{source.spec}: none of its {len(chosen)} images can be read{why}")
    return Gallery(source, np.array(kept), np.concatenate(codes), len(chosen) - len(kept))


def from_images(given: Given, images: np.ndarray, codes: np.ndarray, gallery: Gallery) -> Queries:
    """Let images [m, S, S, C] of codes [m, D] be the queries; find each file among those searched, by whatever name."""
    searched = [_identity(gallery.source.names[index]) for index in gallery.indices]
    itself = np.zeros((len(images), len(gallery.codes)), bool)
    for row, item in enumerate(given.items):
        own = _identity(item) if isinstance(item, PurePath) else None
        itself[row] = [own is not None and each == own for each in searched]
    return Queries([given.told(index) for index in range(len(given.items))], images, codes, itself)


def from_gallery(gallery: Gallery, count: int) -> Queries:
    """Let `count` of the images that are searched, evenly spread, be the queries."""
    rows = pick_evenly(len(gallery.codes), count)
    itself = rows[:, None] == np.arange(len(gallery.codes))
    names = [gallery.about(row)["image"] for row in rows]
    return Queries(names, [gallery.image(row) for row in rows], gallery.codes[rows], itself)


def nearest(queries: Queries, gallery: Gallery, count: int | None = None) -> Found:
    """Find the `count` nearest images of each query, by default 8 or as many as there are.

    Raises UserError where there are not so many, or none.
    """
    others = int((~queries.itself).sum(1).min())
    count = min(_COUNT, max(others, 1)) if count is None else count
    check_count(count, others, gallery.source, beside=bool(queries.itself.any()))
    return Found(queries, gallery, *retrieval.nearest(queries.codes, gallery.codes, count, barred=queries.itself))


def check_count(count: int, there: int, source: Searched, *, beside: bool) -> None:
    """Raise a UserError where more images are asked for than there are, beside the query if it is one of them."""
    if count < 1:
        raise UserError(f"--count={count} is not a whole number of at least 1")
    if count > there:
        images = "other images" if beside else "images"
        raise UserError(f"--count={count} is more than the {there} {images} of {source.spec} that are searched")


def _told(image: dict[str, Any]) -> str:
    """Name an image in a caption: by its class where that is known, else by its file's name."""
    return shown(image.get("class") or PurePath(image["image"]).name)


def _identity(path: PathLike) -> Any:
    """Return what tells a file apart under all its names, a remote one's being its only one; None for no file."""
    if "://" in str(path):
        return str(path)
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
