"""How often the image of the nearest style is of the same class."""

import dataclasses

from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.metrics import retrieval

PROTOCOL = (
    "share of {count} labelled test images whose nearest other one has the same label; nearest = largest cosine of the"
    " style codes by the weights kept for inference, image resized to the model's size, not augmented; chance = the"
    " share of pairs with one label; unreadable images are left out"
)


@dataclasses.dataclass(frozen=True)
class Retrieval(Evaluator):
    """The share of neighbours in style that are of one class, and what chance gives."""

    name = "retrieval"
    scores = {
        "style_retrieval": "nearest in style is of the same class",
        "style_retrieval_chance": "  by chance",
    }
    reads = ("style",)
    compares_labels = True

    def needs(self, context: Context) -> str:
        if not context.trained.styled:
            return "this run's method has no styles"
        if len(context.trained.method.sides) > 1:
            return "this run's styles are of the domain it translates to, and labels are not"
        labels = context.labels[context.labels >= 0]
        if len(labels) < 2:
            return f"{context.source.spec}: its images have no labels to score styles by"
        return f"{context.source.spec}: its images are all of one class" if (labels == labels[0]).all() else ""

    def run(self, context: Context) -> Scores:
        codes, known = context.codes(), context.known()
        if known.sum() < 2:
            return Scores({}, {})
        labels = context.labels[known]
        scores = {
            "style_retrieval": retrieval.same_label_share(codes[known], labels),
            "style_retrieval_chance": retrieval.same_label_chance(labels),
        }
        return Scores(scores, {"style_retrieval": PROTOCOL.format(count=known.sum())})
