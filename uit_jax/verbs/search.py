"""`uit search`: the images whose style is most like a query's (Section 4.2 and figure 6 of arXiv:2105.03117).

The images of a source are encoded into style codes, and those of the largest cosine with a query's code are drawn
beside it. An image of the source that is the query itself is left out of its neighbours.
"""

import argparse

from uit_jax import __version__, runs
from uit_jax.errors import shown
from uit_jax.files import check_places, write_json
from uit_jax.images import pictures
from uit_jax.listing import find_images
from uit_jax.verbs.arguments import add_direction, add_overwrite, json_path, parser_of_run, picture_path, positive


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    picture = picture_path("--out", args.out)
    places = [picture] if args.json is None else [picture, json_path("--json", args.json)]
    query = None if args.query is None else find_images(args.query)
    check_places(dict(zip(("--out", "--json"), places, strict=False)), query or (), overwrite=args.overwrite)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    found = run.search(query, args.source, args.count, queries=args.queries, limit=args.images)
    pictures.save(
        picture, found.render(title=f"nearest in style of {len(found.gallery.codes)} images, {run.title}")
    )
    if args.json is not None:
        write_json(places[-1], {**found.record(), "step": run.step, "version": __version__})
    print(found.text())
    if query is not None and len(query) > args.queries:
        print(f"\n{args.queries} of the {len(query)} images of {shown(args.query)}, evenly spread; more by --queries")
    print("\nwritten to " + " and ".join(map(shown, places)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("search", __doc__)
    add_direction(parser)
    parser.add_argument("--query", help="an image or a folder of images (default: some of the source's own)")
    parser.add_argument("--queries", type=positive, default=8, help="at most so many, evenly spread (default: 8)")
    parser.add_argument(
        "--source",
        help="what to search, as in config.data.source; of one with a test split that (default: the run's test source,"
        " else its training source; of two domains the one that is translated to)",
    )
    parser.add_argument("--count", type=positive, help="neighbours of each query (default: 8, or as many as there are)")
    parser.add_argument("--images", type=positive, help="search at most so many images of the source, evenly spread")
    parser.add_argument("--out", default="search.png", help="the picture to write (default: search.png)")
    parser.add_argument("--json", help="a JSON file to write beside it")
    add_overwrite(parser)
    return parser
