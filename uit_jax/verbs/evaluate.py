"""`uit evaluate`: score a trained run on images it has not seen, or compare two sets of files with no run at all.

    uit evaluate --workdir=RUN [--judge=FILE.npz]
    uit evaluate --a=TRUE --b=GENERATED [--inception=FILE | --judge=FILE.npz]
    uit evaluate --labels=TRUE --predicted=MAPS
"""

import argparse
import dataclasses

from uit_jax import evaluation, runs
from uit_jax.errors import UserError, shown
from uit_jax.evaluation import (
    Clusters,
    Diversity,
    Guided,
    Judge,
    KMeans,
    Likeness,
    Oracle,
    Retrieval,
    TunitClasses,
    networks,
    perceptual,
    segmentation,
    series,
)
from uit_jax.evaluation.featured import Featured
from uit_jax.files import check_places, write_json
from uit_jax.images import pictures
from uit_jax.images.resize import MODES
from uit_jax.paths import as_path
from uit_jax.training.progress import Progress
from uit_jax.verbs import sets
from uit_jax.verbs.arguments import (
    add_direction,
    add_limit,
    add_overwrite,
    json_path,
    natural,
    picture_path,
    positive,
)

_OF_SETS = ("a", "b", "save_statistics")
_OF_LABELS = ("labels", "predicted", "classes")
_OF_SETS_AND_RUNS = ("inception", "resize", "random_features", "judge", "images", "data_max_pixels")
_OF_RUNS = (
    *("checkpoint", "direction", "source", "evaluators", "series", "true", "lpips", "lpips_network", "kmeans"),
    *("pairs", "references", "judge_steps", "seed"),
)


def main(argv: list[str]) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    changed = [name for name, value in vars(args).items() if value != parser.get_default(name)]
    if args.workdir is not None:
        _leave_out("--workdir", changed, _OF_SETS + _OF_LABELS)
        return _score(args)
    if args.labels is not None:
        _leave_out("--labels", changed, _OF_SETS + _OF_SETS_AND_RUNS + _OF_RUNS)
        return sets.compare_labels(args)
    if args.a is not None:
        _leave_out("--a", changed, _OF_LABELS + _OF_RUNS)
    return sets.compare(args)


def _leave_out(option: str, changed: list[str], others: tuple[str, ...]) -> None:
    """Refuse an option that would do nothing beside what is scored: a run, two sets or label maps."""
    if idle := [name.replace("data_", "data.") for name in changed if name in others]:
        raise UserError(f"--{idle[0]}: does nothing beside {option}; leave one of the two out")


def _score(args: argparse.Namespace) -> int:
    """Score a trained run."""
    if args.series:
        return _series(args)
    name = f"evaluation_{args.direction}.json" if args.direction else "evaluation.json"
    path = json_path("--out", args.out or as_path(args.workdir) / name)
    if args.out is not None:
        check_places({"--out": path}, overwrite=args.overwrite)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    how = dict(source=args.source, limit=args.images, seed=args.seed)
    result = evaluation.evaluate(run, _asked(args), usual=_usual(args), **how)
    write_json(path, result)
    print(evaluation.table(result))
    print(f"\nwritten to {shown(path)}")
    return 0


def _series(args: argparse.Namespace) -> int:
    """Score all checkpoints of a run."""
    if args.checkpoint != "latest":
        raise UserError(f"--checkpoint={args.checkpoint}: a series is of all checkpoints: leave one of the two out")
    name = f"series_{args.direction}.json" if args.direction else "series.json"
    path = json_path("--out", args.out or as_path(args.workdir) / name)
    drawn = picture_path("--out", path.with_suffix(".png"))
    if args.out is not None:
        check_places({"--out": path, "the picture beside it": drawn}, overwrite=args.overwrite)
    run = dict(direction=args.direction, data_max_pixels=args.data_max_pixels)
    how = dict(source=args.source, limit=args.images, seed=args.seed, usual=_usual(args))
    result = series.series(args.workdir, _asked(args), **run, **how)
    write_json(path, result)
    pictures.save(drawn, series.picture(result))
    print(series.table(result))
    print(f"\nwritten to {shown(path)} and {shown(drawn)}")
    return 0


