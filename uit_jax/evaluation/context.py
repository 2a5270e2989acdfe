"""What an evaluator is, and what several share: a trained run, its test images, what was read of them in one pass."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from tqdm import tqdm

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.runs import Trained

_CHUNK = 256
_OF_CLASS = "style, of the class"


class Scores(NamedTuple):
    """What an evaluator found.

    Attributes:
      scores: numbers by name.
      protocol: how they were come by, in a sentence, by the name of a group of them.
      facts: what else belongs into the record of an evaluation.
    """

    scores: dict[str, float]
    protocol: dict[str, str]
    facts: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One way to score a trained run; its fields are its options.

    Class attributes:
      name: what it is called in a config or a command.
      scores: what it may score, and a caption of each.
      falling: those of them that are the better the smaller.
      reads: the read-outs that it needs of every test image.
      compares_labels: whether its scores are of the images' labels.
    """

    name: ClassVar[str]
    scores: ClassVar[Mapping[str, str]]
    falling: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()
    compares_labels: ClassVar[bool] = False

    def needs(self, context: "Context") -> str:
        """Say in words what is missing for it to run, "" where nothing is; nothing is read or trained for that."""
        return ""

    def run(self, context: "Context") -> Scores:
        """Score a run. Raises UserError."""
        raise NotImplementedError


class Context:
    """A trained run and its test images, as evaluators see them.

    Attributes:
      trained: the run.
      sources: the test images by the method's sides; in messages and counts the first of them stand for all.
      source: these first ones.
      chosen: int64 [n], those of them to be used.
      labels: int32 [n], of the chosen; -1 unknown.
      seed: of whatever an evaluator draws.
      shown: whether there are progress bars.
    """

    def __init__(
        self,
        trained: Trained,
        sources: Mapping[str, Source],
        chosen: np.ndarray,
        *,
        seed: int = 0,
        reads: Sequence[str] = (),
        shown: bool = True,
    ):
        """Prepare to read; `reads` are the read-outs that will be asked for, `shown` says whether there are bars."""
        self.trained, self.sources, self.chosen, self.seed = trained, sources, chosen, seed
        self.source = next(iter(sources.values()))
        self.labels = self.source.labels[chosen]
        self._reads, self.shown = reads, shown
        self._found: dict[str, np.ndarray] = {}

    def clusters(self) -> np.ndarray:
        """Return the probabilities of the pseudo domains of each chosen image: float32 [n, K]."""
        return self._read("cluster")

    def codes(self) -> np.ndarray:
        """Return the style code of each chosen image: float32 [n, D]."""
        return self._read("style")

    @property
    def classes_told(self) -> bool:
        """Whether the method is told the classes of images: where its styles are of classes, of these and no others."""
        # A run that learnt from a file of labels has classes of its own.
        return self.trained.method.sampled_by_class and not self.trained.config.data.labels

    def class_codes(self) -> np.ndarray:
        """Return the codes that `codes` does; where classes are told, each is of its image's known class."""
        method, variables = self.trained.method, self.trained.variables
        if not self.classes_told:
            return self.codes()
        if _OF_CLASS not in self._found:
            rows = slices(len(self.chosen), _CHUNK, "test images, by class", shown=self.shown)
            parts = [(data.examples(self.source, self.chosen[each]), self.labels[each]) for each in rows]
            self._found[_OF_CLASS] = np.concatenate([batched.styles(method, variables, *part) for part in parts])
        return self._found[_OF_CLASS]

    def known(self) -> np.ndarray:
        """Say which of the chosen images have a label and, as far as they were read, can be: bool [n]."""
        # What replaces an unreadable image is another one's double.
        return (self.labels >= 0) & ~np.isin(self.chosen, list(self.source.unreadable))

    @functools.cached_property
    def training_sides(self) -> Mapping[str, Source]:
        """The training images by the method's sides, at the size of the test images. Raises UserError."""
        config, method = self.trained.config, self.trained.method
        how = dict(split="train", size=self.trained.image_size, seed=config.seed)
        return data.open_sides(method.sides, config.data, **how)

    @property
    def training(self) -> Source:
        """The training images of the first side. Raises UserError."""
        return next(iter(self.training_sides.values()))

    def _read(self, name: str) -> np.ndarray:
        """Return a read-out of the chosen images; all that will be asked for are read in the same pass."""
        if name not in self._found:
            method, variables = self.trained.method, self.trained.variables
            wanted = {name, *self._reads} & set(method.readouts) - set(self._found)
            parts: dict[str, list] = {each: [] for each in sorted(wanted)}
            for images in chunks(self.source, self.chosen, "test images", shown=self.shown):
                for each, found in parts.items():
                    found.append(batched.read(method, each, variables, images, batch_size=min(64, len(self.chosen))))
            self._found |= {each: np.concatenate(found) for each, found in parts.items()}
        return self._found[name]


def open_context(
    trained: Trained,
    *,
    source: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    reads: Sequence[str] = (),
) -> Context:
    """Open a run's test images, or those of another source; of more than `limit` that many, evenly spread.

    Of two domains, a source is both or the one that is translated.

    Raises:
      UserError: there are none.
    """
    wanted, method = trained.config.data, trained.method
    if not source:
        if not wanted.source and not wanted.test_source:
            raise UserError("this run names no images of its own: name some by --source")
        key = "test_source" if wanted.test_source else "source"
        data.check_there(f"data.{key}", getattr(wanted, key), "--source")
    sources = data.open_test_sides(
        method.sides, wanted, source or "", size=trained.image_size, seed=trained.config.seed
    )
    first = next(iter(sources.values()))
    return Context(trained, sources, pick_evenly(len(first), limit), seed=seed, reads=reads)


def chunks(source: Source, indices: np.ndarray, what: str, *, shown: bool = True) -> Iterator[np.ndarray]:
    """Yield some images of a source, uint8 or uint16 [m, S, S, C], a few hundred at a time, behind a progress bar."""
    for rows in slices(len(indices), _CHUNK, what, shown=shown):
        yield data.examples(source, indices[rows])


def slices(count: int, size: int, what: str, *, shown: bool = True) -> Iterator[slice]:
    """Yield slices of some rows, behind a progress bar."""
    for start in tqdm(range(0, count, size), desc=what, unit="batch", disable=None if shown else True, leave=False):
        yield slice(start, start + size)
