"""`uit evaluate`: score a trained run on images it has not seen."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from uit_jax import __version__, data
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.evaluation import classifier, oracle
from uit_jax.evaluation.classifier import Classifier
from uit_jax.files import check_writable, json_path, write_json
from uit_jax.inference import batched as inference
from uit_jax.inference import styles
from uit_jax.inference.styles import Trained
from uit_jax.metrics import clusters, retrieval
from uit_jax.training.progress import Progress
from uit_jax.verbs.arguments import natural, positive

PROTOCOL = (
    "pseudo domain = most probable cluster by the weights kept for inference, image resized to the model's size, not"
    " augmented; accuracy after the best one-to-one matching of clusters and classes (Hungarian), matched and scored"
    " on the same images; NMI normalised by the arithmetic mean of the entropies"
)
KMEANS_PROTOCOL = (
    "k-means (k-means++, best of 5 starts) on pixels in [-1, 1] at {size} px, as many clusters as {many},"
    " fitted on {count} training images, test images assigned to the nearest centre"
)
RETRIEVAL_PROTOCOL = (
    "share of {count} labelled test images whose nearest other one has the same label; nearest = largest cosine of the"
    " style codes by the weights kept for inference, image resized to the model's size, not augmented; chance = the"
    " share of pairs with one label; unreadable images are left out"
)
DOMAIN_PROTOCOL = (
    "{count} test images of A translated by the weights kept for inference; species and place judged by a network that"
    " was trained on true images and labels of the procedural world"
)
ORACLE_PROTOCOL = "{count} pairs of test images of different species, compared with the true translation of each"
_CHUNK = 256
_KMEANS_SIDE = 32
_KMEANS_IMAGES = 5000

_CAPTIONS = {
    "cluster_accuracy": "clustering accuracy (Hungarian)",
    "cluster_nmi": "clustering NMI",
    "style_retrieval": "nearest in style is of the same class",
    "style_retrieval_chance": "  by chance",
    "kmeans_accuracy": "accuracy of k-means on pixels",
    "kmeans_nmi": "NMI of k-means on pixels",
    "judge_accuracy": "accuracy of the judge on true images",
    "translation_accuracy": "translations of the reference's class",
    "translation_kept": "  still of the content's class",
    "translation_oracle_accuracy": "accuracy of the oracle on true images",
    "translation_species": "translations of the wanted species",
    "translation_position": "position error / that of random pairs",
    "translation_color": "colour error (RGB distance)",
    "translation_object": "  of the object",
    "translation_ground": "  of the ground",
    "translation_follows_reference": "colours nearer to reference than content",
    "translation_ground_follows_reference": "  of the ground alone",
    "translation_error": "pixel error against the true translation",
}


class Judging(NamedTuple):
    """How translations are to be judged: by the classifier in `file`, which is trained for `steps` if there is none.

    Each test image is translated with so many `references`.
    """

    file: Path
    references: int = classifier.REFERENCES
    steps: int = classifier.STEPS


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    path = json_path("--out", args.out or Path(args.workdir) / "evaluation.json")
    judging = None if args.judge is None else Judging(Path(args.judge), args.references, args.judge_steps)
    run = styles.open_run(args.workdir, args.checkpoint)
    how = dict(limit=args.images, kmeans=args.kmeans, pairs=args.pairs, judging=judging, seed=args.seed)
    result = evaluate(run, source=args.source, **how)
    write_json(path, result)
    print(table(result))
    print(f"\nwritten to {path}")
    return 0


def evaluate(
    run: Trained,
    *,
    source: str | None = None,
    limit: int | None = None,
    kmeans: bool = False,
    pairs: int = 600,
    judging: Judging | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a run; return a JSON-able record of scores and of how they were come by.

    Args:
      source: where the test images are; by default the run's own test source.
      limit: use at most so many of them, evenly spread.
      kmeans: also cluster pixels, as a baseline.
      pairs: on the procedural world, the number of translations compared with what they should be; 0 for none.
      judging: also judge translations by a classifier of true images, a method's with styles.
      seed: of the baseline's starts and of the draw of references.

    Raises:
      UserError: there are no test images, the baseline's or the judge's training images cannot be found, or nothing is
        known that the method could be scored by.
    """
    if run.styled:
        found = _score_styles(run, source, limit, kmeans, pairs, judging, seed)
    elif judging is not None:
        raise UserError("--judge: this run's method has no styles, so that no reference could lend its class")
    elif run.method.layout != "pair":
        raise UserError(f"--workdir={run.workdir}: this run's method has neither pseudo domains nor styles to score")
    elif kmeans or not pairs:
        option = "--kmeans" if kmeans else "--pairs=0"
        raise UserError(f"{option}: of this run's method only translations can be scored, for it has no pseudo domains")
    else:
        found = _score_domain(run, source, min(limit or pairs, pairs))
    return {**found, "step": run.step, "seed": seed, "training_seed": run.config.seed, "version": __version__}


