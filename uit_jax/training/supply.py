"""Whether the images of a source are read as fast as a training step takes them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.data import benchmark
from uit_jax.method import Method, Phase, phase_size
from uit_jax.training import devices, several
from uit_jax.training.feed import Feed, Streams, open_sources


def opened(config: ConfigDict) -> Streams:
    """Open the sources that a config names for all of its phases. Raises UserError where it cannot learn from them."""
    method = config_module.method_of(config)
    return Streams(config, method, open_sources(config, method)[0], _phases(config, method))


def supply(
    config: ConfigDict, streams: Streams, measured: Sequence[Mapping[str, Any]], *, images: int, windows: int
) -> dict[str, Any]:
    """Measure how fast the batches of a config's phases are read, beside what their steps take.

    Each is measured alone: on a processor both take the same cores, and a run has less of either.

    Args:
      measured: the "phases" that `measure.measure` gives.
      images: that are read in a window.
      windows: of which the median counts.

    Returns:
      "phases" with `read_per_second`, images of one side, `keeps_up`, in rates of the step, and `waits`, the share of
      the time in which there is nothing to begin the next step with; "on_device", whether a run of this config keeps
      its images there, where none is read; and "image_bytes" of all of them.
    """
    method, found = config_module.method_of(config), []
    for phase, about in zip(_phases(config, method), measured, strict=True):
        rate = _rate(streams, phase, phase_size(phase, config.batch_size), images, windows)
        ratio = rate / about["images_per_second"]
        found.append({**about, "read_per_second": rate, "keeps_up": ratio, "waits": max(0.0, 1 - ratio)})
    return {"phases": found, **_keeping(config, method, streams)}


def told(config: ConfigDict, found: Mapping[str, Any]) -> str:
    """Say of each phase in a line whether images are read fast enough, and whether a run keeps all on the device."""
    lines = list(map(_told, found["phases"]))
    if found["on_device"]:
        size = f"{found['image_bytes'] / 1e6:.3g} MB"
        lines.append(f"data.on_device={config.data.on_device}: a run keeps all of them on the device, {size}")
    return "\n".join(lines)


def _told(phase: Mapping[str, Any]) -> str:
    head = "{phase}: the images are read at {read_per_second:.4g}/s, the step takes {images_per_second:.4g}/s: "
    fast, slow = "reading keeps up {keeps_up:.3g} times", "training waits {waits:.0%} of the time"
    return (head + (fast if phase["keeps_up"] >= 1 else slow)).format(**phase)


def _phases(config: ConfigDict, method: Method) -> list[Phase]:
    return list(dict.fromkeys(map(method.phase, range(config.steps))))


def _rate(streams: Streams, phase: Phase, size: int, images: int, windows: int) -> float:
    """Return how many images of one side are read per second."""
    sources = streams.sources(phase)
    read = benchmark.measure(sources, stream=phase.stream, batch_size=size, images=images, windows=windows)
    return statistics.median(wall for wall, _ in read) / len(sources)


def _keeping(config: ConfigDict, method: Method, streams: Streams) -> dict[str, Any]:
    used = devices.devices_for(config.devices)
    lifted = devices.lift(several.step_of(method, several.room_of(config)), config.parallel, used)
    feed = Feed(config, streams, lifted, used)
    shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
    return {"on_device": feed.keeps(0, shapes), "image_bytes": feed.bytes}
