"""What a run offers to who tries it: asked from its model, and from its images where these can be read."""

import dataclasses
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from PIL import Image

from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.images import encode, pictures
from uit_jax.inference import search, styles
from uit_jax.inference.search import Gallery
from uit_jax.listing import pick_evenly
from uit_jax.metrics import retrieval
from uit_jax.runs import Trained

EXAMPLES = 8
NEAREST = 8

_MEANS = 60  # pseudo domains or classes that are offered: those with most images
_THUMBNAIL = 128


class Mean(NamedTuple):
    """The mean style of a pseudo domain or a class: what it is called, a picture, the code [D]."""

    called: str
    picture: np.ndarray
    code: np.ndarray


class Near(NamedTuple):
    """An image near in style: as data, what it is called, the cosine of the codes."""

    picture: str
    called: str
    cosine: float


class Searched:
    """The images among which the nearest are found, with their thumbnails in memory."""

    def __init__(self, gallery: Gallery):
        self.gallery, self.told = gallery, gallery.source.describe()
        self._thumbnails = [_thumbnail(gallery.image(row)) for row in range(len(gallery.codes))]

    def nearest(self, code: np.ndarray) -> list[Near]:
        """Return the images whose style is most like a code [D], the nearest first."""
        # Of a run that has diverged, codes may be no numbers.
        count = min(NEAREST, int(np.isfinite(self.gallery.codes).all(1).sum())) if np.isfinite(code).all() else 0
        if not count:
            return []
        (rows,), (cosines,) = retrieval.nearest(code[None], self.gallery.codes, count)
        return [
            Near(self._thumbnails[row], _called(self.gallery.about(row)), float(cosine))
            for row, cosine in zip(rows, cosines, strict=True)
        ]


@dataclasses.dataclass
class Offers:
    """What there is to choose from.

    Attributes:
      title: what the run is called; `told` says more of it in a line.
      styled, sampled: whether there are styles to choose, and whether also by chance.
      sampled_of: names of the classes of which styles are sampled; () where they are of none.
      contents, references: example images [H, W, C].
      pseudo_domains, classes: mean styles.
      searched: what the nearest images are found among; None where there are none.
      notes: sentences that say what is missing, and why.
    """

    title: str
    told: str
    styled: bool
    sampled: bool
    sampled_of: Sequence[str] = ()
    contents: Sequence[np.ndarray] = ()
    references: Sequence[np.ndarray] = ()
    pseudo_domains: Sequence[Mean] = ()
    classes: Sequence[Mean] = ()
    searched: Searched | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


def of(run: Trained, source: str | None = None, images: int = 1_000) -> Offers:
    """Ask a run what it offers; where its images cannot be read, a note says so.

    Args:
      source: the images whose styles are searched, as `Trained.search` has them.
      images: at most so many of these, and of those that pseudo domains are the mean of.
    """
    told = f"{run.title}, {run.image_size} x {run.image_size} px"
    found = Offers(run.workdir.absolute().name, told, run.styled, run.sampled)
    if run.method.sampled_by_class:
        found.sampled_of = [str(number) for number in range(run.method.classes)]
    try:
        contents = run.contents()
        found.contents = data.examples(contents, pick_evenly(len(contents), EXAMPLES))
    except (UserError, OSError) as error:
        found.notes.append(f"There are no example images: {error}.")
    if run.styled:
        _add_styles(found, run, source, images)
    else:
        found.notes.append("This method knows no styles: there is none to choose, and no image is near in it.")
    return found


def _add_styles(found: Offers, run: Trained, source: str | None, images: int) -> None:
    """Add what needs images with styles."""
    try:
        opened = run.searched(source)
        gallery = search.encode(run.method, run.variables, opened, pick_evenly(len(opened), images))
        found.searched = Searched(gallery)
        # Others than the contents, where these are of the same images.
        some = pick_evenly(len(gallery.codes), EXAMPLES + 2)
        found.references = [gallery.image(row) for row in (some[1:-1] if len(some) > 2 else some)]
        found.classes = class_means(gallery)
        if len(opened.classes) == len(found.sampled_of):
            found.sampled_of = list(map(str, opened.classes))
    except (UserError, OSError) as error:
        found.notes.append(f"The nearest images cannot be shown: {error}.")
    if run.clustered:
        try:
            found.pseudo_domains = domain_means(run, images)
        except (UserError, OSError) as error:
            found.notes.append(f"There are no pseudo domains to choose from: {error}.")


def domain_means(run: Trained, images: int) -> list[Mean]:
    """Return the mean styles of pseudo domains that hold any images, by their number. Raises UserError."""
    every = run.domain_styles(limit=images)
    filled = np.sort(np.argsort(-every.counts, kind="stable")[:_MEANS])
    return [
        Mean(f"{domain} ({every.counts[domain]})", every.portraits[domain], every.means[domain])
        for domain in filled
        if every.counts[domain]
    ]


def class_means(gallery: Gallery) -> list[Mean]:
    """Return the mean styles of the classes of some images; () where these are of none."""
    labels = np.asarray(gallery.source.labels)[gallery.indices]
    known, counts = np.unique(labels[labels >= 0], return_counts=True)
    means = []
    for label in sorted(known[np.argsort(-counts, kind="stable")[:_MEANS]]):
        rows = np.flatnonzero(labels == label)
        some = np.stack([gallery.image(row) for row in rows[pick_evenly(len(rows), 4)]])
        look = styles.reference_look(gallery.codes[rows], some, [""])
        means.append(Mean(str(gallery.source.classes[label]), pictures.as_rgb(look.images[0]), look.codes[0]))
    return means


def _called(about: dict[str, str]) -> str:
    """Name an image by its class where that is known, else by its file."""
    return about.get("class") or PurePath(about["image"]).name


def _thumbnail(image: np.ndarray) -> str:
    """Return an image as data, of about one size: a small one is enlarged, or its pixels would be lost in coding."""
    picture = Image.fromarray(pictures.as_rgb(image))
    if (scale := _THUMBNAIL // max(picture.size)) > 1:
        picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    return encode.as_data(picture)
