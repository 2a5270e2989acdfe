"""Measure the input pipeline: `python -m uit_jax.data.benchmark SRC [--size S]`.

For the figure of one core, run it under `taskset -c 0`. Prints images per second of wall-clock time and of the
process's CPU time, the median of several windows, after a first pass in which every file's headers are read.
"""

import argparse
import os
import statistics
import sys
import time

from uit_jax.data.batches import batches
from uit_jax.data.opening import open_source
from uit_jax.errors import UserError


def measure(source, *, batch_size: int, images: int, windows: int, pipeline: str) -> list[tuple[float, float]]:
    """Return (images per second, images per CPU second) of each window, after a warm-up of one epoch."""
    warm, steps = -(-len(source) // batch_size), max(1, images // batch_size)
    results = []
    with batches(source, batch_size=batch_size, seed=0, pipeline=pipeline) as loader:
        for step in range(warm):
            loader.batch(step)
        for window in range(windows):
            wall, cpu = time.perf_counter(), time.process_time()
            for step in range(warm + window * steps, warm + (window + 1) * steps):
                loader.batch(step)
            taken = steps * batch_size
            results.append((taken / (time.perf_counter() - wall), taken / (time.process_time() - cpu)))
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m uit_jax.data.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a folder, tfds:NAME or procedural")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--images", type=int, default=4096, help="images per window")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--pipeline", default="auto", choices=("auto", "tf.data", "threads"))
    args = parser.parse_args(argv)
    try:
        source = open_source(args.source, size=args.size, channels=args.channels)
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
