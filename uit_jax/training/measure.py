"""What a training step costs on the device at hand: time, work and memory, with random images and no data source."""

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.method import Method, Phase, batch_shapes, phase_key, phase_size, phases
from uit_jax.training import breakdown, chips, devices, loops, several, start
from uit_jax.types import Batch, PyTree

COLUMNS = (
    ("phase", "{phase}"),
    ("share", "{share:.0%}"),
    ("steps/s", "{steps_per_second:.3g}"),
    ("images/s", "{images_per_second:.4g}"),
    ("compile s", "{compile_seconds:.1f}"),
    ("GFLOP/step", "{gflop_per_step:.4g}"),
    ("GFLOP/s", "{gflop_per_second:.4g}"),
    ("MiB", "{mib:.0f}"),
)


def shares(method: Method, steps: int) -> dict[Phase, float]:
    """Return what share of a run of so many steps each of its phases has; of more than a million steps nearly."""
    many = 1_000_000
    if steps <= many:
        looked, known = range(steps), ()
    else:
        # Multiples of the golden ratio fall evenly and in step with no period; short phases may lie between them.
        looked = (int(steps * (each * 0.6180339887498949 % 1)) for each in range(many))
        known = phases(method, steps)
    counts = Counter(map(method.phase, looked))
    return {phase: counts[phase] / min(steps, many) for phase in dict.fromkeys((*known, *counts))}


