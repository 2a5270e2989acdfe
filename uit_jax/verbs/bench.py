"""`uit bench`: measure the training step of a config on the device at hand, with random images and no data source."""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax import methods
from uit_jax.errors import UserError
from uit_jax.training import devices as parallel
from uit_jax.types import Batch, Method

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


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="uit bench",
        description=__doc__,
        epilog="A table on stderr, JSON on stdout. Any setting: --config.key=value.",
    )
    parser.add_argument("--config", action="append", required=True, help="configs/NAME.py[:preset]; may be repeated")
    parser.add_argument("--steps", type=int, default=10, help="steps in a window (default 10)")
    parser.add_argument("--windows", type=int, default=5, help="windows, of which the median counts (default 5)")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    rest, overrides = config_module.split(argv)
    args = parser.parse_args(rest)
    if args.steps < 1 or args.windows < 1:
        raise UserError("--steps and --windows must be 1 at least")
    if args.out is not None and not args.out.parent.is_dir():
        raise UserError(f"--out={args.out}: there is no folder {args.out.parent}")
    configs = [(spec, config_module.resolve(spec, overrides)) for spec in args.config]
    results = []
    for spec, config in configs:
        results.append({"config": spec, "overrides": overrides, **measure(config, args.steps, args.windows)})
        print(table(results[-1]), file=sys.stderr, flush=True)
    text = json.dumps(results, indent=2)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")
    return 0


def measure(config: ConfigDict, steps: int, windows: int) -> dict[str, Any]:
    """Compile and time each phase of a config's training step; transfers of the batches are part of a step."""
    devices = parallel.devices_for(config.devices)
    method = config_module.build_method(config)
    lifted = parallel.lift(methods.training_step(method), config.parallel, devices)
    state = lifted.put_state(config_module.initial_state(config, method))
    counts = Counter(method.phase(step) for step in range(config.steps))
    phases = []
    for phase, count in counts.items():
        size = method.batch_size(phase, config.batch_size)
        parallel.check_batch(size, devices, method.batch_multiple)
        batches = [_random_batch(config, method, phase, seed) for seed in range(4)]
        began = time.perf_counter()
        program = lifted.compiled(state, lifted.put_batch(batches[0]), phase=phase)
        compiled = time.perf_counter() - began
        rates = []
        for window in range(windows + 1):
            began = time.perf_counter()
            for step in range(steps if window else 1):
                state, metrics = program(state, lifted.put_batch(batches[step % len(batches)]))
            jax.block_until_ready((state, metrics))
            rates.append(steps / (time.perf_counter() - began))
        # The first window warms up.
        rate = statistics.median(rates[1:])
        gflop = _flops(program) / 1e9
        phases.append(
            {
                "phase": phase,
                "share": count / config.steps,
                "steps_per_second": rate,
                "images_per_second": rate * size,
                "windows": rates[1:],
                "compile_seconds": compiled,
                "gflop_per_step": gflop,
                "gflop_per_second": gflop * rate,
                **_memory(program),
            }
        )
    return {
        "device": devices[0].device_kind,
        "platform": devices[0].platform,
        "devices": len(devices),
        "processes": jax.process_count(),
        "jax": jax.__version__,
        "parallel": config.parallel,
        "precision": config.precision,
        "batch_size": config.batch_size,
        "image_size": config.data.image_size,
        "parameters": _parameters(state),
        "phases": phases,
    }


def table(result: dict[str, Any]) -> str:
    """Lay one result out for people; work and memory are those of one device."""
    head = (
        "{config} {overrides}: {devices} x {device}, {parallel}, {precision}, batch {batch_size},"
        " {image_size} px, {millions:.1f} M parameters"
    ).format(**{**result, "overrides": " ".join(result["overrides"])}, millions=result["parameters"] / 1e6)
    rows = [[name for name, _ in COLUMNS]]
    rows += [[form.format(**phase) for _, form in COLUMNS] for phase in result["phases"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join([head, *("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)])


def _random_batch(config: ConfigDict, method: Method, phase: str, seed: int) -> Batch:
    """Draw this process's rows of a phase's batch."""
    draw, batch = np.random.default_rng(seed), {}
    for name, like in config_module.batch_shapes(config, method, phase).items():
        shape = (like.shape[0] // jax.process_count(), *like.shape[1:])
        limit = config.method.get("domains", 1) if name == "label" else np.iinfo(like.dtype).max + 1
        batch[name] = draw.integers(0, limit, shape, like.dtype)
    return batch


def _flops(program) -> float:
    """Return the floating-point operations of a step on one device, as XLA counts them; 0 where it does not."""
    costs = program.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, list) else costs
    return max(costs.get("flops", 0.0), 0.0)


def _memory(program) -> dict[str, float]:
    """Return MiB of one device that a step needs, in all and of each kind; 0 where XLA does not tell."""
    found = program.memory_analysis()
    names = ("argument", "output", "temp", "alias")
    kinds = {name: getattr(found, f"{name}_size_in_bytes", 0) / 2**20 for name in names}
    # A donated argument's memory is the output's too.
    total = kinds["argument"] + kinds["output"] + kinds["temp"] - kinds["alias"]
    return {"mib": total, **{f"mib_{kind}": size for kind, size in kinds.items()}}


def _parameters(state) -> int:
    return sum(leaf.size for learner in state.learners.values() for leaf in jax.tree.leaves(learner.params))
