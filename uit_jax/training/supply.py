"""Whether the images of a source are read as fast as a training step takes them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.data import benchmark
from uit_jax.method import Method, Phase
from uit_jax.training import devices, several
from uit_jax.training.feed import Feed, Streams, open_sources


def opened(config: ConfigDict) -> Streams:
    """Open the sources that a config names for all of its phases. Raises UserError where it cannot learn from them."""
    method = config_module.method_of(config)
    return Streams(config, method, open_sources(config, method)[0], _phases(config, method))


def supply(
    config: ConfigDict, streams: Streams, measured: Sequence[Mapping[str, Any]], *, images: int, windows: int
) -> dict[str, Any]:
    """Measure how fast the batches of a config's phases are read, beside what their steps take (`reading`).

    Returns:
      "phases"; and what `keeping` tells.
    """
    phases = reading(config, streams, measured, images=images, windows=windows)
    return {"phases": phases, **keeping(config, streams)}


def reading(
    config: ConfigDict,
    streams: Streams,
    measured: Sequence[Mapping[str, Any]],
    *,
    images: int,
    windows: int,
    warm: int | None = None,
) -> list[dict[str, Any]]:
    """Measure how fast the batches of a config's phases are read; phases whose batches are of one kind, together.

    Each is measured alone: on a processor steps take the same cores, and a run has less of either.

    Args:
      measured: the "phases" that `measure.measure` gives.
      images: that are read in a window.
      windows: of which the median counts.
      warm: images that are read before, at most; by default an epoch, in which every file's headers are read.

    Returns:
      `measured` with `read_per_second`, images of one side, `keeps_up`, in rates of the step, and `waits`, the share of
      the time in which there is nothing to begin the next step with.
    """
    method, rates, found = config_module.method_of(config), {}, []
    for phase, about in zip(_phases(config, method), measured, strict=True):
        if (kind := streams.kind(phase)) not in rates:
            rates[kind] = _rate(streams, phase, images=images, windows=windows, warm=warm)
        ratio = rates[kind] / about["images_per_second"]
        found.append({**about, "read_per_second": rates[kind], "keeps_up": ratio, "waits": max(0.0, 1 - ratio)})
    return found


def keeping(config: ConfigDict, streams: Streams) -> dict[str, Any]:
    """Return "on_device", whether a run of a config keeps its images there and reads none, and "image_bytes" of all."""
    method, used = config_module.method_of(config), devices.devices_for(config.devices)
    lifted = devices.lift(several.step_of(method, several.room_of(config)), config.parallel, used)
    feed = Feed(config, streams, lifted, used)
    shapes = jax.eval_shape(lambda: config_module.initial_state(config, method))
    return {"on_device": feed.keeps(0, shapes), "image_bytes": feed.bytes}


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


def _rate(streams: Streams, phase: Phase, **how: int | None) -> float:
    """Return how many images of one side are read per second."""
    kind, sources = streams.kind(phase), streams.sources(phase)
    read = benchmark.measure(sources, stream=kind.stream, batch_size=kind.batch_size, **how)
    return statistics.median(wall for wall, _ in read) / len(sources)
