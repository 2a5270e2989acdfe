"""The evaluation of a trained run: which evaluators there are, one record of what they find, and its table."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from uit_jax import runs, settings
from uit_jax.errors import UserError
from uit_jax.evaluation import manifest
from uit_jax.evaluation.classwise import CluitClasses, TunitClasses
from uit_jax.evaluation.clusters import Clusters
from uit_jax.evaluation.context import Context, Evaluator, open_context
from uit_jax.evaluation.diversity import Diversity
from uit_jax.evaluation.guided import Guided
from uit_jax.evaluation.judge import Judge
from uit_jax.evaluation.kmeans import KMeans
from uit_jax.evaluation.likeness import Likeness
from uit_jax.evaluation.oracle import Oracle
from uit_jax.evaluation.retrieval import Retrieval
from uit_jax.evaluation.shots import Shots
from uit_jax.evaluation.variance import Variance
from uit_jax.paths import PathLike
from uit_jax.runs import Trained

_KINDS = (
    *(Clusters, Retrieval, Variance, KMeans, Oracle, Shots, Judge),
    *(Likeness, TunitClasses, CluitClasses, Diversity, Guided),
)
EVALUATORS: dict[str, type[Evaluator]] = {kind.name: kind for kind in _KINDS}
"""By name, in the order of a record."""

USUAL = (Clusters(), Retrieval(), Oracle())
"""What a run is scored by, as far as it can be, where nothing else is said."""

CAPTIONS = {name: caption for kind in EVALUATORS.values() for name, caption in kind.scores.items()}


def choose(wanted: Iterable[str | Evaluator]) -> tuple[Evaluator, ...]:
    """Return evaluators by their names, with default options. Raises UserError, which names the nearest."""
    if isinstance(wanted, str):
        raise UserError(f"evaluators: give a list, such as [{wanted!r}]")
    chosen = []
    for each in wanted:
        if not isinstance(each, str | Evaluator):
            raise UserError(f"evaluators: {each!r} is no evaluator; there are: {', '.join(EVALUATORS)}")
        if isinstance(each, str) and each not in EVALUATORS:
            raise UserError(f"no evaluator is called {each!r}{settings.nearest(each, EVALUATORS)}")
        chosen.append(EVALUATORS[each]() if isinstance(each, str) else each)
    return tuple(chosen)


def followed(names: Iterable[str], best_metric: str) -> tuple[Evaluator, ...]:
    """Return the evaluators that a config names. Raises UserError, also for a best metric that is none of theirs."""
    evaluators = choose(names)
    falling = {name for each in evaluators for name in each.falling}
    scores = [f"-{name}" if name in falling else name for each in evaluators for name in each.scores]
    if best_metric in falling:
        raise UserError(f"best_metric={best_metric!r} is the better the smaller: set it to '-{best_metric}'")
    if best_metric and best_metric not in scores:
        raise UserError(
            f"best_metric={best_metric!r} is no score of evaluators={tuple(names)}"
            f"{settings.nearest(best_metric, scores)}; leave it empty to keep no best checkpoint"
        )
    return evaluators


def evaluate(
    trained: Trained | PathLike,
    evaluators: Sequence[str | Evaluator] | None = None,
    *,
    usual: Sequence[Evaluator] | None = None,
    source: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a run on images it has not seen; return a JSON-able record of scores and of how they were come by.

    Args:
      trained: the run, or its folder.
      evaluators: names or evaluators, each of which must be able to run; of two with one name the last.
      usual: evaluators of which those run that can and are not named; by default `USUAL` where none is.
      source: where the test images are, of two domains those of both or of the one that is translated; by default
        the run's own test source.
      limit: use at most so many of them, evenly spread.
      seed: of whatever is drawn: the baseline's starts, references.

    Raises:
      UserError: there are no test images, one of the evaluators cannot run, or none of the usual ones can.
    """
    trained = trained if isinstance(trained, Trained) else runs.load(trained)
    asked = choose(evaluators or ())
    usual = USUAL if usual is None and not asked else usual or ()
    asked = tuple({each.name: each for each in asked}.values())
    usual = tuple(each for each in usual if each.name not in {other.name for other in asked})
    reads = {name for each in (*asked, *usual) for name in each.reads}
    context = open_context(trained, source=source, limit=limit, seed=seed, reads=sorted(reads))
    missing = {each: each.needs(context) for each in (*asked, *usual)}
    for each in asked:
        if missing[each]:
            raise UserError(f"{each.name}: {missing[each]}")
    able = [each for each in (*asked, *usual) if not missing[each]]
    if not able:
        reasons = "; ".join(f"{each.name}: {reason}" for each, reason in missing.items())
        judged = len(trained.method.sides) == 2 or trained.styled and (context.labels >= 0).any()
        judge = "give --judge=FILE.npz or --random_features, or " * bool(judged)
        raise UserError(
            f"{context.source.spec}: nothing can be scored as it is: {judge}see translations by `uit translate`"
            f" ({reasons})"
        )
    return _record(context, able)


def _record(context: Context, evaluators: Sequence[Evaluator]) -> dict[str, Any]:
    """Run evaluators, those that were asked for before the others, and write down what they find."""
    # In the order of asking: where one fails, nothing was done in vain.
    found = {each.name: each.run(context) for each in evaluators}
    found = [found[name] for name in EVALUATORS if name in found]
    trained, source = context.trained, context.source
    record = {
        "scores": {name: value for each in found for name, value in each.scores.items()},
        "classes": list(itertools.chain(*(each.classes for each in context.sources.values()))),
        "images": len(context.chosen),
        "labelled_images": int((context.labels >= 0).sum()),
        "unreadable_images": len(source.unreadable),
    }
    for each in found:
        record |= each.facts
    if len(trained.method.sides) > 1:
        record["direction"] = trained.config.data.direction
    return record | {
        "source": source.describe(),
        "protocol": {name: text for each in found for name, text in each.protocol.items()},
        "seed": context.seed,
        **manifest.of_run(trained),
    }


def table(record: Mapping[str, Any]) -> str:
    """Lay a record out for a terminal."""
    images = f"{record['images']} ({record['labelled_images']} labelled)"
    rows = [("step", str(record["step"])), ("test images", images)]
    rows += [("direction", record["direction"])] if "direction" in record else []
    if about := record.get("features"):
        told = "{name}, SHA-256 {sha256:.12}, {side} px, {resize}"
        rows.append(("features", told.format(**about)))
    if sizes := record.get("cluster_sizes"):
        shown = " ".join(map(str, sizes[:20])) + (" ..." if len(sizes) > 20 else "")
        rows += [
            ("pseudo domains", f"{len(sizes)}, {sum(size > 0 for size in sizes)} of them used"),
            ("images in each", shown),
        ]
    rows += [(CAPTIONS.get(name, name), f"{value:.4f}") for name, value in record["scores"].items()]
    width = max(len(name) for name, _ in rows)
    lines = [record["source"], "", *(f"{name:<{width}}  {value}" for name, value in rows)]
    if not record["labelled_images"] and not any("accuracy" in name for name in record["scores"]):
        lines.append("the images have no labels, so there is no accuracy")
    return "\n".join(lines)
