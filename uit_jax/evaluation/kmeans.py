"""K-means on pixels, the baseline that needs no learning, and on the style codes that a run has learnt."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from uit_jax.errors import UserError
from uit_jax.evaluation.clusters import agreement
from uit_jax.evaluation.context import Context, Evaluator, Scores, chunks
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.metrics import clusters
from uit_jax.metrics.retrieval import directions

PROTOCOL = (
    "k-means (k-means++, best of 5 starts) on {what}, as many clusters as {many},"
    " fitted on {count} training images, test images assigned to the nearest centre"
)
_SIDE = 32
_IMAGES = 5000


@dataclasses.dataclass(frozen=True)
class KMeans(Evaluator):
    """Accuracy and NMI of as many clusters as there are pseudo domains, or else classes."""

    name = "kmeans"
    scores = {
        "kmeans_accuracy": "accuracy of k-means on pixels",
        "kmeans_nmi": "NMI of k-means on pixels",
        "kmeans_style_accuracy": "accuracy of k-means on style codes",
        "kmeans_style_nmi": "NMI of k-means on style codes",
    }
    compares_labels = True

    def needs(self, context: Context) -> str:
        if not (context.trained.clustered or context.trained.styled):
            return "of this run's method only translations can be scored, for it has no pseudo domains"
        if not (context.trained.clustered or context.source.classes):
            return f"{context.source.spec}: its images have no labels to compare with"
        return ""

    def run(self, context: Context) -> Scores:
        trained = context.trained
        if trained.clustered:
            count, many = context.clusters().shape[-1], "pseudo domains"
        else:
            count, many = len(context.source.classes), "classes"
        fitted = pick_evenly(len(context.training), _IMAGES)
        if len(fitted) < count:
            spec = context.training.spec
            raise UserError(f"{spec}: {len(fitted)} images are too few for k-means with {count} clusters")
        read: dict[str, Callable[[np.ndarray], np.ndarray]] = {"kmeans": pixels}
        # Of two domains, styles are of one, and labels are not.
        if trained.styled and len(trained.method.sides) == 1:
            read["kmeans_style"] = lambda images: directions(batched.styles(trained.method, trained.variables, images))
        points = {
            split: _points(chunks(source, chosen, f"k-means, {split} images"), read)
            for split, source, chosen in (
                ("training", context.training, fitted),
                ("test", context.source, context.chosen),
            )
        }
        size = math.isqrt(points["test"]["kmeans"].shape[1] // context.source.channels)
        what = {
            "kmeans": f"pixels in [-1, 1] at {size} px",
            "kmeans_style": "style codes by the weights kept for inference, scaled to length 1",
        }
        scores, protocol = {}, {}
        for name in read:
            centres = clusters.kmeans(points["training"][name], count, seed=context.seed).centres
            scores |= agreement(name, clusters.nearest(points["test"][name], centres), context.labels)
            protocol[name] = PROTOCOL.format(what=what[name], many=many, count=len(fitted))
        return Scores(scores, protocol)


def _points(
    parts: Iterable[np.ndarray], read: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> dict[str, np.ndarray]:
    """Read images uint8 or uint16 [m, H, W, C], part by part, in several ways into points [n, D]."""
    found = [{name: reader(images) for name, reader in read.items()} for images in parts]
    return {name: np.concatenate([each[name] for each in found]) for name in read}


def pixels(images: np.ndarray, side: int = _SIDE) -> np.ndarray:
    """Flatten images uint8 [n, H, W, C] to float32 in [-1, 1], averaged over blocks to about `side` px or less."""
    n, height, width, channels = images.shape
    block = max(1, min(height, width) // side)
    rows, columns = height // block, width // block
    images = images[:, : rows * block, : columns * block].reshape(n, rows, block, columns, block, channels)
    return (images.mean((2, 4), dtype=np.float32) / 127.5 - 1).reshape(n, -1)
