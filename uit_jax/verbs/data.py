"""`uit data check SRC`, `uit data pack SRC OUT --size S` and `uit data label SRC OUT.csv --by WAY --domains K`."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from uit_jax.data import labels
from uit_jax.data.check import check
from uit_jax.data.packing import pack
from uit_jax.errors import UserError, shown
from uit_jax.evaluation.labelling import LARGEST_SIDE, SIDE, WAYS, label, points_of
from uit_jax.files import check_places
from uit_jax.images.decode import FILTERS
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.metrics.clusters import sizes
from uit_jax.verbs.arguments import add_limit, add_overwrite, at_most, natural, positive, share, suffixed_path

_SOURCE = (
    "a folder of images, of classes, or of trainA and trainB; an image file; tfds:NAME[:split];"
    " procedural[:key=value,...]; one class of any of them is SRC#CLASS"
)


def main(argv: list[str]) -> int:
    """Run one of the three; return 0, or 1 for a source that `check` finds unusable. Raises UserError."""
    options = vars(_parser().parse_args(argv))
    options["max_pixels"] = options.pop("data_max_pixels")
    return options.pop("run")(**options)


def _check(source: str, **options: Any) -> int:
    report = check(source, progress=_progress, **options)
    print(report)
    return 0 if report.usable else 1


def _pack(source: str, out: str, **options: Any) -> int:
    skipped = pack(source, out, progress=_progress, **options)
    print(f"packed {shown(source)} into {shown(out)}, {len(skipped)} unreadable images left out")
    return 0


def _label(
    source: str, out: str, *, by: str, features: str, side: int, count: int, seed: int, overwrite: bool, **limits: Any
) -> int:
    path = suffixed_path("OUT", out, ".csv")
    check_places({"OUT": path}, overwrite=overwrite)
    if features and by == WAYS[0]:
        raise UserError(f"--features={features}: is for --by={WAYS[1]}; leave one of the two out")
    points = points_of(source, by, side=side, features=features)
    found = label(source, points, count, seed=seed, **limits)
    labels.write(path, found.source, found.labels)
    print(f"{found.source.describe()}; sorted by {points.told}")
    print(f"images of each label: {' '.join(map(str, sizes(found.labels, count)))}")
    for told, scores in (("these", found.training), ("held-out", found.held_out)):
        if scores:
            accuracy, nmi = scores["cluster_accuracy"], scores["cluster_nmi"]
            print(f"agreement with the classes of {told} images: accuracy {accuracy:.4f}, NMI {nmi:.4f}")
    print(f"written to {shown(path)}; train on it by --config.data.labels={shown(path)}")
    return 0


def _progress(blocks: list[range], *, desc: str) -> Iterable[range]:
    """Show a bar of images on a terminal."""
    with tqdm(total=sum(map(len, blocks)), desc=desc, unit="image", disable=not sys.stderr.isatty()) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))


def _parser() -> argparse.ArgumentParser:
    told = "Check a source of images, pack it into arrays, or find labels for it."
    parser = argparse.ArgumentParser(prog="uit data", description=told)
    verbs = parser.add_subparsers(required=True)
    looking = verbs.add_parser("check", help="report counts, sizes, modes, classes, unreadable files and duplicates")
    packing = verbs.add_parser("pack", help="write the images, decoded and resized, as arrays that need no decoding")
    labelling = verbs.add_parser("label", help="sort training images into clusters, and write these as their labels")
    for verb, run in ((looking, _check), (packing, _pack), (labelling, _label)):
        verb.add_argument("source", metavar="SRC", help=_SOURCE)
        verb.add_argument("--max_unreadable_share", type=share, default=0.01, help="share of unreadable images allowed")
        add_limit(verb, MAX_PIXELS, str(MAX_PIXELS))
        verb.set_defaults(run=run)
    packing.add_argument("out", metavar="OUT", help="the folder to make")
    packing.add_argument("--size", type=int, required=True, help="side of the packed images; 0: their own size")
    packing.add_argument("--channels", type=int, default=3, help="1 (gray), 3 (colour), or what the files have")
    packing.add_argument("--target_channels", type=int, default=0, help="of domain B of a pair; 0: as domain A")
    packing.add_argument("--depth", type=int, default=8, choices=(8, 16), help="bits of a channel")
    packing.add_argument("--resample", default="bilinear", choices=sorted(FILTERS))
    labelling.add_argument("out", metavar="OUT", help="the .csv file to write, which data.labels then names")
    labelling.add_argument("--by", choices=WAYS, default=WAYS[0], help="what is compared (default: %(default)s)")
    labelling.add_argument(
        "--features",
        metavar="FILE|style:WORKDIR",
        default="",
        help="the weights of the FID's Inception-v3, of MoCo's ResNet-50, or those of AlexNet or VGG-16 and lpips' own"
        " as FILE,FILE; or a trained run, for its style codes",
    )
    told = "of images compared by their pixels (default: %(default)s)"
    labelling.add_argument("--side", type=at_most(LARGEST_SIDE), metavar="PIXELS", default=SIDE, help=told)
    labelling.add_argument("--domains", dest="count", type=positive, required=True, help="how many labels to find")
    labelling.add_argument("--seed", type=natural, default=0, help="of k-means and the procedural world (default: 0)")
    add_overwrite(labelling)
    return parser
