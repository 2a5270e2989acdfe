"""How like true images of a domain the translations to it are: CUT's protocol (arXiv:2007.15651, Section 4.1).

All translations of the test images are held against all test images of the domain.
"""

import dataclasses
import functools

import numpy as np

from uit_jax.evaluation import comparison
from uit_jax.evaluation.classifier import read_all
from uit_jax.evaluation.context import Context, Scores
from uit_jax.evaluation.featured import Featured, facts, measured, of_images, of_source
from uit_jax.evaluation.translations import of_any, translations
from uit_jax.inference import batched

PROTOCOL = (
    "{count} translations by the weights kept for inference, of {images} test images of {source}, {styles}, against all"
    " {true} {split} images of {target}, read at {size} px; "
)
_NAMES = "frechet_distance kernel_distance kernel_distance_low kernel_distance_high".split()


@dataclasses.dataclass(frozen=True)
class Likeness(Featured):
    """Distances of the translations from true images of the domain they go to, and how much of one is in the other.

    Attributes:
      split: the true images: "test" as in CUT's protocol, or "train".
      references: of a method with styles, how many images of the domain each is translated with.
    """

    name = "likeness"
    scores = {
        **dict(zip(("fid", "kid", "kid_low", "kid_high"), ("FID", "KID", "  95 % interval from", "  to"), strict=True)),
        **dict(zip(_NAMES, ("Fréchet distance", "kernel distance", "  95 % interval from", "  to"), strict=True)),
        "precision": "precision of translations",
        "recall": "recall of true images",
        "density": "density of translations",
        "coverage": "coverage of true images",
    }
    falling = ("fid", "kid", "frechet_distance", "kernel_distance")

    split: str = "test"
    references: int = 1

    def needs(self, context: Context) -> str:
        if len(context.trained.method.sides) < 2:
            return "this run has no domain that its translations go to; name tunit_classes or cluit_classes"
        if len(context.sources) < 2:
            target = context.trained.config.data.direction[-1]
            return f"there are no test images of {target}: give --source=FOLDER with testA and testB"
        return "" if self.split in ("train", "test") else f"split={self.split!r}: the true images are train or test"

    def run(self, context: Context) -> Scores:
        trained, (first, second) = context.trained, context.sources.values()
        network = self.network(second.channels)
        if self.split == "train":
            *_, true_source = context.training_sides.values()
        else:
            true_source = second
        _, features = of_source(true_source, np.arange(len(true_source)), network, "true images")
        true = measured(true_source.spec, features, network)
        contents, codes, others, told = self._drawn(context)
        drawn = translations(trained.method, trained.variables, first, contents, codes, others, shown=context.shown)
        fakes = of_images("translations", drawn, network)
        scores, protocol = comparison.likeness(true, fakes, network)
        source, _, target = trained.config.data.direction.partition("to")
        about = dict(count=others.size, images=len(contents), styles=told, true=len(features), split=self.split)
        begin = PROTOCOL.format(**about, source=source, target=target, size=trained.image_size)
        protocol = {name: begin + text for name, text in protocol.items()}
        return Scores(scores, protocol, facts(network, context))

    def _drawn(self, context: Context):
        """Return the readable contents [n], the codes of references [m, D] or None, which of them each takes [n, R]."""
        trained, (first, second) = context.trained, context.sources.values()
        (contents,) = read_all(first, context.chosen, "contents")
        if not trained.styled:
            return contents, None, np.zeros((len(contents), 1), np.int64), "as they are"
        reader = functools.partial(batched.styles, trained.method, trained.variables)
        _, codes = read_all(second, np.arange(len(second)), "references", reader)
        others = of_any(len(contents), len(codes), self.references, context.seed)
        told = f"each in the styles of {others.shape[1]} of the target's, drawn at random (seed {context.seed})"
        return contents, codes, others, told
