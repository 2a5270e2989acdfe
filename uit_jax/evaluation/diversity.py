"""How much translations of one image differ: StarGAN v2's LPIPS diversity (arXiv:1912.01865, Section 4).

Without LPIPS weights the same mean is taken of distances in a feature network, under its own name.
"""

import dataclasses
import functools

import numpy as np

from uit_jax.evaluation import perceptual
from uit_jax.evaluation.classifier import read_all
from uit_jax.evaluation.context import Context, Scores
from uit_jax.evaluation.featured import Featured, facts
from uit_jax.evaluation.translations import of_any, translations
from uit_jax.inference import batched
from uit_jax.paths import PathLike

PROTOCOL = (
    "mean over {images} test images, and over all pairs of {outputs} translations of each by the weights kept for"
    " inference, in {styles}, of {distance}, at {size} px"
)


@dataclasses.dataclass(frozen=True)
class Diversity(Featured):
    """The mean distance of pairs of translations of the same image.

    Attributes:
      lpips: files of LPIPS weights; by default those that `UIT_LPIPS` names.
      lpips_network: "alex" or "vgg".
      outputs: translations of each image.
      sampled: whether styles are sampled, and not of references, where a method samples them.
    """

    name = "diversity"
    scores = {
        "lpips_diversity": "LPIPS between translations of one image",
        "feature_diversity": "distance of features between translations of one image",
    }

    lpips: tuple[PathLike, ...] = ()
    lpips_network: str = "alex"
    outputs: int = 10
    sampled: bool = False

    def needs(self, context: Context) -> str:
        if not context.trained.styled:
            return "this run's method has no styles: an image has one translation"
        if self.sampled and not context.trained.sampled:
            return "this run's method samples no styles; take those of references"
        return "" if self.outputs > 1 else f"outputs={self.outputs}: a pair takes two"

    def run(self, context: Context) -> Scores:
        trained, source = context.trained, context.source
        lpips = perceptual.opened(*self.lpips, kind=self.lpips_network)
        (contents,) = read_all(source, context.chosen, "contents")
        codes, others, told = self._styles(context, contents)
        drawn = translations(
            trained.method, trained.variables, source, contents, codes, others, shown=context.shown
        )
        outputs, means = others.shape[1], []
        if lpips is None:
            network = self.network(list(context.sources.values())[-1].channels)
            name, distance = "feature_diversity", f"Euclidean distances of {network.name}"
            about = facts(network, context)
        else:
            name, distance, about = "lpips_diversity", f"LPIPS v0.1 ({lpips.kind})", {"lpips": lpips.record()}
        for part in drawn:
            found = part if lpips else network.read(part)
            among = lpips.among if lpips else apart
            means += [among(each).mean() for each in found.reshape(-1, outputs, *found.shape[1:])]
        protocol = PROTOCOL.format(
            images=len(contents), outputs=outputs, styles=told, distance=distance, size=trained.image_size
        )
        return Scores({name: float(np.mean(means))}, {name: protocol}, about)

    def _styles(self, context: Context, contents: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
        """Return codes [m, D], and which of them each of the contents [n] takes [n, R]."""
        trained, count, seed = context.trained, len(contents), context.seed
        if self.sampled:
            codes = batched.sample(trained.method, trained.variables, self.outputs, seed)
            return codes, np.tile(np.arange(self.outputs), (count, 1)), f"the same sampled styles (seed {seed})"
        source = list(context.sources.values())[-1]
        reader = functools.partial(batched.styles, trained.method, trained.variables)
        labelled = reader if context.classes_told else lambda images, _: reader(images)
        found, codes = read_all(source, np.arange(len(source)), "references", labelled=labelled)
        labels = source.labels[found]
        if len(context.sources) > 1 or len(np.unique(labels[labels >= 0])) < 2:
            return codes, of_any(count, len(codes), self.outputs, seed), f"the styles of test images (seed {seed})"
        others = _of_one_class(context.source.labels[contents], labels, self.outputs, seed)
        return codes, others, f"the styles of test images of one other class, drawn at random (seed {seed})"


def _of_one_class(labels: np.ndarray, among: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw for each image another class, and different images of that: int64 [n, R], R no more than any class has."""
    rng, classes = np.random.default_rng(seed), np.unique(among[among >= 0])
    members = {label: np.flatnonzero(among == label) for label in classes}
    count = min(count, *map(len, members.values()))
    drawn = (rng.choice(classes[classes != label]) for label in labels)
    return np.stack([rng.choice(members[label], count, replace=False) for label in drawn])


def apart(features: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of all pairs of features [n, D]."""
    first, second = np.triu_indices(len(features), 1)
    return np.linalg.norm(features[first] - features[second], axis=1)
