"""Judge translations of labelled images by a classifier of true ones, as CLUIT does (arXiv:2105.03117, Section 4)."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.data.sides import Sources
from uit_jax.data.sources.base import Source
from uit_jax.data.sources.joined import Joined
from uit_jax.errors import UserError, shown
from uit_jax.evaluation import classifier
from uit_jax.evaluation.classifier import Classifier, check_labels, read_all
from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.evaluation.translations import of_any, of_other_classes, translations
from uit_jax.files import check_writable
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.method import Method
from uit_jax.metrics import frechet, manifold
from uit_jax.paths import as_path
from uit_jax.types import PyTree

SCORE_PROTOCOL = (
    "{count} translations by the weights kept for inference: each of {images} labelled test images with {references} of"
    " another class, drawn at random from the same (seed {seed}; the same for every run on them); accuracy = share that"
    " the judge calls the reference's class, chance = what that would be were the same translations of the references"
    " in another order, kept = share that it calls the content's; judge accuracy = on those test images themselves;"
    " unreadable images are left out"
)
PAIR_PROTOCOL = (
    "{count} translations by the weights kept for inference: {images} test images of {source}, {styles}; accuracy ="
    " share that the judge calls {target}'s, kept = share that it calls {source}'s; judge accuracy = on the test images"
    " of both; unreadable images are left out"
)
FEATURES_PROTOCOL = (
    ". In the judge's features, so that it is no FID: Fréchet distance of the translations from {true} training images"
    " of {target} (floor = of its {held_out} test images from these, untranslated = of the contents as they are; each"
    " the mean of samples as large as the smallest of the three), and coverage = share of these training images among"
    " whose {neighbours} nearest there is a translation"
)
CLASSES_PROTOCOL = (
    ". In the judge's features, so that it is no FID, means over {classes} of the {of} classes of references, those"
    " with more than {neighbours} images: Fréchet distance of the translations towards a class from its training"
    " images, {true} in all (floor = of its test images from these, untranslated = of those of other classes; each the"
    " mean of samples as large as the smallest of the three), and coverage = share of these training images among whose"
    " {neighbours} nearest there is such a translation"
)
_NEIGHBOURS = 5
_TRUE, _FAKE, _SAMPLES = 2_000, 20_000, 10  # at most: true images of a class, translations to it, samples of one size
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Judge(Evaluator):
    """What a classifier of true images calls the translations of labelled ones, or of one domain's to another.

    Attributes:
      file: where the classifier is kept; where there is none yet, it is trained on the run's labelled training images,
        or to tell those of two domains apart.
      references: how many of another class each image is translated with.
      steps: of training a new classifier.
      progress: a `training.progress.Progress` that is told of these.
    """

    name = "judge"
    scores = {
        "judge_accuracy": "accuracy of the judge on true images",
        "translation_accuracy": "translations of the wanted class",
        "translation_chance": "  of references in another order",
        "translation_kept": "  still of the content's class",
        "translation_frechet": "Fréchet distance in the judge's features",
        "translation_frechet_floor": "  of true test images",
        "translation_frechet_untranslated": "  of the contents as they are",
        "translation_coverage": "  share of true images with translations near",
    }
    falling = (
        "translation_kept",
        "translation_frechet",
        "translation_frechet_floor",
        "translation_frechet_untranslated",
    )
    compares_labels = True

    file: Path | None = None
    references: int = 10
    steps: int = classifier.STEPS
    progress: Any = dataclasses.field(default=None, repr=False, compare=False)

    def needs(self, context: Context) -> str:
        sides = context.trained.method.sides
        if len(sides) == 1 and not context.trained.styled:
            return "this run's method has no styles, so that no reference could lend its class"
        if len(context.sources) < len(sides):
            target = context.trained.config.data.direction[-1]
            return f"there are no test images of {target}: give --source=FOLDER with testA and testB"
        if len({side.channels for side in sides}) > 1:
            return "a judge tells images of equal channels apart"
        if self.file is None:
            return "name the file in which the classifier is kept, by --judge=FILE.npz"
        return ""

    def run(self, context: Context) -> Scores:
        trained, how = context.trained, dict(references=self.references, seed=context.seed, chosen=context.chosen)
        model = trained.method, trained.variables
        if len(context.sources) == 2:
            direction = trained.config.data.direction
            judge = self.open(_both(context.sources, direction), lambda: _both(context.training_sides, direction))
            how |= dict(styled=trained.styled, direction=direction)
            true = None
            # A judge that is kept can do without the training images, which may lie elsewhere.
            with contextlib.suppress(UserError):
                *_, true = context.training_sides.values()
            found, protocol = score_pair(*model, context.sources, true, judge, **how)
        else:
            judge = self.open(context.source, lambda: context.training, context.chosen)
            with contextlib.suppress(UserError):
                true = context.training
                judge.check_fits(true, "the judge given")
                how |= dict(true=true)
            found, protocol = score(*model, context.source, judge, told=context.classes_told, **how)
        _doubt(judge, found["judge_accuracy"], as_path(self.file))
        told = f"{self.file} (checksum {judge.checksum}): {judge.protocol}"
        return Scores(found, {"judged_translations": protocol, "judge": told})

    def open(
        self, test: Source, training: Callable[[], Source], chosen: np.ndarray | slice = slice(None)
    ) -> Classifier:
        """Read the classifier, or train it and keep it.

        Raises UserError where it cannot judge the chosen ones of the test images, before anything is trained.
        """
        path = as_path(self.file)
        check_labels(test, chosen)
        if path.suffix != ".npz" or path.is_dir():
            raise UserError(f"--judge={path}: give the name of a file that ends in .npz")
        if path.exists():
            judge = classifier.load(path)
            judge.check_fits(test, str(path))
            return judge
        check_writable(path.parent, "--judge")
        judge = classifier.train(training(), test, steps=self.steps, progress=self.progress)
        classifier.save(path, judge)
        return judge


def _doubt(judge: Classifier, accuracy: float, file: Path) -> None:
    """Warn of a judge that is hardly better than chance, and was when it was trained: it may be of other images.

    All pairs of domains have the classes A and B, and another pair's may even be these exchanged.
    """
    if accuracy < (judge.accuracy + 1 / len(judge.classes)) / 2 < judge.accuracy:
        told = "%s: names %.0f%% of these true images right, of its own %.0f%%; if it is of others, name another file"
        _log.warning(told, shown(file), 100 * accuracy, 100 * judge.accuracy)


def _both(sources: Sources, direction: str) -> Source:
    """Return the images of two domains as one source of the classes A and B, as the data has them."""
    domains = list(sources.values())
    return Joined(dict(zip("AB", domains if direction == "AtoB" else domains[::-1], strict=True)))


def score(
    method: Method,
    variables: PyTree,
    test: Source,
    judge: Classifier,
    *,
    true: Source | None = None,
    chosen: np.ndarray | None = None,
    references: int = 10,
    seed: int = 0,
    told: bool = True,
) -> tuple[dict[str, float], str]:
    """Translate every labelled test image with references of other classes, and let a classifier name the results.

    Args:
      method: one whose translations take a style.
      true: other labelled images, which translations towards their classes should be like, if there are any.
      chosen: which images of `test` to use; by default all.
      references: of each image; all there are, where they are fewer.
      seed: of their draw, which depends on nothing else but the images.
      told: whether a method whose styles are of classes is told those of the references: it has learnt these.

    Returns:
      Scores, and the protocol as a sentence. `judge_accuracy` is the classifier's own on the test images used;
      `translation_accuracy` the share of translations that it calls the reference's class, `translation_chance` what
      that would be if the same translations were of references in another order, `translation_kept` the share that it
      calls the content's. The others are means over the classes of references: `translation_frechet`
      is the Fréchet distance of translations from the `true` images of the class in the judge's features,
      `translation_frechet_floor` that of the class's test images, `translation_frechet_untranslated` that of those of
      other classes; `translation_coverage` the share of `true` images with a translation among their nearest.

    Raises:
      UserError: the images are not of the classifier's classes or not as it reads them, or not of two classes.
    """
    judge.check_fits(test, "the judge given")
    chosen = np.arange(len(test)) if chosen is None else np.asarray(chosen)
    check_labels(test, chosen)
    reader = functools.partial(batched.styles, method, variables)
    labelled = reader if told else lambda images, _: reader(images)
    chosen, found, features, codes = read_all(
        test, chosen[test.labels[chosen] >= 0], "judge, test images", judge.read, judge.features, labelled=labelled
    )
    check_labels(test, chosen)
    labels = test.labels[chosen]
    others = of_other_classes(labels, references, seed)
    drawn = translations(method, variables, test, chosen, codes, others, "judge, translations")
    read = [(judge.read(images), judge.features(images)) for images in drawn]
    calls, translated = (np.concatenate(part).reshape(*others.shape, -1) for part in zip(*read, strict=True))
    calls = calls[..., 0]
    scores = {
        "judge_accuracy": float((found == labels).mean()),
        "translation_accuracy": float((calls == labels[others]).mean()),
        "translation_chance": float(sum((calls == k).mean() * (labels[others] == k).mean() for k in np.unique(labels))),
        "translation_kept": float((calls == labels[:, None]).mean()),
    }
    counts = dict(count=others.size, images=len(chosen), references=others.shape[1])
    also, told_also = {}, ""
    if true is not None:
        also, told_also = _likeness_of_classes(judge, true, translated, labels[others], features, labels)
    return scores | also, SCORE_PROTOCOL.format(**counts, seed=seed) + told_also


def score_pair(
    method: Method,
    variables: PyTree,
    sources: Sources,
    true: Source | None,
    judge: Classifier,
    *,
    direction: str = "AtoB",
    styled: bool = False,
    chosen: np.ndarray | None = None,
    references: int = 10,
    seed: int = 0,
) -> tuple[dict[str, float], str]:
    """Translate the test images of the first side, and let a classifier of the classes A and B name the results.

    Args:
      sources: the test images of both sides.
      true: other images of the second, which the translations should be like, if there are any.
      direction: as `data.direction`: which of A and B is the first side.
      styled: whether each is translated with as many `references` of B, drawn by `seed`, or as it is.
      chosen: which images of the first side to use; by default all.

    Returns:
      Scores, and the protocol as a sentence; as `score` does. `translation_frechet` is the Fréchet distance of the
      translations from `true` in the judge's features, `translation_frechet_floor` that of the second side's images,
      `translation_frechet_untranslated` that of the contents as they are; `translation_coverage` the share of `true`
      images with a translation among their nearest.

    Raises:
      UserError: the images are not as the classifier reads them.
    """
    first, second = sources.values()
    judge.check_fits(_both(sources, direction), "the judge given")
    chosen = np.arange(len(first)) if chosen is None else np.asarray(chosen)
    chosen, found, contents = read_all(first, chosen, "judge, contents", judge.read, judge.features)
    readers = [judge.read, judge.features]
    if styled:
        readers.append(functools.partial(batched.styles, method, variables))
    _, of_second, held_out, *codes = read_all(second, np.arange(len(second)), "judge, references", *readers)
    others = np.zeros((len(chosen), 1), np.int64)
    if styled:
        others = of_any(len(chosen), len(codes[0]), references, seed)
    drawn = translations(method, variables, first, chosen, codes[0] if styled else None, others, "judge, translations")
    read = [(judge.read(images), judge.features(images)) for images in drawn]
    calls, features = map(np.concatenate, zip(*read, strict=True))
    source, _, target = direction.partition("to")
    before, after = (judge.classes.index(name) for name in (source, target))
    scores = {
        "judge_accuracy": float(np.concatenate([found == before, of_second == after]).mean()),
        "translation_accuracy": float((calls == after).mean()),
        "translation_kept": float((calls == before).mean()),
    }
    of_others = f"each in the styles of {others.shape[1]} of {target}, drawn at random (seed {seed})"
    about = dict(count=calls.size, images=len(chosen), styles=of_others if styled else "as they are")
    also, told_also = {}, ""
    if true is not None:
        rows, wanted = read_all(true, pick_evenly(len(true), _TRUE), "judge, true images", judge.features)
        if also := _likeness(wanted, features, contents, held_out):
            counts = dict(true=len(rows), held_out=len(held_out), neighbours=_NEIGHBOURS)
            told_also = FEATURES_PROTOCOL.format(target=target, **counts)
    return scores | also, PAIR_PROTOCOL.format(source=source, target=target, **about) + told_also


def _likeness_of_classes(
    judge: Classifier,
    true: Source,
    translated: np.ndarray,
    wanted: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
) -> tuple[dict[str, float], str]:
    """Compare, class by class, features of translations [n, R, D] towards classes int [n, R], and of the test images
    [n, D] of classes int [n], with those of true ones; the means, and how that was done."""
    of_class = {label: np.flatnonzero(true.labels == label) for label in np.unique(wanted)}
    chosen = np.concatenate([rows[pick_evenly(len(rows), _TRUE)] for rows in of_class.values()])
    if not len(chosen):
        return {}, ""
    rows, true_features = read_all(true, np.sort(chosen), "judge, true images", judge.features)
    found = []
    for label in of_class:
        own = labels == label
        of_true = true_features[true.labels[rows] == label]
        found.append(_likeness(of_true, translated[wanted == label], features[~own], features[own]))
    if not (scored := [each for each in found if each]):
        return {}, ""
    means = {name: float(np.mean([each[name] for each in scored])) for name in scored[0]}
    counts = dict(classes=len(scored), of=len(found), true=len(rows), neighbours=_NEIGHBOURS)
    return means, CLASSES_PROTOCOL.format(**counts)


def _likeness(
    wanted: np.ndarray, translated: np.ndarray, contents: np.ndarray, held_out: np.ndarray
) -> dict[str, float]:
    """Compare features of translations [n, D], contents [l, D] and held-out images [m, D] with those of true ones.

    Of a handful of images there is no distribution, and nothing is returned. A distance is the larger the fewer images
    there are, so that all three are compared in samples of one size.
    """
    size = min(map(len, (translated, contents, held_out)))
    if min(size, len(wanted)) <= _NEIGHBOURS:
        return {}
    like = frechet.moments(wanted)

    def apart(features: np.ndarray) -> float:
        samples = len(features) // size
        parts = (features[first::samples][:size] for first in range(min(samples, _SAMPLES)))
        return float(np.mean([frechet.distance(frechet.moments(part), like) for part in parts]))

    return {
        "translation_frechet": apart(translated),
        "translation_frechet_floor": apart(held_out),
        "translation_frechet_untranslated": apart(contents),
        "translation_coverage": manifold.coverage(wanted, translated[pick_evenly(len(translated), _FAKE)], _NEIGHBOURS),
    }
