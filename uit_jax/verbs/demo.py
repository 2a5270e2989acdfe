"""`uit demo`: a page to try a run in a browser: images in, translations out.

It says when it is ready, and where; Ctrl-C ends it. Several people may use it at once: what they ask for is drawn
together. It is reached from this machine alone, unless --host names another address, and asks no other for anything.
"""

import argparse
import sys

from uit_jax import demo, runs
from uit_jax.demo import server
from uit_jax.demo.requests import Limits
from uit_jax.verbs.arguments import add_direction, natural, parser_of_run, positive


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    if not server.is_loopback(args.host):
        told = "others reach the page there, and it asks nobody for a password"
        print(f"uit: --host={args.host}: {told}", file=sys.stderr)
    demo.check()
    port = server.free_port(args.host, args.port)
    limits = Limits(args.megabytes * 2**20, args.data_max_pixels or Limits().most_pixels)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    demo.serve(
        run,
        host=args.host,
        port=port,
        source=args.source,
        images=args.images,
        side=args.size,
        batch_size=args.batch_size,
        waiting=args.waiting,
        limits=limits,
        ready=lambda address: print(f"ready: {address} (Ctrl-C ends it)", flush=True),
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("demo", __doc__)
    add_direction(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to serve at (default: 127.0.0.1)")
    parser.add_argument("--port", type=natural, default=7860, help="0 is any that is free (default: 7860)")
    parser.add_argument(
        "--source",
        help="the images among which the nearest in style are found, as in config.data.source (default: the run's test"
        " source, else its training source; of two domains the one that is translated to)",
    )
    parser.add_argument("--images", type=positive, default=1000, help="at most so many of them (default: 1000)")
    parser.add_argument("--size", type=positive, help="of a method without styles, the longest side that is drawn")
    parser.add_argument("--batch_size", type=positive, default=8, help="images drawn at once, at most (default: 8)")
    parser.add_argument("--waiting", type=positive, default=32, help="requests at a time; more are told to come again")
    parser.add_argument("--megabytes", type=positive, default=20, help="of a file that is handed in (default: 20)")
    return parser
