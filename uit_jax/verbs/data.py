"""`uit data check SRC` and `uit data pack SRC OUT --size S`."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from uit_jax.data.check import check
from uit_jax.data.packing import pack
from uit_jax.errors import shown
from uit_jax.images.decode import FILTERS
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.verbs.arguments import add_limit, share

_SOURCE = (
    "a folder of images, of classes, or of trainA and trainB; an image file; tfds:NAME[:split];"
    " procedural[:key=value,...]; one class of any of them is SRC#CLASS"
)


def main(argv: list[str]) -> int:
    """Run one of the two; return 0, or 1 for a source that `check` finds unusable. Raises UserError."""
    parser = argparse.ArgumentParser(prog="uit data", description="Check a source of images, or pack it into arrays.")
    verbs = parser.add_subparsers(required=True)
    looking = verbs.add_parser("check", help="report counts, sizes, modes, classes, unreadable files and duplicates")
    packing = verbs.add_parser("pack", help="write the images, decoded and resized, as arrays that need no decoding")
    for verb, run in ((looking, _check), (packing, _pack)):
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
    options = vars(parser.parse_args(argv))
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


def _progress(blocks: list[range], *, desc: str) -> Iterable[range]:
    """Show a bar of images on a terminal."""
    with tqdm(total=sum(map(len, blocks)), desc=desc, unit="image", disable=not sys.stderr.isatty()) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))