def _score_styles(
    run: Trained,
    source: str | None,
    limit: int | None,
    kmeans: bool,
    pairs: int,
    judging: Judging | None,
    seed: int,
) -> dict[str, Any]:
    """Score how styles and pseudo domains tell classes apart, and translations on the procedural world."""
    wanted = run.config.data
    shape = dict(size=wanted.image_size, seed=run.config.seed, **run.form)
    test = data.open_test(wanted.source, source or wanted.test_source, **shape)
    chosen = np.linspace(0, len(test) - 1, min(limit or len(test), len(test))).astype(int)
    labels, world = test.labels[chosen], getattr(test, "world", None)
    judged = world is not None and run.form["channels"] == 3 and pairs > 0
    if not (run.clustered or judged or (labels >= 0).sum() > 1):
        raise UserError(
            f"{test.spec}: its images have no labels to score styles by, and what translations should be is known of"
            " the procedural world alone; see them by `uit translate` and `uit search`"
        )
    judge = None if judging is None else _open_judge(run, judging, test, chosen)
    read: dict[str, list] = {name: [] for name in ("style", *["cluster"] * run.clustered)}
    for images in _chunks(test, chosen, "test images"):
        for name, parts in read.items():
            parts.append(inference.read(run.method, name, run.variables, images, batch_size=min(64, len(chosen))))
    scores, protocol, found = {}, {}, {}
    classes, many = len(test.classes), "classes"
    if run.clustered:
        probabilities = np.concatenate(read["cluster"])
        domains, classes, many = probabilities.argmax(-1), probabilities.shape[-1], "pseudo domains"
        scores |= _agreement("cluster", domains, labels)
        protocol["clusters"] = PROTOCOL
        found["cluster_sizes"] = clusters.sizes(domains, classes).tolist()
    # What replaces an unreadable image is another one's double.
    known = (labels >= 0) & ~np.isin(chosen, list(test.unreadable))
    if known.sum() > 1:
        scores |= {
            "style_retrieval": retrieval.same_label_share(np.concatenate(read["style"])[known], labels[known]),
            "style_retrieval_chance": retrieval.same_label_chance(labels[known]),
        }
        protocol["style_retrieval"] = RETRIEVAL_PROTOCOL.format(count=known.sum())
    if kmeans:
        training = data.open_source(wanted.source, split="train", **shape)
        assignment, details = _kmeans_on_pixels(training, test, chosen, classes, seed)
        scores |= _agreement("kmeans", assignment, labels)
        protocol["kmeans"] = KMEANS_PROTOCOL.format(many=many, **details)
    if judged:
        judgement = oracle.score(run.method, run.variables, world, count=pairs)
        scores |= {f"translation_{name}": float(value) for name, value in judgement.items()}
        protocol["translations"] = ORACLE_PROTOCOL.format(count=pairs)
    if judge is not None:
        how = dict(chosen=chosen, references=judging.references, seed=seed)
        judgement, protocol["judged_translations"] = classifier.score(run.method, run.variables, test, judge, **how)
        protocol["judge"] = f"{judging.file} (checksum {judge.checksum}): {judge.protocol}"
        scores |= judgement
    return {
        "scores": scores,
        **found,
        "classes": list(test.classes),
        "images": len(chosen),
        "labelled_images": int((labels >= 0).sum()),
        "unreadable_images": len(test.unreadable),
        "source": test.describe(),
        "protocol": protocol,
    }


def _open_judge(run: Trained, judging: Judging, test: Source, chosen: np.ndarray) -> Classifier:
    """Read the classifier that judges, or train it on the run's labelled training images and keep it.

    Raises UserError where it cannot judge the chosen test images, before anything is trained.
    """
    classifier.check_labels(test, chosen)
    path, wanted = judging.file, run.config.data
    if path.exists():
        judge = classifier.load(path)
        judge.check_fits(test, str(path))
        return judge
    if path.suffix != ".npz":
        raise UserError(f"--judge={path}: the name must end in .npz")
    check_writable(path.parent, "--judge")
    shape = dict(size=wanted.image_size, seed=run.config.seed, **run.form)
    training = data.open_source(wanted.source, split="train", **shape)
    judge = classifier.train(training, test, steps=judging.steps, progress=Progress(judging.steps))
    classifier.save(path, judge)
    return judge