def _asked(args: argparse.Namespace) -> list[evaluation.Evaluator]:
    """Return the evaluators that are named, or have an option of their own."""
    asked = [KMeans()] if args.kmeans else []
    if args.judge is not None:
        progress = Progress(args.judge_steps)
        asked.append(Judge(as_path(args.judge), args.references, args.judge_steps, progress))
    own = {type(each) for each in asked}
    named = evaluation.choose(filter(None, (args.evaluators or "").split(",")))
    return asked + [_configured(each, args) for each in named if type(each) not in own]


def _usual(args: argparse.Namespace) -> tuple[evaluation.Evaluator, ...]:
    """Return the evaluators of which those run that can: where features are named, also those that are of features."""
    usual = (Clusters(), Retrieval(), Oracle(args.pairs))
    if args.evaluators or (args.inception, args.random_features, args.lpips) == (None, None, None):
        return usual
    return usual + tuple(_configured(each, args) for each in (Likeness(), TunitClasses(), Diversity()))


def _configured(evaluator: evaluation.Evaluator, args: argparse.Namespace) -> evaluation.Evaluator:
    """Give an evaluator that is named the options that are its own."""
    if isinstance(evaluator, Oracle):
        return Oracle(args.pairs)
    if not isinstance(evaluator, Featured):
        return evaluator
    alone = args.inception is None and args.random_features is None
    named = dict(inception=args.inception, random=args.random_features, resize=args.resize)
    if alone and args.judge is not None:
        named["judge_file"] = args.judge
    if isinstance(evaluator, Diversity | Guided) and args.lpips is not None:
        named |= dict(lpips=tuple(args.lpips.split(",")), lpips_network=args.lpips_network)
    if isinstance(evaluator, Likeness):
        named["split"] = args.true
    return dataclasses.replace(evaluator, **named)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="uit evaluate", description=__doc__, allow_abbrev=False, formatter_class=raw
    )
    parser.add_argument("--workdir", help="the run to score: where `uit train` put it")
    _add_sets(parser)
    _add_run(parser)
    parser.add_argument(
        "--out",
        help="the JSON file (default: WORKDIR/evaluation.json, or evaluation_DIRECTION.json; written anew; of --a and"
        " --b none)",
    )
    add_overwrite(parser)
    return parser


def _add_sets(parser: argparse.ArgumentParser) -> None:
    """Add which two sets are compared without a run, and in whose features."""
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
    parser.add_argument(
        "--labels",
        metavar="FOLDER",
        help="without a run: true label maps, files of one channel with class numbers, against those of the same names"
        " in --predicted, which a segmentation model of yours made of translations",
    )
    parser.add_argument("--predicted", metavar="FOLDER", help="the label maps that are compared with those of --labels")
    parser.add_argument(
        "--classes",
        type=positive,
        default=segmentation.CLASSES,
        help=f"labels: how many there are, numbered from 0; {segmentation.IGNORED} is none (default:"
        f" {segmentation.CLASSES}, Cityscapes')",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Add how a run is scored: which of its checkpoints, on which images, by what."""
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    add_direction(parser)
    add_limit(parser, None, "the run's own")
    parser.add_argument(
        "--source",
        help="test images, as in config.data.source; of two domains both, or those that are translated (default: the"
        " run's test split)",
    )
    parser.add_argument("--images", type=positive, help="use at most so many test images")
    parser.add_argument(
        "--evaluators",
        metavar="NAME,NAME",
        help=f"score by these too, whatever else can be scored; there are: {', '.join(evaluation.EVALUATORS)}",
    )
    parser.add_argument(
        "--series", action="store_true", help="score all checkpoints that are kept: final, best, mean of the five best"
    )
    parser.add_argument(
        "--true", choices=("test", "train"), default="test", help="likeness: the true images (default: test)"
    )
    parser.add_argument(
        "--lpips",
        metavar="FILE[,FILE]",
        help="diversity: the files of LPIPS weights, torchvision's of the network and lpips' own, which are never"
        f" downloaded (default: ${perceptual.VARIABLE}, if it is set)",
    )
    parser.add_argument(
        "--lpips_network", choices=("alex", "vgg"), default="alex", help="what LPIPS looks with (default: alex)"
    )
    parser.add_argument("--kmeans", action="store_true", help="also score k-means, on pixels and on style codes")
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
