"""The scores of all checkpoints that a run keeps: the final ones, the best, and the mean of the five best."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from uit_jax import checkpoint, runs
from uit_jax.errors import UserError
from uit_jax.evaluation.context import Evaluator
from uit_jax.evaluation.report import CAPTIONS, EVALUATORS, evaluate
from uit_jax.images.charts import chart
from uit_jax.paths import PathLike, as_path

BEST = 5
CHOSEN = "the best are chosen by the very images that they are scored on: {images} of {source}"
_FALLING = {name for kind in EVALUATORS.values() for name in kind.falling}
# Of these a checkpoint is no better for having more, or they are of no checkpoint at all.
_BESIDE = ("_low", "_high", "_chance", "_floor")


def series(
    workdir: PathLike,
    evaluators: Sequence[str | Evaluator] | None = None,
    *,
    direction: str | None = None,
    data_max_pixels: int | None = None,
    **how: Any,
) -> dict[str, Any]:
    """Score every checkpoint that is kept; return a JSON-able record.

    Args:
      workdir: the run's folder.
      evaluators, how: as `evaluate` has them.
      direction, data_max_pixels: as `runs.load` has them.

    Raises:
      UserError: there is no checkpoint, or one cannot be scored.
    """
    steps = checkpoint.steps(as_path(workdir))
    if not steps:
        raise UserError(f"--workdir={workdir}: no checkpoint is kept there, so there is no series")
    records = []
    for step in tqdm(steps, desc="checkpoints", unit="step", disable=None, leave=False):
        run = runs.load(workdir, step, direction=direction, data_max_pixels=data_max_pixels)
        records.append(evaluate(run, evaluators, **how))
    last = records[-1]
    names = [name for name in last["scores"] if all(name in record["scores"] for record in records)]
    values = {name: [record["scores"][name] for record in records] for name in names}
    summed = {name: summary(steps, values[name], falling=name in _FALLING) for name in names if _is_ranked(name)}
    kept = {name: value for name, value in last.items() if name not in ("scores", "step")}
    return {"series": summed, "steps": steps, "values": values, "chosen_by": CHOSEN.format(**last), **kept}


def summary(steps: Sequence[int], values: Sequence[float], *, falling: bool) -> dict[str, Any]:
    """Return the final value, the best one, and the mean of the five best, or of all where they are fewer."""
    order = np.argsort(np.array(values) if falling else -np.array(values), kind="stable")
    best = order[:BEST]
    return {
        "final": values[-1],
        "final_step": steps[-1],
        "best": values[best[0]],
        "best_step": steps[best[0]],
        "mean_of_best": float(np.mean([values[i] for i in best])),
        "best_steps": [steps[i] for i in best],
        "smaller_is_better": falling,
    }


def table(record: Mapping[str, Any]) -> str:
    """Lay a record of `series` out for a terminal."""
    head = ("", "final", "best", "at step", f"mean of {min(BEST, len(record['steps']))} best")
    rows = [head]
    for name, each in record["series"].items():
        told = CAPTIONS.get(name, name).strip()
        rows.append(
            (told, f"{each['final']:.5g}", f"{each['best']:.5g}", str(each["best_step"]), f"{each['mean_of_best']:.5g}")
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_aligned(row, widths) for row in rows]
    steps = ", ".join(map(str, record["steps"]))
    about = [f"in {record['features']['name']}"] if "features" in record else []
    return "\n".join([record["source"], f"checkpoints at {steps}", *about, "", *lines, "", record["chosen_by"]])


def picture(record: Mapping[str, Any]) -> np.ndarray:
    """Draw every score over the steps, one chart below the other: uint8 [H, W, 3]."""
    charts = [
        chart(record["steps"], record["values"][name], CAPTIONS.get(name, name).strip(), marked=each["best_step"])
        for name, each in record["series"].items()
    ]
    return np.concatenate(charts)


def _is_ranked(name: str) -> bool:
    return not name.endswith(_BESIDE)


def _aligned(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return first[0].ljust(first[1]) + "".join("  " + text.rjust(width) for text, width in others)
