"""What a training step needs of devices, read from its compiled program: of devices here, or of a TPU that is not.

Nothing is run. For a TPU's topology the very step that a pod would run is compiled on any machine with libtpu.
"""

import functools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.errors import UserError
from uit_jax.method import Method, Phase, batch_shapes, phase_key, phase_size, training_step
from uit_jax.training import devices, loops, measure
from uit_jax.training.chips import TPUS, Chip

HERE = "here"

COLUMNS = (
    ("phase", "{phase}"),
    ("share", "{share:.0%}"),
    ("GFLOP", "{gflop:.4g}"),
    ("GB moved", "{traffic_gb:.3g}"),
    ("MB exchanged", "{exchanged_mb:.3g}"),
    ("MiB needed", "{mib:.0f}"),
    ("compile s", "{compile_seconds:.0f}"),
)
ESTIMATE = (
    ("s/step, at least", "{floor_seconds:.3g}"),
    ("exchange s", "{exchange_seconds:.2g}"),
    ("efficiency", "{efficiency:.1%}"),
)


def plan(
    config: ConfigDict,
    *,
    target: str = HERE,
    memory: float | None = None,
    largest: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compile each phase of a config's training step for devices, and read what it needs of one of them.

    Args:
      target: "here", or the topology of a TPU such as "v5e:2x4".
      memory: of a device, in bytes; by default what is known of it.
      largest: whether to look for the largest global batch that fits, too.
      note: told, in a line, what is being compiled.

    Returns:
      A JSON-able record. Of TPUs `floor_seconds` is the longer of arithmetic and memory traffic at the chip's published
      speeds, `exchange_seconds` the exchange of a ring at that of its links, and `efficiency` the share of the first in
      both.

    Raises:
      UserError: there is no such target, or the batch cannot be divided among its devices.
    """
    used, chip = _devices(config, target)
    room = memory if memory is not None else chip.memory if chip else devices.memory_of(used[0])
    method = config_module.method_of(config)
    parts = measure.shares(method, config.steps)
    found = []
    for phase, share in parts.items():
        note(f"compiling phase {phase.name} for {len(used)} devices")
        found.append({"phase": phase.name, "share": share, **_needs(config, method, phase, used, chip)})
    record = {
        "target": target if chip else devices.told(used),
        "devices": len(used),
        "batch_size": config.batch_size,
        "precision": config.precision,
        "memory_gib": room / 2**30 if np.isfinite(room) else None,
        "fits": bool(max(each["mib"] for each in found) * 2**20 <= room),
        "phases": found,
    }
    if largest:
        needs = [(each["mib"], phase) for phase, each in zip(parts, found, strict=True) if not phase.batch_size]
        mib, hungriest = max(needs, key=lambda each: each[0])
        needed = functools.partial(_needed, config, hungriest, used, {config.batch_size: mib}, note)
        record["largest_batch"] = largest_batch(needed, config.batch_size, len(used) * method.share_multiple, room)
    return record


def table(record: Mapping[str, Any]) -> str:
    """Lay a record of `plan` out for a terminal; all is of one device."""
    columns = COLUMNS + (ESTIMATE if "efficiency" in record["phases"][0] else ())
    rows = [[name for name, _ in columns]]
    rows += [[form.format(**phase) for _, form in columns] for phase in record["phases"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    known = record["memory_gib"] is not None
    room = f"of {record['memory_gib']:.4g} GiB each" if known else "of unknown memory"
    head = "{devices} devices ({target}) {room}, global batch {batch_size}, {precision}".format(**record, room=room)
    told = "" if not known else "it fits" if record["fits"] else "it does not fit"
    if record.get("largest_batch"):
        told += f"; the largest global batch that does: {record['largest_batch']}"
    elif "largest_batch" in record:
        told += "; no batch does"
    return "\n".join([head, *lines, *filter(None, [told])])


def _devices(config: ConfigDict, target: str) -> tuple[Sequence[Any], Chip | None]:
    """Return the devices of a target, and what is known of its chips. Raises UserError."""
    if target == HERE:
        return devices.devices_for(config.devices), None
    kind = target.partition(":")[0]
    if kind not in TPUS:
        raise UserError(f"--target={target}: give {HERE}, or a TPU's topology: {', '.join(TPUS)}, as in v5e:2x4")
    # Or libtpu would look for the TPU that it runs on.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=target).devices, TPUS[kind]
    # Without libtpu it is one kind of error, of an impossible topology another.
    except Exception as error:
        why = " ".join(str(error).split())[:160]
        raise UserError(
            f"--target={target}: cannot be compiled for ({why}): pip install '.[tpu]', and name a topology there is"
        ) from error


def _needs(
    config: ConfigDict, method: Method, phase: Phase, used: Sequence[Any], chip: Chip | None
) -> dict[str, float]:
    """Compile a phase and return what it needs of one device."""
    devices.check_batch(phase_size(phase, config.batch_size), used, method.share_multiple, key=phase_key(phase))
    began = time.perf_counter()
    state, batch = _shapes(config, method, phase)
    program = devices.lower(training_step(method), used, state, batch, phase=phase).compile()
    seconds = time.perf_counter() - began
    costs, exchanged = measure.costs_of(program), exchanged_bytes(program.as_text(), len(used))
    turns = loops.turns(method, phase, state, batch, len(used))
    found = {
        "gflop": turns * max(costs.get("flops", 0.0), 0.0) / 1e9,
        "traffic_gb": turns * max(costs.get("bytes accessed", 0.0), 0.0) / 1e9,
        "exchanged_mb": exchanged / 1e6,
        "compile_seconds": seconds,
        **measure.memory_of(program),
    }
    if chip:
        floor = max(found["gflop"] * 1e9 / chip.flops, found["traffic_gb"] * 1e9 / chip.bandwidth)
        exchange = exchanged / chip.links
        found |= {"floor_seconds": floor, "exchange_seconds": exchange, "efficiency": floor / (floor + exchange)}
    return found


def _shapes(config: ConfigDict, method: Method, phase: Phase):
    state = jax.eval_shape(lambda: config_module.initial_state(config, method))
    return state, batch_shapes(method, phase, config.batch_size, depth=config.data.depth)


def _needed(config: ConfigDict, phase: Phase, used, known: dict[int, float], note, batch: int) -> float:
    """Return the bytes of a device that a phase needs with a global batch, infinity where the settings rule it out."""
    if batch not in known:
        try:
            changed = config_module.update(config.copy_and_resolve_references(), {"batch_size": batch})
            method = config_module.method_of(changed)
            shapes = _shapes(changed, method, phase)
        except UserError:
            return np.inf
        note(f"compiling phase {phase.name} with a global batch of {batch}")
        program = devices.lower(training_step(method), used, *shapes, phase=phase).compile()
        known[batch] = measure.memory_of(program)["mib"]
    return known[batch] * 2**20


def largest_batch(needed: Callable[[int], float], start: int, multiple: int, room: float) -> int | None:
    """Return the largest multiple of a number that needs no more than `room`, up to 64 times `start`; None for none.

    What a batch needs is taken to grow as a line, by those of `start` and of twice as many; what is found that way is
    proven by asking, and lowered until it fits.
    """
    if not np.isfinite(room):
        return None
    slope = max((needed(2 * start) - needed(start)) / start, 1.0)
    grown = 2 * start if np.isinf(slope) else start + (room - needed(start)) / slope
    guess = int(min(grown, 64 * start))
    while (guess := guess // multiple * multiple) >= multiple:
        if needed(guess) <= room:
            return guess
        guess -= max(multiple, guess // 16)
    return None


# A shape, or several, and what makes it; what only ends an exchange that has begun is left out.
_EXCHANGE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+?)(\d+)?\[([\d,]*)\]")


def exchanged_bytes(program: str, count: int) -> float:
    """Return how many bytes each of `count` devices sends, by the text of a compiled program, if rings do it."""
    total = 0.0
    for shapes, kind, begun in _EXCHANGE.findall(program):
        sizes = [_bytes(*shape) for shape in _SHAPE.findall(shapes)]
        # What is begun returns what it was given, then what it makes.
        size = sum(sizes[len(sizes) // 2 :] if begun and kind != "all-reduce" else sizes)
        total += size * {"all-reduce": 2, "reduce-scatter": count}.get(kind, 1) * (count - 1) / count
    return total


def _bytes(kind: str, bits: str, sides: str) -> float:
    return int(np.prod([int(side) for side in filter(None, sides.split(","))])) * (int(bits or 8) / 8)
