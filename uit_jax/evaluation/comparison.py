"""Two sets of images compared in a network's features, with no model at all: `uit evaluate --a=FOLDER --b=FOLDER`.

A is the reference, such as true images, B what is held against it, such as generated ones.
"""

from collections.abc import Mapping
from typing import Any

from uit_jax.evaluation import manifest, reading
from uit_jax.evaluation.networks import FeatureNetwork, choose
from uit_jax.evaluation.reading import Measured
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.inference.inputs import Images
from uit_jax.listing import pick_evenly
from uit_jax.metrics import frechet, kernel, manifold
from uit_jax.paths import PathLike

NEIGHBOURS = 5
MOST = 10_000
"""Of more images than these, so many are compared with one another: time and memory grow with the square."""

FRECHET = (
    "Fréchet distance of the normal distributions that have the means and unbiased covariances (float64) of {features}"
    " of A and of B; root by eigenvalues, nothing added to the diagonal"
)
KERNEL = (
    "squared maximum mean discrepancy of {features} of A and of B, at most {most} of each, evenly spread; unbiased,"
    " over all pairs, kernel (x.y / D + 1)^3; its interval is that of 95 %: 1.96 standard errors by the jackknife"
)
MANIFOLD = (
    "{features} of A (true) and B (generated), at most {most} of each, evenly spread: precision = share of B in the"
    " ball of some of A that reaches to its {k}-th nearest of A, recall = the same exchanged, density = mean number of"
    " balls of A that one of B is in, over {k}, coverage = share of A with some of B in its ball"
)


def compare(
    a: Images,
    b: Images,
    network: FeatureNetwork | None = None,
    *,
    limit: int | None = None,
    save_statistics: PathLike | None = None,
    max_pixels: int = MAX_PIXELS,
    bar: bool = True,
) -> dict[str, Any]:
    """Compare two sets of images; return a JSON-able record of scores and of how they were come by.

    Args:
      a, b: folders, packed sets, files of reference statistics (.npz), or images as they are handed in everywhere.
      network: in whose features; by default `networks.choose()`.
      limit: use at most so many images of each, evenly spread.
      save_statistics: an .npz file to which those of `a` are written.
      max_pixels: files whose images have more are unreadable.
      bar: whether progress is shown.

    Raises:
      UserError: a set has no two readable images, or statistics are of other features.
    """
    network = network or choose()
    how = dict(limit=limit, max_pixels=max_pixels)
    # Both before either is read, which may take long.
    opened = {name: reading.opened(images, name, network, **how) for name, images in (("a", a), ("b", b))}
    first, second = (
        reading.measure(found, network, f"images of {name.upper()}", bar=bar) for name, found in opened.items()
    )
    if save_statistics is not None:
        reading.save_statistics(save_statistics, first, network)
    scores, protocol = likeness(first, second, network)
    return {
        "scores": scores,
        "captions": captions(network),
        "protocol": protocol,
        "features": network.record(),
        "a": first.record(),
        "b": second.record(),
        "versions": manifest.versions(),
    }


def likeness(
    true: Measured, others: Measured, network: FeatureNetwork
) -> tuple[dict[str, float], dict[str, str]]:
    """Score how like true images others are, as far as it is known of both: scores by name, protocols by their groups.

    Of statistics there is no more than the Fréchet distance; of a handful of images too.
    """
    fid, kid = names(network)
    scores = {fid: frechet.distance(true.moments, others.moments)}
    protocol = {fid: FRECHET.format(features=network.name)}
    if true.features is None or others.features is None:
        return scores, protocol
    some = [features[pick_evenly(len(features), MOST)] for features in (true.features, others.features)]
    if min(map(len, some)) > NEIGHBOURS:
        about = dict(features=network.name, most=f"{MOST:,}", k=NEIGHBOURS)
        scores |= dict(zip((kid, f"{kid}_low", f"{kid}_high"), kernel.interval(*some), strict=True))
        scores |= manifold.scores(*some, NEIGHBOURS)
        protocol |= {kid: KERNEL.format(**about), "neighbours": MANIFOLD.format(**about)}
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
        f"{kid}_low": "  95 % interval from",
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

