"""Pseudo labels by k-means, on pixels or on features: what configurations C and D of TUNIT's Table 1 learn from.

The centres are found among the training images; held-out ones belong to the nearest of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from uit_jax import data, runs, tensors
from uit_jax.convert import lpips, resnet50
from uit_jax.data.reading import check_unreadable
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.evaluation import networks
from uit_jax.evaluation.clusters import agreement
from uit_jax.evaluation.context import chunks
from uit_jax.evaluation.kmeans import pixels
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.inference import batched
from uit_jax.metrics import clusters
from uit_jax.metrics.retrieval import directions
from uit_jax.nn import resnet50 as resnet50_network

WAYS = ("kmeans-pixels", "kmeans-features")
SIDE, LARGEST_SIDE = 32, 256
"""Of images whose pixels are compared, where nothing else is said and at most: all of them are in memory together."""

_STARTS = 10
_STYLE = "style:"
_PROTOCOL = (
    "k-means (k-means++, best of {starts} starts) on {what}, {count} clusters of {images} training images;"
    " {scored}; accuracy after the best one-to-one matching of clusters and classes (Hungarian), matched and scored on"
    " the same images; NMI normalised by the arithmetic mean of the entropies"
)


class Points(NamedTuple):
    """How images become points.

    Attributes:
      told: what the points are, in words.
      form: what images are read as: fields of `Form`.
      read: images uint8 or uint16 [n, H, W, C] -> points float32 [n, D].
    """

    told: str
    form: dict[str, Any]
    read: Callable[[np.ndarray], np.ndarray]


class Labelled(NamedTuple):
    """Training images and their pseudo labels.

    Attributes:
      source: the images.
      labels: the cluster of each, int64 [n].
      training: how far clusters and classes agree, `cluster_accuracy` and `cluster_nmi`; {} where there are no classes.
      held_out: the same of held-out images; {} where there are none.
      protocol: how the latter, or else the former, were come by, in a sentence.
    """

    source: Source
    labels: np.ndarray
    training: dict[str, float]
    held_out: dict[str, float]
    protocol: str


def label(
    spec: str,
    points: Points,
    count: int,
    *,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    max_unreadable_share: float = 0.01,
) -> Labelled:
    """Sort the training images of a source into `count` clusters: a function of images, points and seed.

    `seed` is also that of the procedural world. Raises UserError for a source that cannot be opened, is too small, or
    has too many images that are unreadable.
    """

    def opened(split: str) -> tuple[Source, np.ndarray]:
        source = data.open_source(spec, split=split, seed=seed, **{"max_pixels": max_pixels, **points.form})
        parts = [points.read(part) for part in chunks(source, np.arange(len(source)), f"{split} images")]
        check_unreadable(source, max_unreadable_share)
        return source, np.concatenate(parts)

    source, found = opened("train")
    if len(source) < count:
        raise UserError(f"{spec}: has {len(source)} images, too few for {count} clusters; lower --domains")
    fitted = clusters.kmeans(found, count, seed=seed, restarts=_STARTS, progress=_shown)
    held_out, scored = {}, "scored on these"
    if source.classes and "test" in data.splits(spec):
        test, found = opened("test")
        held_out = agreement("cluster", clusters.nearest(found, fitted.centres), test.labels)
        scored = f"{len(test)} test images belong to the nearest centre"
    about = dict(what=points.told, count=count, images=len(source), scored=scored)
    protocol = _PROTOCOL.format(starts=_STARTS, **about)
    own = agreement("cluster", fitted.assignment, source.labels)
    return Labelled(source, fitted.assignment, own, held_out, protocol)


def points_of(spec: str, by: str, *, side: int = SIDE, features: str = "") -> Points:
    """Return what a source's images are compared by.

    Args:
      by: one of `WAYS`.
      side: for pixels, to about which images are averaged.
      features: for features, "style:WORKDIR", the style codes of a trained run, as long as they are all the same
        length; or the weights' file: the FID's Inception-v3, or AlexNet or VGG-16 and lpips' own, with a comma between.

    Raises:
      UserError: there are no such features.
    """
    stored = data.stored_form(spec, "train")
    own = None if stored is None else {"size": 0, "channels": stored.channels}
    if by == "kmeans-pixels":
        return Points(f"pixels in [-1, 1] at about {side} px", own or {"size": side}, lambda x: pixels(x, side))
    if features.startswith(_STYLE):
        return _styles(features.removeprefix(_STYLE))
    network = _network(features.split(","))
    return Points(f"{network.name} (SHA-256 {network.sha256:.12})", own or {"size": network.side}, network.read)


def _styles(workdir: str) -> Points:
    run = runs.load(workdir)
    if not run.styled:
        raise UserError(f"--features={_STYLE}{workdir}: this run's method has no style codes; name another run")

    def read(images: np.ndarray) -> np.ndarray:
        return directions(batched.styles(run.method, run.variables, images))

    told = f"style codes, scaled to length 1, of a {type(run.method).__name__} run at step {run.step}"
    return Points(told, {"size": run.image_size, **run.form}, read)


def _network(files: list[str]) -> networks.FeatureNetwork:
    if not all(files):
        raise UserError("--features is missing: give style:WORKDIR, Inception's weights, or LPIPS' as FILE,FILE")
    names = [name for path in files for name in tensors.read(path)]
    if resnet50.is_one(names):
        return networks.FeatureNetwork(
            kind="resnet50",
            name="ResNet-50's features",
            weights=files[0],
            sha256=networks.sha256(files[0]),
            side=resnet50_network.SIDE,
            channels=3,
            resize="pillow_bilinear",
            function=resnet50_network.features,
            variables=batched.everywhere(resnet50.read(files[0])),
        )
    kind = lpips.kind_of(names)
    return networks.lpips_network(kind, *files) if kind else networks.inception_network(files[0])


def _shown(starts: range):
    return tqdm(starts, desc="k-means", unit="start", disable=None, leave=False)
