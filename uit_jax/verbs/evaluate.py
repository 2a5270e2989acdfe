"""`uit evaluate`: score a trained run on images it has not seen."""

import argparse

from uit_jax import evaluation, runs
from uit_jax.errors import shown
from uit_jax.evaluation import Clusters, Judge, KMeans, Oracle, Retrieval
from uit_jax.files import check_places, write_json
from uit_jax.paths import as_path
from uit_jax.training.progress import Progress
from uit_jax.verbs.arguments import add_direction, add_limit, add_overwrite, json_path, natural, positive


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    name = f"evaluation_{args.direction}.json" if args.direction else "evaluation.json"
    path = json_path("--out", args.out or as_path(args.workdir) / name)
    if args.out is not None:
        check_places({"--out": path}, overwrite=args.overwrite)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    how = dict(source=args.source, limit=args.images, seed=args.seed)
    result = evaluation.evaluate(run, _asked(args), usual=(Clusters(), Retrieval(), Oracle(args.pairs)), **how)
    write_json(path, result)
    print(evaluation.table(result))
    print(f"\nwritten to {shown(path)}")
    return 0


def _asked(args: argparse.Namespace) -> list[evaluation.Evaluator]:
    """Return the evaluators that have an option of their own."""
    asked = [KMeans()] if args.kmeans else []
    if args.judge is not None:
        progress = Progress(args.judge_steps)
        asked.append(Judge(as_path(args.judge), args.references, args.judge_steps, progress))
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uit evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    add_direction(parser)
    add_limit(parser, None, "the run's own")
    parser.add_argument(
        "--source",
        help="test images, as in config.data.source; of two domains both, or those that are translated (default: the"
        " run's test split)",
    )
    parser.add_argument("--images", type=positive, help="use at most so many test images")
    parser.add_argument("--kmeans", action="store_true", help="also score k-means on pixels, as a baseline")
    parser.add_argument("--pairs", type=natural, default=600, help="procedural world: translations compared (0: none)")
    parser.add_argument(
        "--judge",
        metavar="FILE.npz",
        help="judge translations by the classifier kept there; where there is none yet, by one that is trained on the"
        " run's labelled training images, or to tell its two domains apart, and kept there for other runs on them",
    )
    parser.add_argument(
        "--references",
        type=positive,
        default=Judge.references,
        help=f"judge: references of another class, or domain, for each test image (default: {Judge.references})",
    )
    parser.add_argument(
        "--judge_steps",
        type=positive,
        default=Judge.steps,
        help=f"steps of training a new judge (default: {Judge.steps})",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of baseline and references (default: 0)")
    parser.add_argument(
        "--out", help="the JSON file (default: WORKDIR/evaluation.json, or evaluation_DIRECTION.json; written anew)"
    )
    add_overwrite(parser)
    return parser
