"""`uit evaluate` without a run: two sets of images, or of label maps."""

import argparse

from uit_jax.errors import UserError, shown
from uit_jax.evaluation import comparison, networks, reading, segmentation
from uit_jax.files import check_places, write_json
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.verbs.arguments import json_path, suffixed_path


def compare(args: argparse.Namespace) -> int:
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


def compare_labels(args: argparse.Namespace) -> int:
    """Compare label maps with true ones."""
    if args.predicted is None:
        raise UserError("--predicted: name the folder of the label maps that are compared with those of --labels")
    places = {} if args.out is None else {"--out": json_path("--out", args.out)}
    check_places(places, overwrite=args.overwrite)
    result = segmentation.compare_labels(args.labels, args.predicted, classes=args.classes)
    print(segmentation.table(result))
    for path in places.values():
        write_json(path, result)
        print(f"\nwritten to {shown(path)}")
    return 0
