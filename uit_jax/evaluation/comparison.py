"""Two sets of images compared in a network's features, with no model at all: `uit evaluate --a=FOLDER --b=FOLDER`.

A is the reference, such as true images, B what is held against it, such as generated ones.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from uit_jax.evaluation import manifest, reading
from uit_jax.evaluation.networks import FeatureNetwork, choose
from uit_jax.evaluation.reading import Measured
from uit_jax.files import pick_evenly
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.inference.inputs import Images
from uit_jax.metrics import frechet, kernel, manifold
from uit_jax.paths import PathLike

NEIGHBOURS = 5
MOST = 10_000
"""Of more images than these, so many are looked among for neighbours."""

FRECHET = (
    "Fréchet distance of the normal distributions that have the means and unbiased covariances (float64) of {features}"
    " of A and of B; root by eigenvalues, nothing added to the diagonal"
)
KERNEL = (
    "squared maximum mean discrepancy of {features} of A and of B, unbiased, kernel (x.y / D + 1)^3; mean over"
    " {subsets} draws of {size} of each without replacement (seed {seed}), and the interval that holds 95 % of draws"
)
MANIFOLD = (
    "{features} of A (true) and B (generated), at most {most} of each, evenly spread: precision = share of B in the ball"
    " of some of A that reaches to its {k}-th nearest of A, recall = the same exchanged, density = mean number of balls"
    " of A that one of B is in, over {k}, coverage = share of A with some of B in its ball"
)


def compare(
    a: Images,
    b: Images,
    network: FeatureNetwork | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    save_statistics: PathLike | None = None,
    max_pixels: int = MAX_PIXELS,
    bar: bool = True,
) -> dict[str, Any]:
    """Compare two sets of images; return a JSON-able record of scores and of how they were come by.

    Args:
      a, b: folders, packed sets, files of reference statistics (.npz), or images as they are handed in everywhere.
      network: in whose features; by default `networks.choose()`.
      limit: use at most so many images of each, evenly spread.
      seed: of the draws of the kernel distance.
      save_statistics: an .npz file to which those of `a` are written.
      max_pixels: files whose images have more are unreadable.
      bar: whether progress is shown.

    Raises:
      UserError: a set has no two readable images, or statistics are of other features.
    """
    network = network or choose()
    how = dict(limit=limit, max_pixels=max_pixels, bar=bar)
    first, second = (reading.measured(images, name, network, **how) for images, name in ((a, "a"), (b, "b")))
    if save_statistics is not None:
        reading.save_statistics(save_statistics, first, network)
    scores, protocol = likeness(first, second, network, seed=seed)
    return {
        "scores": scores,
        "captions": captions(network),
        "protocol": protocol,
        "features": network.record(),
        "a": first.record(),
        "b": second.record(),
        "seed": seed,
        "versions": manifest.versions(),
    }


def likeness(
    true: Measured, others: Measured, network: FeatureNetwork, *, seed: int = 0
) -> tuple[dict[str, float], dict[str, str]]:
    """Score how like true images others are, as far as it is known of both: scores by name, protocols by their groups.

    Of statistics there is no more than the Fréchet distance; of few images no neighbourhoods.
    """
    fid, kid = names(network)
    scores = {fid: frechet.distance(true.moments, others.moments)}
    protocol = {fid: FRECHET.format(features=network.name)}
    if true.features is None or others.features is None:
        return scores, protocol
    found = kernel.scores(_in_order(true.features), _in_order(others.features), seed=seed)
    scores |= {kid: found.mean, f"{kid}_low": found.low, f"{kid}_high": found.high}
    protocol[kid] = KERNEL.format(features=network.name, subsets=found.subsets, size=found.size, seed=seed)
    near = [features[pick_evenly(len(features), MOST)] for features in (true.features, others.features)]
    if min(map(len, near)) > NEIGHBOURS:
        scores |= manifold.scores(*near, NEIGHBOURS)
        protocol["neighbours"] = MANIFOLD.format(features=network.name, most=MOST, k=NEIGHBOURS)
    return scores, protocol


def names(network: FeatureNetwork) -> tuple[str, str]:
    """Return what the Fréchet and the kernel distance are called in a record."""
    return ("fid", "kid") if network.defines_fid else ("frechet_distance", "kernel_distance")


def captions(network: FeatureNetwork) -> dict[str, str]:
    """Return what the scores of `likeness` are called in a table."""
    fid, kid = names(network)
    in_features = "" if network.defines_fid else f" in {network.name}"
    return {
        fid: "FID" if network.defines_fid else f"Fréchet distance{in_features}",
        kid: "KID" if network.defines_fid else f"kernel distance{in_features}",
        f"{kid}_low": "  95 % of draws from",
        f"{kid}_high": "  to",
        "precision": "precision",
        "recall": "recall",
        "density": "density",
        "coverage": "coverage",
    }


def table(record: Mapping[str, Any]) -> str:
    """Lay a record of `compare` out for a terminal."""
    about = record["features"]
    rows = [(name.upper(), _told(record[name])) for name in ("a", "b")]
    rows.append(("features", f"{about['weights']}, SHA-256 {about['sha256'][:12]}"))
    rows.append(("images read at", f"{about['side']} px, {about['resize']}"))
    rows += [(record["captions"].get(name, name), f"{value:.5g}") for name, value in record["scores"].items()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _told(side: Mapping[str, Any]) -> str:
    """Say in a line which images a set has."""
    count = f"{side['images']} images" if "images" in side else "statistics of an unknown number of images"
    return f"{side['source']}: {count}" + f", {side['unreadable_images']} unreadable" * bool(side["unreadable_images"])


def _in_order(features: np.ndarray) -> np.ndarray:
    """Sort features, so that what is drawn of them does not depend on the order of the images."""
    return features[np.lexsort((features[:, -1], features[:, 0]))]
