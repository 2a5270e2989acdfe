"""Sets of images read into a feature network: a few at a time, of any sizes, into features and their moments.

Pixels are in memory a few batches at once, however many images there are.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from uit_jax import tensors
from uit_jax.data.batches import ahead
from uit_jax.data.opening import find_part, parts
from uit_jax.data.sources.base import Form
from uit_jax.errors import UserError, shown
from uit_jax.evaluation.context import slices
from uit_jax.evaluation.networks import FeatureNetwork
from uit_jax.files import write_whole
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.inference import inputs
from uit_jax.inference.inputs import Images
from uit_jax.listing import pick_evenly
from uit_jax.metrics import frechet
from uit_jax.metrics.frechet import Moments, Normal
from uit_jax.paths import PathLike, as_path

STATISTICS = ".npz"
_ROWS = 512
_TELLING = ("sha256", "side", "channels", "resize")
_log = logging.getLogger(__name__)


class Pictures(NamedTuple):
    """Images of any sizes, by their number.

    Attributes:
      told: where they are, for records and messages.
      chosen: int64 [n], the numbers of those to be used.
      read: number -> image uint8 [H, W, C]; raises one of `inputs.UNREADABLE`.
      called: number -> which image it is.
    """

    told: str
    chosen: np.ndarray
    read: Callable[[int], np.ndarray]
    called: Callable[[int], str]


class Measured(NamedTuple):
    """What is known of a set of images.

    Attributes:
      told: where it is.
      moments: of the features of those read.
      features: float32 [n, D]; None where only the moments are known.
      unreadable: how many were left out.
    """

    told: str
    moments: Moments | Normal
    features: np.ndarray | None = None
    unreadable: int = 0

    def record(self) -> dict[str, Any]:
        """Return what a result says of the set."""
        count = {"images": self.moments.count} if isinstance(self.moments, Moments) else {}
        return {"source": self.told, **count, "unreadable_images": self.unreadable}


def measured(
    images: Images, name: str, network: FeatureNetwork, *, keep: bool = True, bar: bool = True, **how: Any
) -> Measured:
    """Open and measure images, or read their statistics; `name` is what messages call them, `how` as for opening.

    Raises UserError.
    """
    found = opened(images, name, network, **how)
    return measure(found, network, f"images of {name.upper()}", keep=keep, bar=bar)


def opened(images: Images, name: str, network: FeatureNetwork, **how: Any) -> "Pictures | Measured":
    """List images without reading them, or read their statistics; `how` as `open_pictures` has it. Raises UserError."""
    if _is_statistics(images):
        return load_statistics(images, network)
    return open_pictures(images, name, network.channels, **how)


def open_pictures(
    images: Images, name: str, channels: int, *, limit: int | None = None, max_pixels: int = MAX_PIXELS
) -> Pictures:
    """List images without reading them.

    A folder is read as a data source is: all images in it and below it, in the order of their paths, hidden and system
    files passed over; "FOLDER#CLASS" is one of its folders; a packed set is one too. In Python images may be handed in
    as everywhere. Of more than `limit` so many are taken, evenly spread.

    Raises:
      UserError: there are none, or a folder holds several splits.
    """
    if isinstance(images, PathLike):
        spec = str(images)
        if found := parts(spec):
            raise UserError(f"--{name}={spec}: holds the parts {', '.join(found)}; name the folder of one")
        source = find_part(spec, "train", Form(0, channels, max_pixels=max_pixels))
        chosen = pick_evenly(len(source), limit)
        return Pictures(spec, chosen, source.image, lambda index: source.names[index])
    given = inputs.gather(images, name)
    form = dict(channels=channels, depth=8, resample="bilinear", max_pixels=max_pixels)
    chosen = pick_evenly(len(given.items), limit)
    return Pictures(given.name, chosen, lambda index: inputs.pixels(given.items[index], **form), given.told)


def measure(
    pictures: Pictures | Measured, network: FeatureNetwork, what: str, *, keep: bool = True, bar: bool = True
) -> Measured:
    """Read images into features and their moments; what is measured already is returned as it is.

    `what` names the progress bar, `keep` says whether the features themselves are wanted, `bar` whether it is shown.

    Those that cannot be read are named in a warning, and left out. Raises UserError where two cannot be read.
    """
    if isinstance(pictures, Measured):
        return pictures
    moments, kept = None, []
    for found in _together(map(network.features, ahead(_prepared(pictures, network, what, bar)))):
        part = moments_of(found, network)
        moments = part if moments is None else frechet.merge(moments, part)
        if keep:
            kept.append(found)
    if moments is None or moments.count < 2:
        raise UserError(f"{pictures.told}: a distribution needs 2 readable images at least")
    unreadable = len(pictures.chosen) - moments.count
    return Measured(pictures.told, moments, np.concatenate(kept) if keep else None, unreadable)


def _prepared(pictures: Pictures, network: FeatureNetwork, what: str, bar: bool) -> Iterator[np.ndarray]:
    """Yield batches [m, S, S, C] of the readable images, as the network reads them."""

    def prepared(index: int) -> np.ndarray | None:
        try:
            return network.prepare(pictures.read(index))
        except inputs.UNREADABLE as error:
            _log.warning("unreadable image left out: %s (%s)", shown(pictures.called(index)), error)
            return None

    with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        for rows in slices(len(pictures.chosen), network.batch, what, shown=bar):
            images = [each for each in pool.map(prepared, pictures.chosen[rows].tolist()) if each is not None]
            if images:
                yield np.stack(images)


def _together(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield some arrays as fewer of about `_ROWS` rows: moments of a handful cost as much as those of many."""
    waiting: list[np.ndarray] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= _ROWS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def moments_of(features: np.ndarray, network: FeatureNetwork) -> Moments:
    """Return the moments of features [n, D]. Raises a UserError where one is not finite."""
    if not np.isfinite(features).all():
        raise UserError(f"{network.weights}: gives features that are not finite; give the file of a whole network")
    return frechet.moments(features)


