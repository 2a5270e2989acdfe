"""How pseudo domains agree with true classes, and how many images each of them holds."""

import dataclasses

import numpy as np

from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.metrics import clusters

PROTOCOL = (
    "pseudo domain = most probable cluster by the weights kept for inference, image resized to the model's size, not"
    " augmented; accuracy after the best one-to-one matching of clusters and classes (Hungarian), matched and scored"
    " on the same images; NMI normalised by the arithmetic mean of the entropies"
)


@dataclasses.dataclass(frozen=True)
class Clusters(Evaluator):
    """Accuracy and NMI of the pseudo domains; of images without labels, their sizes alone."""

    name = "clusters"
    scores = {"cluster_accuracy": "clustering accuracy (Hungarian)", "cluster_nmi": "clustering NMI"}
    reads = ("cluster",)
    compares_labels = True

    def needs(self, context: Context) -> str:
        return "" if context.trained.clustered else "this run's method has no pseudo domains"

    def run(self, context: Context) -> Scores:
        probabilities = context.clusters()
        domains = probabilities.argmax(-1)
        facts = {"cluster_sizes": clusters.sizes(domains, probabilities.shape[-1]).tolist()}
        return Scores(agreement("cluster", domains, context.labels), {"clusters": PROTOCOL}, facts)


def agreement(name: str, domains: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Score domains [n] against labels [n], of which -1 is unknown; nothing where all are."""
    known = labels >= 0
    if not known.any():
        return {}
    return {
        f"{name}_accuracy": float(clusters.accuracy(domains[known], labels[known])),
        f"{name}_nmi": clusters.normalized_mutual_information(domains[known], labels[known]),
    }
