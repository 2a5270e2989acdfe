"""What the model of a run makes of images: their styles and pseudo domains, and translations between two styles."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from uit_jax import data
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.metrics import clusters
from uit_jax.report.pictures import Sheet, sheet, strip
from uit_jax.runs import Trained

MEMBERS = 12
"""Images of each pseudo domain that are shown."""

_DOMAINS = 100  # of a model with more, those with most images are shown
_STRIPS, _FRAMES = 4, 7
_NEIGHBOURS = 30  # of t-SNE, where there are enough images


class Strip(NamedTuple):
    """A content drawn in styles from one image's to another's: a picture as data, and what it shows."""

    data: str
    told: str


class Domain(NamedTuple):
    """A pseudo domain: its number, how many images it has, and rows of those most sure to be in it."""

    number: int
    size: int
    members: list[int]


@dataclasses.dataclass
class Seen:
    """What a model makes of n images.

    Attributes:
      told: which images, of which checkpoint.
      names: of the images.
      sheet: thumbnails of them.
      points: float64 [n, 2], their styles in two dimensions; None where these are too few to be laid out.
      labels: int [n], indices into `classes`, -1 unknown.
      classes: names; () where nothing is labelled.
      assigned: int [n], pseudo domains; None where the method knows none.
      pseudo_domains: those with most images, the largest first; `empty` of all hold none.
      strips: translations from one style to another.
    """

    told: str
    names: list[str]
    sheet: Sheet
    points: np.ndarray | None
    labels: np.ndarray
    classes: tuple[str, ...]
    assigned: np.ndarray | None = None
    pseudo_domains: list[Domain] = dataclasses.field(default_factory=list)
    empty: int = 0
    strips: list[Strip] = dataclasses.field(default_factory=list)

    @property
    def confusion(self) -> tuple[np.ndarray, list[str], list[int]] | None:
        """Count labelled images by class and pseudo domain: int64 [classes, domains], and the names of both.

        Domains stand in the order of the classes that they are matched with one to one, as accuracy has it. None where
        there are not both kinds.
        """
        known = self.labels >= 0
        if self.assigned is None or not known.any():
            return None
        counts = clusters.contingency(self.assigned[known], self.labels[known])
        matched = clusters.matching(counts)
        found = [domain for domain in range(len(counts)) if counts[domain].any()]
        found.sort(key=lambda domain: (matched.get(domain, len(self.classes)), domain))
        classes = [row for row in range(counts.shape[1]) if counts[:, row].any()]
        return counts[np.ix_(found, classes)].T, [self.classes[row] for row in classes], found


def look(run: Trained, source: str | None, limit: int) -> Seen | None:
    """Ask a run's model about at most `limit` images of a source, by default of its own, as `Trained.search` has them.

    None where the method has neither styles nor pseudo domains. Raises UserError where the images cannot be read.
    """
    if not run.styled and not run.clustered:
        return None
    source = run.searched(source)
    chosen = pick_evenly(len(source), limit)
    images = data.examples(source, chosen)
    # What replaces an unreadable image is another one's double.
    readable = ~np.isin(chosen, list(source.unreadable))
    chosen, images = chosen[readable], images[readable]
    seen = Seen(
        f"{len(chosen)} of {source.describe()}; {run.title}",
        [str(source.names[i]) for i in chosen],
        sheet(images),
        None,
        np.asarray(source.labels)[chosen],
        tuple(map(str, source.classes)),
    )
    if run.clustered:
        probabilities = _read(run, "cluster", images)
        seen.assigned = probabilities.argmax(-1)
        seen.pseudo_domains, seen.empty = domains(probabilities)
    if run.styled:
        codes = _read(run, "style", images)
        seen.points = in_two_dimensions(codes)
        seen.strips = list(_strips(run, images, seen))
    return seen


def domains(probabilities: np.ndarray) -> tuple[list[Domain], int]:
    """Return the pseudo domains with most images by the probabilities [n, K] of these, and how many hold none."""
    assigned = probabilities.argmax(-1)
    sizes = clusters.sizes(assigned, probabilities.shape[-1])
    found = []
    for number in np.argsort(-sizes, kind="stable")[:_DOMAINS]:
        rows = np.flatnonzero(assigned == number)
        sure = rows[np.argsort(-probabilities[rows, number], kind="stable")]
        if len(rows):
            found.append(Domain(int(number), len(rows), sure[:MEMBERS].tolist()))
    return found, int((sizes == 0).sum())


def in_two_dimensions(codes: np.ndarray) -> np.ndarray | None:
    """Lay style codes [n, D] out in the plane, near ones near each other: t-SNE (van der Maaten and Hinton 2008).

    None where they are fewer than 5, or not finite. Codes of 2 entries stay as they are; equal ones lie at 0.
    """
    if len(codes) < 5 or not np.isfinite(codes).all():
        return None
    codes = codes.astype(np.float64)
    if codes.shape[1] <= 2:
        return np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
    # Of equal codes scikit-learn's start is 0 / 0, which ends the process; t-SNE's own scale is that of the neighbours.
    centred, size = codes - codes.mean(0), np.abs(codes).max()
    if (scale := centred.std()) <= 1e-6 * size:
        return np.zeros((len(codes), 2))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    neighbours = min(_NEIGHBOURS, (len(codes) - 1) / 3)
    # From its principal components: the same codes are laid out in the same way.
    kind = TSNE(perplexity=neighbours, init="pca", random_state=0, n_jobs=1)
    # Its threads wait for each other by spinning: on a busy machine they take many times as long as one.
    with threadpool_limits(1):
        return kind.fit_transform((centred / scale).astype(np.float32)).astype(np.float64)


def _read(run: Trained, name: str, images: np.ndarray) -> np.ndarray:
    return batched.read(run.method, name, run.variables, images, batch_size=min(64, len(images)))


def _strips(run: Trained, images: np.ndarray, seen: Seen) -> Iterator[Strip]:
    """Yield contents drawn in styles from one image's to another's, of two pseudo domains, else of two classes."""
    groups = seen.labels if seen.assigned is None else seen.assigned
    rows = [int(np.flatnonzero(groups == each)[0]) for each in np.unique(groups)[: _STRIPS + 1]]
    if len(rows) < 2:
        rows = pick_evenly(len(images), _STRIPS + 1).tolist()
    ends = list(itertools.pairwise(rows))[:_STRIPS]
    contents = _contents(run, images, max(1, len(ends)))
    for content, (a, b) in zip(contents, ends, strict=False):
        frames = run.interpolate(content, images[a], images[b], _FRAMES)
        told = " to ".join(_called(seen, row) for row in (a, b))
        yield Strip(strip([content, images[a], *frames, images[b]]), told)


def _called(seen: Seen, row: int) -> str:
    """Name an image's group: its pseudo domain, else its class, else itself."""
    if seen.assigned is not None:
        return f"pseudo domain {seen.assigned[row]}"
    return seen.classes[seen.labels[row]] if seen.labels[row] >= 0 else seen.names[row]


def _contents(run: Trained, images: np.ndarray, count: int) -> np.ndarray:
    """Return what is translated: of one side some of the images, of two some of the first."""
    if len(run.method.sides) > 1:
        first = run.contents()
        return data.examples(first, np.resize(pick_evenly(len(first), count), count))
    # Those that stand beside the ends, where there are any others.
    return images[np.resize(pick_evenly(len(images), count + 2)[1:-1], count) if len(images) > 2 else [0] * count]
