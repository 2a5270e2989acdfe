"""StarGAN v2's protocol (arXiv:1912.01865, Section 4): from every class to every other, by latents and by references.

Of each pair of classes all test images of the one are drawn several times as of the other: how much these differ, and
how far they all are from the other's training images. The scores are means over the pairs.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from uit_jax.errors import UserError
from uit_jax.evaluation import perceptual
from uit_jax.evaluation.context import Context, Scores
from uit_jax.evaluation.diversity import apart
from uit_jax.evaluation.featured import Featured, facts, measured, of_source
from uit_jax.evaluation.networks import FeatureNetwork
from uit_jax.evaluation.perceptual import Perceptual
from uit_jax.evaluation.translations import translations
from uit_jax.inference import batched
from uit_jax.metrics import frechet
from uit_jax.metrics.frechet import Moments
from uit_jax.paths import PathLike

PROTOCOL = (
    "mean over {pairs} ordered pairs of classes, all test images of the one drawn {outputs} times as of the other,"
    " {how} (seed {seed}), by the weights kept for inference, at {size} px: {what}"
)
_DISTANCE = "the Fréchet distance in {features} of all of these from all training images of that class"
_APART = "the mean {distance} of all pairs of translations of one image"
_HOW = {
    "latent": "by styles sampled in that class, for each anew",
    "reference": "in the styles of that class's test images, drawn for each",
}
_TOLD = {"latent": "sampled styles", "reference": "styles of references"}


@dataclasses.dataclass(frozen=True)
class Guided(Featured):
    """Distance and diversity by sampled styles, where the method samples them by class, and by those of references.

    Attributes:
      lpips: files of LPIPS weights; by default those that `UIT_LPIPS` names; without any, features are compared.
      lpips_network: "alex" or "vgg".
      outputs: translations of each image to each class.
    """

    name = "guided"
    scores = {
        f"{kind}_{score}": f"{caption}, by {told}"
        for kind, told in _TOLD.items()
        for score, caption in {
            "fid": "FID",
            "frechet": "Fréchet distance",
            "lpips": "LPIPS between translations",
            "apart": "distance of features between translations",
        }.items()
    }
    falling = tuple(f"{kind}_{score}" for kind in _TOLD for score in ("fid", "frechet"))
    compares_labels = True

    lpips: tuple[PathLike, ...] = ()
    lpips_network: str = "alex"
    outputs: int = 10

    def needs(self, context: Context) -> str:
        if len(context.trained.method.sides) > 1 or not context.trained.styled:
            return "this run's method takes no styles of classes"
        sizes = np.unique(context.labels[context.labels >= 0], return_counts=True)[1]
        if len(sizes) < 2:
            return f"{context.source.spec}: its images have no labels of two classes"
        if not 2 <= self.outputs <= sizes.min():
            return f"outputs={self.outputs}: a pair takes two, and a class has {sizes.min()} test images"
        return ""

    def run(self, context: Context) -> Scores:
        network, lpips = self.network(context.source.channels), perceptual.opened(*self.lpips, kind=self.lpips_network)
        references = self._references(context)
        true = self._true(context, np.unique(references.labels).tolist(), network)
        told = f"LPIPS v0.1 ({lpips.kind})" if lpips else f"Euclidean distance of {network.name}"
        what = {
            "fid" if network.defines_fid else "frechet": _DISTANCE.format(features=network.name),
            "lpips" if lpips else "apart": _APART.format(distance=told),
        }
        scores, protocol = {}, {}
        for kind in _HOW:
            if kind == "latent" and not (context.trained.sampled and context.trained.method.sampled_by_class):
                continue
            found = []
            for pair in itertools.permutations(true, 2):
                how = dict(seed=context.seed + len(found), sampled=kind == "latent")
                drawn = self._drawn(context, references, *pair, **how)
                found.append(_score(drawn, true[pair[1]], self.outputs, network, lpips))
            about = dict(pairs=len(found), outputs=self.outputs, seed=context.seed, size=context.trained.image_size)
            for (name, told), mean in zip(what.items(), np.mean(found, axis=0), strict=True):
                scores[f"{kind}_{name}"] = float(mean)
                protocol[f"{kind}_{name}"] = PROTOCOL.format(**about, how=_HOW[kind], what=told)
        return Scores(scores, protocol, facts(network, context) | ({"lpips": lpips.record()} if lpips else {}))

    def _references(self, context: Context) -> "_References":
        codes, known = context.class_codes(), context.known()
        return _References(context.chosen[known], codes[known], context.labels[known])

    def _true(self, context: Context, labels: list[int], network: FeatureNetwork) -> dict[int, Moments]:
        """Return the moments of the training images of each class."""
        training = context.training
        chosen, features = of_source(training, np.flatnonzero(training.labels >= 0), network, "true images")
        parts = {label: features[training.labels[chosen] == label] for label in labels}
        if few := [training.classes[label] for label, part in parts.items() if len(part) < 2]:
            raise UserError(f"{training.spec}: {few[0]} has too few images for a distribution")
        return {label: measured(training.spec, part, network).moments for label, part in parts.items()}

    def _drawn(
        self, context: Context, references: "_References", source: int, target: int, *, seed: int, sampled: bool
    ) -> Iterator[np.ndarray]:
        """Yield the images of one class drawn as of another, `outputs` of each one after another."""
        model, rng = (context.trained.method, context.trained.variables), np.random.default_rng(seed)
        contents = references.chosen[references.labels == source]
        if sampled:
            codes = batched.sample(*model, len(contents) * self.outputs, seed, label=target)
            others = np.arange(len(codes)).reshape(-1, self.outputs)
        else:
            codes, members = references.codes, np.flatnonzero(references.labels == target)
            others = np.stack([rng.choice(members, self.outputs, replace=False) for _ in contents])
        what = f"{context.source.classes[source]} to {context.source.classes[target]}"
        return translations(*model, context.source, contents, codes, others, what, shown=context.shown)


class _References(NamedTuple):
    """The readable test images with labels: their indices [n], style codes [n, D] and labels [n]."""

    chosen: np.ndarray
    codes: np.ndarray
    labels: np.ndarray


def _score(
    drawn: Iterator[np.ndarray], true: Moments, outputs: int, network: FeatureNetwork, lpips: Perceptual | None
) -> tuple[float, float]:
    """Return how far translations are from the true moments, and those of one image from each other."""
    features, means = [], []
    for part in drawn:
        features.append(network.read(part))
        found, among = (part, lpips.among) if lpips else (features[-1], apart)
        means += [float(among(each).mean()) for each in found.reshape(-1, outputs, *found.shape[1:])]
    fakes = measured("translations", np.concatenate(features), network)
    return frechet.distance(true, fakes.moments), float(np.mean(means))
