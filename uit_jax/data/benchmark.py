"""Measure the input pipeline: `python -m uit_jax.data.benchmark SRC [TARGET] [--size S]`; of a pair, both images count.

For the figure of one core, run it under `taskset -c 0`. Prints images per second of wall-clock time and of the
process's CPU time, the median of several windows, after a first pass in which every file's headers are read.
"""

import argparse
import os
import statistics
import sys
import time

from uit_jax.data.batches import batches
from uit_jax.data.opening import is_pair, open_source, parts
from uit_jax.data.sides import Pair, open_pair, pair_batches
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.images.decode import FILTERS


def measure(
    source: Source | Pair, *, batch_size: int, images: int, windows: int, pipeline: str
) -> list[tuple[float, float]]:
    """Return (images per second, images per CPU second) of each window, after a warm-up of one epoch."""
    draw, sides = (pair_batches, 2) if isinstance(source, Pair) else (batches, 1)
    warm, steps = -(-len(source) // batch_size), max(1, images // batch_size // sides)
    results = []
    with draw(source, batch_size=batch_size, seed=0, pipeline=pipeline) as loader:
        for step in range(warm):
            loader.batch(step)
        for window in range(windows):
            wall, cpu = time.perf_counter(), time.process_time()
            for step in range(warm + window * steps, warm + (window + 1) * steps):
                loader.batch(step)
            taken = steps * batch_size * sides
            results.append((taken / (time.perf_counter() - wall), taken / (time.process_time() - cpu)))
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m uit_jax.data.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a folder, tfds:NAME or procedural")
    parser.add_argument("target", nargs="?", default="", help="domain B of a pair, where SRC does not hold both")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--depth", type=int, default=8, choices=(8, 16))
    parser.add_argument("--resample", default="bilinear", choices=sorted(FILTERS))
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--images", type=int, default=4096, help="images per window")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--pipeline", default="auto", choices=("auto", "tf.data", "threads"))
    args = parser.parse_args(argv)
    try:
        form = dict(size=args.size, channels=args.channels, depth=args.depth, resample=args.resample)
        if args.target or is_pair(parts(args.source)):
            source = open_pair(args.source, args.target, **form)
        else:
            source = open_source(args.source, **form)
        results = measure(
            source, batch_size=args.batch_size, images=args.images, windows=args.windows, pipeline=args.pipeline
        )
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    wall, cpu = (statistics.median(column) for column in zip(*results, strict=True))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(source.describe())
    print(f"{wall:8.0f} images/s on {cores} core(s)   {cpu:8.0f} images per CPU second   (median of {args.windows})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
