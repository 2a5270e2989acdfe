"""K-means on pixels: the baseline that knows no styles and needs no learning."""

import dataclasses
import math

import numpy as np

from uit_jax.errors import UserError
from uit_jax.evaluation.clusters import agreement
from uit_jax.evaluation.context import Context, Evaluator, Scores, chunks
from uit_jax.listing import pick_evenly
from uit_jax.metrics import clusters

PROTOCOL = (
    "k-means (k-means++, best of 5 starts) on pixels in [-1, 1] at {size} px, as many clusters as {many},"
    " fitted on {count} training images, test images assigned to the nearest centre"
)
_SIDE = 32
_IMAGES = 5000


@dataclasses.dataclass(frozen=True)
class KMeans(Evaluator):
    """Accuracy and NMI of as many clusters as there are pseudo domains, or else classes."""

    name = "kmeans"
    scores = {"kmeans_accuracy": "accuracy of k-means on pixels", "kmeans_nmi": "NMI of k-means on pixels"}
    compares_labels = True

    def needs(self, context: Context) -> str:
        if not (context.trained.clustered or context.trained.styled):
            return "of this run's method only translations can be scored, for it has no pseudo domains"
        if not (context.trained.clustered or context.source.classes):
            return f"{context.source.spec}: its images have no labels to compare with"
        return ""

    def run(self, context: Context) -> Scores:
        if context.trained.clustered:
            count, many = context.clusters().shape[-1], "pseudo domains"
        else:
            count, many = len(context.source.classes), "classes"
        fitted = pick_evenly(len(context.training), _IMAGES)
        if len(fitted) < count:
            spec = context.training.spec
            raise UserError(f"{spec}: {len(fitted)} images are too few for k-means with {count} clusters")
        points = [pixels(images) for images in chunks(context.training, fitted, "k-means, training images")]
        centres = clusters.kmeans(np.concatenate(points), count, seed=context.seed).centres
        parts = [pixels(images) for images in chunks(context.source, context.chosen, "k-means, test images")]
        points = np.concatenate(parts)
        size = math.isqrt(points.shape[1] // context.source.channels)
        protocol = PROTOCOL.format(size=size, many=many, count=len(fitted))
        return Scores(agreement("kmeans", clusters.nearest(points, centres), context.labels), {"kmeans": protocol})


def pixels(images: np.ndarray, side: int = _SIDE) -> np.ndarray:
    """Flatten images uint8 [n, H, W, C] to float32 in [-1, 1], averaged over blocks to about `side` px or less."""
    n, height, width, channels = images.shape
    block = max(1, min(height, width) // side)
    rows, columns = height // block, width // block
    images = images[:, : rows * block, : columns * block].reshape(n, rows, block, columns, block, channels)
    return (images.mean((2, 4), dtype=np.float32) / 127.5 - 1).reshape(n, -1)