def _score_domain(run: Trained, source: str | None, count: int) -> dict[str, Any]:
    """Score the translations of a method without styles, where what they should be is known."""
    wanted = run.config.data
    places = (wanted.source, wanted.target, source or wanted.test_source, wanted.test_target)
    shape = dict(size=wanted.image_size, target_channels=wanted.target_channels, seed=run.config.seed, **run.form)
    pair = data.open_test_pair(*places, direction=wanted.direction, **shape)
    world, target = getattr(pair.a, "world", None), getattr(pair.b, "scenes", None)
    if world is None or target is None or (run.form["channels"], run.target_channels) != (3, 3):
        raise UserError(
            f"{pair.a.spec}: what their translations should be is not known, as it is of the procedural world's images"
            " in RGB; see them by `uit translate` and `uit inspect`"
        )
    chosen = np.linspace(0, len(pair.a) - 1, min(count, len(pair.a))).astype(int)
    scenes, species = pair.a.scenes[chosen], int(target.species[0])
    found = oracle.score_domain(run.method, run.variables, world, scenes, species)
    return {
        "scores": {f"translation_{name}": float(value) for name, value in found.items()},
        "classes": [world.classes[int(each)] for each in (scenes.species[0], species)],
        "images": len(chosen),
        "labelled_images": len(chosen),
        "unreadable_images": 0,
        "source": pair.a.describe(),
        "protocol": {"translations": DOMAIN_PROTOCOL.format(count=len(chosen))},
    }


def table(result: Mapping[str, Any]) -> str:
    """Lay a result out for a terminal."""
    images = f"{result['images']} ({result['labelled_images']} labelled)"
    rows = [("step", str(result["step"])), ("test images", images)]
    if sizes := result.get("cluster_sizes"):
        shown = " ".join(map(str, sizes[:20])) + (" ..." if len(sizes) > 20 else "")
        rows += [
            ("pseudo domains", f"{len(sizes)}, {sum(size > 0 for size in sizes)} of them used"),
            ("images in each", shown),
        ]
    rows += [(_CAPTIONS.get(name, name), f"{value:.4f}") for name, value in result["scores"].items()]
    width = max(len(name) for name, _ in rows)
    lines = [result["source"], "", *(f"{name:<{width}}  {value}" for name, value in rows)]
    if not result["labelled_images"]:
        lines.append("the images have no labels, so there is no accuracy")
    return "\n".join(lines)


def _agreement(name: str, domains: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Score domains [n] against labels [n], of which -1 is unknown; nothing where all are."""
    known = labels >= 0
    if not known.any():
        return {}
    return {
        f"{name}_accuracy": float(clusters.accuracy(domains[known], labels[known])),
        f"{name}_nmi": clusters.normalized_mutual_information(domains[known], labels[known]),
    }


def _kmeans_on_pixels(training: Source, test: Source, chosen: np.ndarray, count: int, seed: int):
    """Return the nearest of `count` centres of each chosen test image, int64 [n], and facts for the protocol."""
    fitted = np.linspace(0, len(training) - 1, min(_KMEANS_IMAGES, len(training))).astype(int)
    if len(fitted) < count:
        raise UserError(f"{training.spec}: {len(fitted)} images are too few for k-means with {count} clusters")
    points = np.concatenate([_pixels(images) for images in _chunks(training, fitted, "k-means, training images")])
    centres = clusters.kmeans(points, count, seed=seed).centres
    points = np.concatenate([_pixels(images) for images in _chunks(test, chosen, "k-means, test images")])
    side = int(np.sqrt(points.shape[1] / test.channels))
    return clusters.nearest(points, centres), {"size": side, "count": len(fitted)}


def _pixels(images: np.ndarray) -> np.ndarray:
    """Flatten images uint8 [n, S, S, C] to float32 in [-1, 1], averaged over blocks to 32 px at most."""
    n, size, _, channels = images.shape
    block = max(1, size // _KMEANS_SIDE)
    side = size // block
    images = images[:, : side * block, : side * block].reshape(n, side, block, side, block, channels)
    return (images.mean((2, 4), dtype=np.float32) / 127.5 - 1).reshape(n, -1)


def _chunks(source: Source, indices: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """Yield images uint8 [n, S, S, C], a few hundred at a time, behind a progress bar."""
    for start in tqdm(range(0, len(indices), _CHUNK), desc=what, unit="batch", disable=None, leave=False):
        yield data.examples(source, indices[start : start + _CHUNK])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uit evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    parser.add_argument("--source", help="test images, as in config.data.source (default: the run's test split)")
    parser.add_argument("--images", type=positive, help="use at most so many test images")
    parser.add_argument("--kmeans", action="store_true", help="also score k-means on pixels, as a baseline")
    parser.add_argument("--pairs", type=natural, default=600, help="procedural world: translations compared (0: none)")
    parser.add_argument(
        "--judge",
        metavar="FILE.npz",
        help="judge translations by the classifier kept there; where there is none yet, by one that is trained on the"
        " run's labelled training images, and kept there for other runs on them",
    )
    parser.add_argument(
        "--references",
        type=positive,
        default=classifier.REFERENCES,
        help=f"judge: references of another class for each test image (default: {classifier.REFERENCES})",
    )
    parser.add_argument(
        "--judge_steps",
        type=positive,
        default=classifier.STEPS,
        help=f"steps of training a new judge (default: {classifier.STEPS})",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of baseline and references (default: 0)")
    parser.add_argument("--out", help="the JSON file (default: WORKDIR/evaluation.json)")
    return parser
