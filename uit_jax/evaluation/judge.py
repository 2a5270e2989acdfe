"""Judge translations of labelled images by a classifier of true ones, as CLUIT does (arXiv:2105.03117, Section 4)."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.evaluation import classifier
from uit_jax.evaluation.classifier import Classifier, check_labels, read_all
from uit_jax.evaluation.context import Context, Evaluator, Scores, slices
from uit_jax.files import check_writable
from uit_jax.inference import batched
from uit_jax.method import Method
from uit_jax.paths import as_path
from uit_jax.types import PyTree

SCORE_PROTOCOL = (
    "{count} translations by the weights kept for inference: each of {images} labelled test images with {references} of"
    " another class, drawn at random from the same (seed {seed}; the same for every run on them); accuracy = share that"
    " the judge calls the reference's class, kept = share that it calls the content's; judge accuracy = on those test"
    " images themselves; unreadable images are left out"
)
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Judge(Evaluator):
    """What a classifier of true images calls the translations of labelled ones.

    Attributes:
      file: where the classifier is kept; where there is none yet, it is trained on the run's labelled training images.
      references: how many of another class each image is translated with.
      steps: of training a new classifier.
      progress: a `training.progress.Progress` that is told of these.
    """

    name = "judge"
    scores = {
        "judge_accuracy": "accuracy of the judge on true images",
        "translation_accuracy": "translations of the reference's class",
        "translation_kept": "  still of the content's class",
    }
    compares_labels = True

    file: Path | None = None
    references: int = 10
    steps: int = classifier.STEPS
    progress: Any = dataclasses.field(default=None, repr=False, compare=False)

    def needs(self, context: Context) -> str:
        if not context.trained.styled:
            return "this run's method has no styles, so that no reference could lend its class"
        if self.file is None:
            return "name the file in which the classifier is kept"
        return ""

    def run(self, context: Context) -> Scores:
        trained = context.trained
        judge = self.open(context)
        found, protocol = score(
            trained.method,
            trained.variables,
            context.source,
            judge,
            chosen=context.chosen,
            references=self.references,
            seed=context.seed,
        )
        told = f"{self.file} (checksum {judge.checksum}): {judge.protocol}"
        return Scores(found, {"judged_translations": protocol, "judge": told})

    def open(self, context: Context) -> Classifier:
        """Read the classifier, or train it and keep it.

        Raises UserError where it cannot judge the chosen test images, before anything is trained.
        """
        path = as_path(self.file)
        check_labels(context.source, context.chosen)
        if path.exists():
            judge = classifier.load(path)
            judge.check_fits(context.source, str(path))
            return judge
        if path.suffix != ".npz":
            raise UserError(f"--judge={path}: the name must end in .npz")
        check_writable(path.parent, "--judge")
        judge = classifier.train(context.training, context.source, steps=self.steps, progress=self.progress)
        classifier.save(path, judge)
        return judge


def score(
    method: Method,
    variables: PyTree,
    test: Source,
    judge: Classifier,
    *,
    chosen: np.ndarray | None = None,
    references: int = 10,
    seed: int = 0,
) -> tuple[dict[str, float], str]:
    """Translate every labelled test image with references of other classes, and let a classifier name the results.

    Args:
      method: one whose translations take a style.
      chosen: which images of `test` to use; by default all.
      references: of each image; all there are, where they are fewer.
      seed: of their draw, which depends on nothing else but the images.

    Returns:
      Scores, and the protocol as a sentence. `judge_accuracy` is the classifier's own on the test images used;
      `translation_accuracy` the share of translations that it calls the reference's class, `translation_kept` the
      share that it calls the content's.

    Raises:
      UserError: the images are not of the classifier's classes or not as it reads them, or not of two classes.
    """
    judge.check_fits(test, "the judge given")
    chosen = np.arange(len(test)) if chosen is None else np.asarray(chosen)
    check_labels(test, chosen)

    def style(images):
        return batched.read(method, "style", variables, images, batch_size=_BATCH)

    chosen, codes, found = read_all(test, chosen[test.labels[chosen] >= 0], "judge, test images", style, judge.read)
    check_labels(test, chosen)
    labels = test.labels[chosen]
    others = pairs(labels, references, seed)
    calls = []
    for rows in slices(len(chosen), _BATCH, "judge, translations"):
        contents = np.repeat(data.examples(test, chosen[rows]), others.shape[1], axis=0)
        drawn = batched.translate(method, variables, contents, codes[others[rows].ravel()], batch_size=_BATCH)
        calls.append(judge.read(drawn).reshape(-1, others.shape[1]))
    calls = np.concatenate(calls)
    scores = {
        "judge_accuracy": float((found == labels).mean()),
        "translation_accuracy": float((calls == labels[others]).mean()),
        "translation_kept": float((calls == labels[:, None]).mean()),
    }
    counts = dict(count=others.size, images=len(chosen), references=others.shape[1])
    return scores, SCORE_PROTOCOL.format(**counts, seed=seed)


def pairs(labels: np.ndarray, references: int, seed: int) -> np.ndarray:
    """Draw for each image different ones of other classes, a function of labels int [n] and seed: int64 [n, R].

    R is `references`, or the least number of images that are of another class than one is, where that is smaller.
    """
    rng = np.random.default_rng(seed)
    count = min(references, len(labels) - np.unique(labels, return_counts=True)[1].max())
    drawn = np.empty((len(labels), count), np.int64)
    for label in np.unique(labels):
        others = np.flatnonzero(labels != label)
        for row in np.flatnonzero(labels == label):
            drawn[row] = rng.choice(others, count, replace=False)
    return drawn
