"""Evaluators: one file each, over metrics; `evaluate` runs them on a trained run."""

from uit_jax.evaluation.classwise import CluitClasses, TunitClasses
from uit_jax.evaluation.clusters import Clusters
from uit_jax.evaluation.comparison import compare
from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.evaluation.diversity import Diversity
from uit_jax.evaluation.guided import Guided
from uit_jax.evaluation.judge import Judge
from uit_jax.evaluation.kmeans import KMeans
from uit_jax.evaluation.likeness import Likeness
from uit_jax.evaluation.oracle import Oracle
from uit_jax.evaluation.report import EVALUATORS, USUAL, choose, evaluate, followed, table
from uit_jax.evaluation.retrieval import Retrieval
from uit_jax.evaluation.shots import Shots
from uit_jax.evaluation.variance import Variance

__all__ = [
    "EVALUATORS",
    "USUAL",
    "CluitClasses",
    "Clusters",
    "Context",
    "Diversity",
    "Evaluator",
    "Guided",
    "Judge",
    "KMeans",
    "Likeness",
    "Oracle",
    "Retrieval",
    "Scores",
    "Shots",
    "TunitClasses",
    "Variance",
    "choose",
    "compare",
    "evaluate",
    "followed",
    "table",
]
