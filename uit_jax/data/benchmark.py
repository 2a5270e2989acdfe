"""Measure the input pipeline alone; for the figure of one core, run it under `taskset -c 0`."""

import os
import statistics
import time
from typing import Any

from uit_jax.data.opening import is_pair, parts
from uit_jax.data.order import ALL
from uit_jax.data.side_batches import side_batches
from uit_jax.data.sides import Sources, Wanted, describe, open_sides
from uit_jax.method import Side, Stream


def measure_source(
    source: str,
    target: str = "",
    *,
    size: int = 128,
    channels: int = 3,
    depth: int = 8,
    resample: str = "bilinear",
    batch_size: int = 32,
    images: int = 4096,
    windows: int = 5,
    pipeline: str = "auto",
) -> dict[str, Any]:
    """Open a source, or the two domains of a pair, and measure how fast its batches are read.

    Args:
      source: a spec; `target` is domain B of a pair, where `source` does not hold both.
      images: of a window; of a pair, those of both domains count.
      windows: of which the median is given.

    Returns:
      images per second of wall-clock time and of the process's CPU time, and what was measured.

    Raises UserError.
    """
    names = ("a", "b") if target or is_pair(parts(source)) else ("image",)
    wanted = Wanted(source, target, depth=depth, resample=resample)
    sources = open_sides([Side(name, channels) for name in names], wanted, size=size)
    measured = measure(sources, batch_size=batch_size, images=images, windows=windows, pipeline=pipeline)
    wall, cpu = (statistics.median(column) for column in zip(*measured, strict=True))
    return {
        "source": describe(sources),
        "images_per_second": wall,
        "images_per_cpu_second": cpu,
        "windows": windows,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def measure(
    sources: Sources,
    *,
    batch_size: int,
    images: int,
    windows: int,
    pipeline: str = "auto",
    stream: Stream = ALL,
    warm: int | None = None,
) -> list[tuple[float, float]]:
    """Return (images per second, images per CPU second) of each window, after a warm-up of one epoch.

    In the first epoch every file's headers are read. `warm` is how many images of a side the warm-up has at most.
    """
    steps, taken = max(1, images // batch_size // len(sources)), len(sources) * batch_size
    epoch = max(map(len, sources.values()))
    warm = -(-min(epoch, epoch if warm is None else warm) // batch_size)
    results = []
    with side_batches(sources, batch_size=batch_size, seed=0, pipeline=pipeline, stream=stream) as loader:
        for step in range(warm):
            loader.batch(step)
        for window in range(windows):
            wall, cpu = time.perf_counter(), time.process_time()
            for step in range(warm + window * steps, warm + (window + 1) * steps):
                loader.batch(step)
            results.append((steps * taken / (time.perf_counter() - wall), steps * taken / (time.process_time() - cpu)))
    return results