def _is_statistics(images: Images) -> bool:
    """Tell whether a name is that of a file of reference statistics."""
    return isinstance(images, PathLike) and as_path(images).suffix == STATISTICS


def save_statistics(path: PathLike, measured: Measured, network: FeatureNetwork) -> None:
    """Write mean and covariance as pytorch-fid reads them ("mu", "sigma"), and of which features they are.

    Raises UserError, also for what was read from such a file.
    """
    moments = measured.moments
    if not isinstance(moments, Moments):
        raise UserError(f"{measured.told}: is of an unknown number of images; statistics are written of images")
    about = {"images": np.array(moments.count), "network": np.array(json.dumps(network.record()))}
    write_whole(path, lambda partial: np.savez(partial, mu=moments.mean, sigma=moments.covariance, **about))


def load_statistics(path: PathLike, network: FeatureNetwork) -> Measured:
    """Read statistics that `save_statistics` or pytorch-fid wrote; the latter's name no network, which is trusted.

    Raises:
      UserError: they are none, or of other features.
    """
    found = tensors.read(path)
    mean, covariance = (np.asarray(found.get(name, np.zeros(())), np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not np.isfinite([mean.sum(), covariance.sum()]).all():
        raise UserError(f"{path}: holds no mu [D] and sigma [D, D]; write statistics by --save_statistics")
    theirs, ours = json.loads(str(found.get("network", "{}"))), network.record()
    if len(mean) != network.entries or any(theirs.get(name, ours[name]) != ours[name] for name in _TELLING):
        kind = theirs.get("name", "other features")
        raise UserError(f"{path}: is of {kind}, not of {network.name} in the same form; write it by --save_statistics")
    count = int(found.get("images", 0))
    known = Normal(mean, covariance) if count < 2 else Moments(count, mean, covariance * (count - 1))
    return Measured(str(path), known)
