"""`uit data check SRC` and `uit data pack SRC OUT --size S`."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from uit_jax.data.check import check
from uit_jax.data.packing import pack


def main(argv: list[str]) -> int:
    """Run one of the two; return 0, or 1 for a source that `check` finds unusable. Raises UserError."""
    parser = argparse.ArgumentParser(prog="uit data", description="Check a source of images, or pack it into arrays.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    looking = verbs.add_parser("check", help="report counts, sizes, modes, classes, unreadable files and duplicates")
    packing = verbs.add_parser("pack", help="write the images, decoded and resized, as arrays that need no decoding")
    for verb in (looking, packing):
        verb.add_argument("source", metavar="SRC", help="a folder, tfds:NAME[:split] or procedural[:key=value,...]")
        verb.add_argument("--max_unreadable_share", type=float, default=0.01, help="share of unreadable images allowed")
    packing.add_argument("out", metavar="OUT", type=Path, help="the folder to make")
    packing.add_argument("--size", type=int, required=True, help="side of the packed images")
    packing.add_argument("--channels", type=int, default=3, choices=(1, 3))
    args = parser.parse_args(argv)
    if args.verb == "check":
        report = check(args.source, max_unreadable_share=args.max_unreadable_share, progress=_progress)
        print(report)
        return 0 if report.usable else 1
    skipped = pack(
        args.source,
        args.out,
        size=args.size,
        channels=args.channels,
        max_unreadable_share=args.max_unreadable_share,
        progress=_progress,
    )
    print(f"packed {args.source} into {args.out}, {len(skipped)} unreadable images left out")
    return 0


def _progress(blocks: list[range], *, desc: str) -> Iterable[range]:
    """Show a bar of images on a terminal."""
    with tqdm(total=sum(map(len, blocks)), desc=desc, unit="image", disable=not sys.stderr.isatty()) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
