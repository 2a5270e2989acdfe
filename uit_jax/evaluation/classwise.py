"""Mean class-wise Fréchet distance of translations, in the protocols of TUNIT and of CLUIT.

Of every class, the translations in its images' styles are held against its true training images.
"""

import dataclasses

import numpy as np

from uit_jax.errors import UserError
from uit_jax.evaluation import comparison
from uit_jax.evaluation.context import Context, Scores
from uit_jax.evaluation.featured import Featured, facts, measured, of_images, of_source
from uit_jax.evaluation.translations import of_any, translations
from uit_jax.metrics import frechet, manifold

PROTOCOL = (
    "mean over {classes} classes of the Fréchet distance in {features} of translations in the style of the class's test"
    " images from all its training images ({true}), both read at {size} px, not mirrored; {how}; by the weights kept"
    " for inference"
)
Pairs = dict[int, tuple[np.ndarray, np.ndarray]]
"""For each class, which test images are translated [n], and each in the style of which of the class [n]."""


@dataclasses.dataclass(frozen=True)
class Classwise(Featured):
    """The mean over classes, and what it is made of; a subclass says which image meets which, as whose paper does."""

    reads = ("style",)
    compares_labels = True

    @property
    def paper(self) -> str:
        return _paper(self.name)

    def pairs(self, labels: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[Pairs, str]:
        """Draw who meets whom, by the labels of the test images [n] and the sizes of the training classes [K]."""
        raise NotImplementedError

    def needs(self, context: Context) -> str:
        if len(context.trained.method.sides) > 1:
            return "this run translates between two domains; name likeness"
        if not context.trained.styled:
            return "this run's method has no styles, so that no reference could lend its class"
        if len(np.unique(context.labels[context.labels >= 0])) < 2:
            return f"{context.source.spec}: its images have no labels of two classes"
        return ""

    def run(self, context: Context) -> Scores:
        network = self.network(context.source.channels)
        codes, known = context.class_codes(), context.known()
        codes, labels, chosen = codes[known], context.labels[known], context.chosen[known]
        training = context.training
        of_true, features = of_source(training, np.flatnonzero(training.labels >= 0), network, "true images")
        true_labels = training.labels[of_true]
        sizes = np.bincount(true_labels, minlength=len(training.classes))
        pairs, how = self.pairs(labels, sizes, context.seed)
        method, variables = context.trained.method, context.trained.variables
        found: dict[str, dict[str, float]] = {}
        for label, (contents, references) in pairs.items():
            how_shown = dict(what=f"translations to {training.classes[label]}", shown=context.shown)
            drawn = translations(
                method, variables, context.source, chosen[contents], codes, references[:, None], **how_shown
            )
            fakes = of_images("translations", drawn, network)
            true = measured(training.spec, features[true_labels == label], network)
            if min(true.moments.count, fakes.moments.count) < 2:
                raise UserError(f"{training.spec}: {training.classes[label]} has too few images for a distribution")
            found[training.classes[label]] = _class_scores(true, fakes)
        fid = "fid" if network.defines_fid else "frechet"
        scores = {f"mean_class_{fid}_{self.paper}": float(np.mean([each["distance"] for each in found.values()]))}
        for name in ("density", "coverage"):
            if all(name in each for each in found.values()):
                mean = float(np.mean([each[name] for each in found.values()]))
                scores[f"mean_class_{name}_{self.paper}"] = mean
        about = dict(classes=len(found), features=network.name, true=int(sizes.sum()), size=context.trained.image_size)
        protocol = {self.name: PROTOCOL.format(**about, how=how)}
        return Scores(scores, protocol, {self.name: found, **facts(network, context)})


def _class_scores(true, fakes) -> dict[str, float]:
    """Score one class's translations."""
    found = {"distance": frechet.distance(true.moments, fakes.moments), "translations": fakes.moments.count}
    if min(len(true.features), len(fakes.features)) > comparison.NEIGHBOURS:
        near = manifold.scores(true.features, fakes.features, comparison.NEIGHBOURS)
        found |= {name: near[name] for name in ("density", "coverage")}
    return found


def _paper(name: str) -> str:
    return name.removesuffix("_classes")


def _captions(name: str) -> dict[str, str]:
    paper, told = _paper(name), _paper(name).upper()
    return {
        f"mean_class_fid_{paper}": f"mean class-wise FID ({told}'s protocol)",
        f"mean_class_frechet_{paper}": f"mean class-wise Fréchet distance ({told}'s protocol)",
        f"mean_class_density_{paper}": f"  density ({told}'s protocol)",
        f"mean_class_coverage_{paper}": f"  coverage ({told}'s protocol)",
    }


@dataclasses.dataclass(frozen=True)
class TunitClasses(Classwise):
    """The protocol of TUNIT's reference code (arXiv:2006.06500), without its random flips of test images.

    Its published numbers are of the input `resize="nearest_normalized_twice"`.
    """

    name = "tunit_classes"
    scores = _captions(name)
    falling = ("mean_class_fid_tunit", "mean_class_frechet_tunit")

    def pairs(self, labels: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[Pairs, str]:
        classes, rng = np.unique(labels), np.random.default_rng(seed)
        members = {label: np.flatnonzero(labels == label) for label in classes}
        wanted = int(sizes[classes].min() + sizes[classes].max()) // 2
        draws = max(1, 50 // len(classes))
        each = max(1, wanted // draws // (len(classes) - 1))
        pairs = {}
        for place, label in enumerate(classes):
            contents, references = [], []
            for _ in range(draws):
                drawn = rng.permutation(members[label])[:each]
                for other in np.roll(classes, -place)[1:]:
                    firsts = members[other][: len(drawn)]
                    contents.append(firsts)
                    references.append(drawn[: len(firsts)])
            pairs[int(label)] = tuple(np.concatenate(parts)[:wanted] for parts in (contents, references))
        how = (
            f"{draws} draws of at most {each} references of a class (seed {seed}), paired one to one with the first"
            f" test images of every other class, {wanted} translations a class at most (half the sum of the sizes of"
            " the smallest and the largest training class)"
        )
        return pairs, how


@dataclasses.dataclass(frozen=True)
class CluitClasses(Classwise):
    """The protocol of CLUIT (arXiv:2105.03117, Section 4), whose true images it does not name: here of training.

    Attributes:
      references: of any class, for each test image.
    """

    name = "cluit_classes"
    scores = _captions(name)
    falling = ("mean_class_fid_cluit", "mean_class_frechet_cluit")

    references: int = 10

    def pairs(self, labels: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[Pairs, str]:
        others = of_any(len(labels), len(labels), self.references, seed)
        contents = np.repeat(np.arange(len(labels)), others.shape[1])
        references = others.ravel()
        pairs = {}
        for label in np.unique(labels):
            rows = labels[references] == label
            pairs[int(label)] = contents[rows], references[rows]
        how = (
            f"every test image in the styles of {others.shape[1]} test images of any class, drawn at random (seed"
            f" {seed}; the same for every run on them), told apart by the class of the reference"
        )
        return pairs, how
