"""How far apart style codes of different clusters are, over those of one: TUNIT's IOI (arXiv:2006.06500)."""

import dataclasses

from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.metrics.clusters import inter_over_intra

PROTOCOL = (
    "mean cosine distance (1 - cosine) of pairs of style codes of different {groups}, over that of pairs of one, of"
    " {count} test images, by the weights kept for inference; the paper names variances in terms of the cosine and"
    " gives no formula: this one is ours"
)


@dataclasses.dataclass(frozen=True)
class Variance(Evaluator):
    """The ratio by pseudo domains, where there are any, and by classes."""

    name = "variance"
    scores = {
        "ioi_domains": "inter- over intra-variance of pseudo domains",
        "ioi_classes": "inter- over intra-variance of classes",
    }
    reads = ("style", "cluster")

    def needs(self, context: Context) -> str:
        if not context.trained.styled or len(context.trained.method.sides) > 1:
            return "this run's method has no styles of all its images"
        return ""

    def run(self, context: Context) -> Scores:
        codes, known, scores, protocol = context.codes(), context.known(), {}, {}
        groups = {"ioi_classes": ("classes", codes[known], context.labels[known])}
        if context.trained.clustered:
            groups = {"ioi_domains": ("pseudo domains", codes, context.clusters().argmax(-1)), **groups}
        for name, (told, some, labels) in groups.items():
            found = inter_over_intra(some, labels)
            if found is not None:
                scores[name], protocol[name] = found, PROTOCOL.format(groups=told, count=len(some))
        return Scores(scores, protocol)
