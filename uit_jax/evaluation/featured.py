"""What evaluators of translations in a network's features share: which network, and images of sources read into it."""

import dataclasses
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.evaluation import networks, reading
from uit_jax.evaluation.classifier import read_all
from uit_jax.evaluation.context import Context, Evaluator
from uit_jax.evaluation.networks import FeatureNetwork
from uit_jax.evaluation.reading import Measured
from uit_jax.paths import PathLike

_REMEMBERED: dict[Any, tuple[np.ndarray, np.ndarray]] = {}


@dataclasses.dataclass(frozen=True)
class Featured(Evaluator):
    """An evaluator of translations in the features of the one network that is named, as `networks.choose` has it.

    Attributes:
      inception, judge_file: files of weights.
      random: the seed of random ones.
      resize: how images are brought to Inception.
    """

    inception: PathLike | None = None
    judge_file: PathLike | None = None
    random: int | None = None
    resize: str | None = None

    def network(self, channels: int) -> FeatureNetwork:
        """Return the network. Raises UserError."""
        named = dict(inception=self.inception, judge=self.judge_file, random=self.random)
        return networks.choose(**named, resize=self.resize, channels=channels)


def of_source(source: Source, chosen: np.ndarray, network: FeatureNetwork, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the chosen images of a source [n] are readable, and their features [m, D].

    Those of the last two sets are remembered: the checkpoints of a run are all held against the same true images.
    """
    ends = zlib.crc32(data.examples(source, chosen[[0, -1]]).tobytes())
    key = (source.spec, source.form, ends, chosen.tobytes(), network.sha256, network.resize)
    if key not in _REMEMBERED:
        found = read_all(source, chosen, what, network.read)
        while len(_REMEMBERED) > 1:
            _REMEMBERED.pop(next(iter(_REMEMBERED)))
        _REMEMBERED[key] = found
    return _REMEMBERED[key]


def of_images(told: str, parts: Iterable[np.ndarray], network: FeatureNetwork) -> Measured:
    """Return what is known of images that are made part by part, uint8 or uint16 [m, S, S, C]."""
    return measured(told, np.concatenate([network.read(part) for part in parts]), network)


def measured(told: str, features: np.ndarray, network: FeatureNetwork) -> Measured:
    """Return features [n, D] as `reading.measure` does those of a set. Raises UserError where one is not finite."""
    return Measured(told, reading.moments_of(features, network), features)


def facts(network: FeatureNetwork, context: Context) -> dict[str, Any]:
    """Return what a record says of the features."""
    return {"features": network.record(), "image_size": context.trained.image_size}