def measure(config: ConfigDict, steps: int, windows: int, *, profiled: bool = False) -> dict[str, Any]:
    """Compile and time each phase of a config's training step; transfers of the batches are part of a step.

    Args:
      steps: in a window, at least.
      windows: of which the median counts.
      profiled: whether to tell, too, where the time of each phase's step goes.

    Returns:
      What is measured by name. "compile_seconds_saved" is how much longer compiling a program took that was read back
      from the cache. "first_step_seconds" is what the first step of a run takes: the initial state, its
      phase's compilation, and the step itself.
    """
    used = devices.devices_for(config.devices)
    method = config_module.method_of(config)
    room = several.room_of(config)
    lifted = devices.lift(several.step_of(method, room), config.parallel, used)
    began = time.perf_counter()
    state = jax.block_until_ready(lifted.put_state(config_module.initial_state(config, method)))
    drawn = time.perf_counter() - began
    measured = []
    for phase, share in shares(method, config.steps).items():
        size = phase_size(phase, config.batch_size)
        devices.check_batch(size, used, method.share_multiple, key=phase_key(phase))
        batches = [several.stack([_random_batch(config, method, phase, seed)] * room, room) for seed in range(4)]
        began, saved = time.perf_counter(), start.saved()
        with breakdown.named() if profiled else contextlib.nullcontext():
            program = lifted.compiled(state, lifted.put_batch(batches[0]), phase=phase)
        compiled = time.perf_counter() - began
        state, first, rates = _time(program, state, lifted.put_batch, batches, -(-steps // room), windows)
        rates = [room * rate for rate in rates]
        shapes = batch_shapes(method, phase, config.batch_size, depth=config.data.depth)
        rate, turns = statistics.median(rates), loops.turns(method, phase, state, shapes, len(used))
        gflop = turns * _flops(program) / 1e9
        measured.append(
            {
                "phase": phase.name,
                "share": share,
                "steps_per_second": rate,
                "images_per_second": rate * size,
                "windows": rates,
                "compile_seconds": compiled,
                "compile_seconds_saved": start.saved() - saved,
                "first_run_seconds": first,
                "gflop_per_step": gflop,
                "gflop_per_second": gflop * rate,
                "floor_seconds": chips.floor(used[0].device_kind, config.precision, gflop * 1e9),
                **memory_of(program),
            }
        )
        if profiled:
            state, measured[-1]["profile"] = _profile(program, state, lifted.put_batch, batches, method, room)
    return {
        "device": used[0].device_kind,
        "platform": used[0].platform,
        "devices": len(used),
        "processes": jax.process_count(),
        "jax": jax.__version__,
        "parallel": config.parallel,
        "precision": config.precision,
        "batch_size": config.batch_size,
        "image_size": config.data.image_size,
        "parameters": _parameters(state),
        "initial_state_seconds": drawn,
        "first_step_seconds": drawn + measured[0]["compile_seconds"] + measured[0]["first_run_seconds"],
        "phases": measured,
    }


def table(result: Mapping[str, Any]) -> str:
    """Lay out a result of `measure` with its config and overrides; work and memory are those of one device."""
    head = (
        "{config} {overrides}: {devices} x {device}, {parallel}, {precision}, batch {batch_size},"
        " {image_size} px, {millions:.1f} M parameters, first step after {first_step_seconds:.1f} s"
    ).format(**{**result, "overrides": " ".join(result["overrides"])}, millions=result["parameters"] / 1e6)
    rows = [[name for name, _ in COLUMNS]]
    rows += [[form.format(**phase) for _, form in COLUMNS] for phase in result["phases"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    profiles = [(phase["phase"], phase["profile"]) for phase in result["phases"] if "profile" in phase]
    return "\n".join([head, *lines, *(f"\n{name}: {breakdown.table(found)}" for name, found in profiles)])


def _time(
    program, state: PyTree, put, batches: list[Batch], steps: int, windows: int
) -> tuple[PyTree, float, list[float]]:
    """Return the state after running a program so many times a window, the seconds of the first run, and how often a
    second it ran in each window.
    """
    seconds = []
    for window in range(windows + 1):
        began = time.perf_counter()
        for step in range(steps if window else 1):
            state, metrics = program(state, put(batches[step % len(batches)]))
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    # The first window is one step, which warms up.
    return state, seconds[0], [steps / each for each in seconds[1:]]


def _profile(
    program, state: PyTree, put, batches: list[Batch], method: Method, room: int
) -> tuple[PyTree, dict[str, Any]]:
    """Return the state after running a program of `room` steps on each batch, and where the time of one step went."""

    def run() -> None:
        nonlocal state
        for batch in batches:
            state, metrics = program(state, put(batch))
        jax.block_until_ready((state, metrics))

    try:
        found = breakdown.measure(run, room * len(batches), program.as_text(), method)
    # The profilers of devices fail in many ways, and what was measured before is worth keeping.
    except Exception as error:
        found = {"failed": " ".join(f"{type(error).__name__}: {error}".split())}
    return state, found


def _random_batch(config: ConfigDict, method: Method, phase: Phase, seed: int) -> Batch:
    """Draw this process's rows of a phase's batch."""
    draw, batch = np.random.default_rng(seed), {}
    for name, like in batch_shapes(method, phase, config.batch_size, depth=config.data.depth).items():
        shape = (like.shape[0] // jax.process_count(), *like.shape[1:])
        below = {"label": method.classes, "number": config.batch_size}
        limit = below.get(name, np.iinfo(like.dtype).max + 1)
        batch[name] = draw.integers(0, limit, shape, like.dtype)
    return batch


def _flops(program) -> float:
    """Return the floating-point operations of a step on one device, as XLA counts them; 0 where it does not."""
    return max(costs_of(program).get("flops", 0.0), 0.0)


def costs_of(program) -> Mapping[str, float]:
    """Return what XLA says that a program costs one device; {} where it does not."""
    costs = program.cost_analysis() or {}
    return costs[0] if isinstance(costs, list) else costs


def memory_of(program) -> dict[str, float]:
    """Return MiB of one device that a step needs, in all and of each kind; 0 where XLA does not tell."""
    found = program.memory_analysis()
    names = ("argument", "output", "temp", "alias")
    kinds = {name: getattr(found, f"{name}_size_in_bytes", 0) / 2**20 for name in names}
    # A donated argument's memory is the output's too.
    total = kinds["argument"] + kinds["output"] + kinds["temp"] - kinds["alias"]
    return {"mib": total, **{f"mib_{kind}": size for kind, size in kinds.items()}}


def _parameters(state) -> int:
    return sum(leaf.size for learner in state.learners.values() for leaf in jax.tree.leaves(learner.params))
