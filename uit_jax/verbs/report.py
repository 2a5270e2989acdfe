"""`uit report`: one HTML page of a run, that needs no network: curves, pictures, styles, pseudo domains, settings.

It holds what the run has left in its folder, and what its model makes of some images; of a training under way, what
there is by now. Other runs are laid beside it by --compare. `uit train` ends with one, where report=true.
"""

import argparse

from uit_jax import report
from uit_jax.errors import shown
from uit_jax.files import check_places
from uit_jax.paths import as_path
from uit_jax.verbs.arguments import add_overwrite, natural, parser_of_run, suffixed_path


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    out = suffixed_path("--out", args.out or as_path(args.workdir) / "report.html", ".html")
    if args.out is not None:
        check_places({"--out": out}, overwrite=args.overwrite)
    how = dict(checkpoint=args.checkpoint, source=args.source, images=args.images)
    path = report.write(args.workdir, out, compare=args.compare, **how)
    print(f"written to {shown(path)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("report", __doc__)
    parser.add_argument(
        "--compare", action="append", default=[], metavar="WORKDIR", help="another run beside it; may be given again"
    )
    parser.add_argument(
        "--source",
        help="the images whose styles and pseudo domains are shown, as in config.data.source (default: each run's test"
        " source, else its training source; of two domains the one that is translated to)",
    )
    parser.add_argument(
        "--images",
        type=natural,
        default=600,
        help="at most so many of them, evenly spread; 0 leaves out what needs the model (default: 600)",
    )
    parser.add_argument("--out", help="the HTML file (default: WORKDIR/report.html; written anew)")
    add_overwrite(parser)
    return parser
