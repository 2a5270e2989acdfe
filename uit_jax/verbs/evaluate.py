"""`uit evaluate`: score a trained run on images it has not seen, or compare two sets of images with no run at all.

    uit evaluate --workdir=RUN [--judge=FILE.npz]
    uit evaluate --a=TRUE --b=GENERATED [--inception=FILE | --judge=FILE.npz]
"""

import argparse

from uit_jax import evaluation, runs
from uit_jax.errors import UserError, shown
from uit_jax.evaluation import Clusters, Judge, KMeans, Oracle, Retrieval, comparison, networks, reading
from uit_jax.files import check_places, write_json
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.images.resize import MODES
from uit_jax.paths import as_path
from uit_jax.training.progress import Progress
from uit_jax.verbs.arguments import add_direction, add_limit, add_overwrite, json_path, natural, positive, suffixed_path

_OF_SETS = ("a", "b", "save_statistics")


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    return _score(args) if args.workdir is not None else _compare(args)


def _score(args: argparse.Namespace) -> int:
    """Score a trained run."""
    if alone := [f"--{name}" for name in _OF_SETS if getattr(args, name) is not None]:
        raise UserError(f"{alone[0]}: is of two sets of images that are compared without a run: leave --workdir out")
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


def _compare(args: argparse.Namespace) -> int:
    """Compare two sets of images, or write the statistics of one."""
    if args.a is None:
        raise UserError("--workdir=RUN: name the run to score, or two sets of images to compare by --a and --b")
    if args.b is None and args.save_statistics is None:
        raise UserError("--b: name the images that are compared with those of --a, or --save_statistics=FILE.npz")
    places = {}
    if args.out is not None:
        places["--out"] = json_path("--out", args.out)
    if args.save_statistics is not None:
        places["--save_statistics"] = suffixed_path("--save_statistics", args.save_statistics, ".npz")
    check_places(places, overwrite=args.overwrite)
    named = dict(inception=args.inception, judge=args.judge, random=args.random_features)
    network = networks.choose(**named, resize=args.resize)
    how = dict(limit=args.images, max_pixels=args.data_max_pixels or MAX_PIXELS)
    if args.b is None:
        measured = reading.measured(args.a, "a", network, keep=False, **how)
        reading.save_statistics(args.save_statistics, measured, network)
        print(f"statistics of {measured.told} in {network.name} written to {shown(args.save_statistics)}")
        return 0
    result = comparison.compare(args.a, args.b, network, save_statistics=args.save_statistics, **how)
    print(comparison.table(result))
    if args.out is not None:
        write_json(places["--out"], result)
    if places:
        print("\nwritten to " + " and ".join(map(shown, places.values())))
    return 0


def _asked(args: argparse.Namespace) -> list[evaluation.Evaluator]:
    """Return the evaluators that have an option of their own."""
    asked = [KMeans()] if args.kmeans else []
    if args.judge is not None:
        progress = Progress(args.judge_steps)
        asked.append(Judge(as_path(args.judge), args.references, args.judge_steps, progress))
    return asked


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="uit evaluate", description=__doc__, allow_abbrev=False, formatter_class=raw
    )
    parser.add_argument("--workdir", help="the run to score: where `uit train` put it")
    parser.add_argument(
        "--a",
        metavar="TRUE",
        help="without a run: the images that --b is held against; a folder with all below it, FOLDER#CLASS, a packed"
        " set, or statistics in an .npz",
    )
    parser.add_argument("--b", metavar="GENERATED", help="the images that are compared with those of --a")
    parser.add_argument(
        "--inception",
        metavar="FILE",
        help="the weights of the FID's Inception-v3 (.pth, .safetensors, .npz), which are never downloaded (default:"
        f" ${networks.VARIABLE}, if it is set)",
    )
    parser.add_argument(
        "--resize",
        metavar="MODE",
        help=f"after which tool images are brought to Inception's size: {', '.join(MODES)} (default: pytorch_fid)",
    )
    parser.add_argument(
        "--random_features",
        metavar="SEED",
        type=natural,
        nargs="?",
        const=0,
        help="compare in the features of a network with weights drawn by a seed (default: without another network, 0)",
    )
    parser.add_argument(
        "--save_statistics", metavar="FILE.npz", help="write mean and covariance of --a's features there"
    )
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
        " run's labelled training images, or to tell its two domains apart, and kept there for other runs on them; of"
        " --a and --b: compare in its features",
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
        "--out",
        help="the JSON file (default: WORKDIR/evaluation.json, or evaluation_DIRECTION.json; written anew; of --a and"
        " --b none)",

    )
    add_overwrite(parser)
    return parser
