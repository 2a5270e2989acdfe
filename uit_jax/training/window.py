"""The metrics of the steps since the last record, left on the device until they are asked for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from uit_jax.errors import UserError
from uit_jax.types import Array


class Window:
    """Metrics of consecutive steps; fetching them is the one moment at which training waits for the device."""

    def __init__(self):
        self._waiting: list[tuple[Sequence[int], Mapping[str, Array]]] = []
        self._fetched: list[dict[str, float]] = []

    def add(self, steps: Sequence[int], metrics: Mapping[str, Array], *, ahead: int) -> None:
        """Note the metrics of steps done as one; wait until at most `ahead` of such are still being computed.

        Args:
          steps: their numbers.
          metrics: scalars, or arrays whose first entries are those of the steps.
        """
        self._waiting.append((steps, metrics))
        if len(self._waiting) > ahead:
            jax.block_until_ready(self._waiting[-ahead - 1])

    def fetch(self) -> None:
        """Bring the waiting metrics to the host.

        Raises:
          UserError: one is NaN or infinite; the first such step and its terms are named.
        """
        waiting, self._waiting = self._waiting, []
        fetched = jax.device_get([metrics for _, metrics in waiting])
        for (steps, _), metrics in zip(waiting, fetched, strict=True):
            rows = {name: np.reshape(value, -1).tolist() for name, value in metrics.items()}
            for place, step in enumerate(steps):
                values = {name: row[place] for name, row in rows.items()}
                if broken := [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]:
                    raise UserError(f"step {step}: {', '.join(broken)}")
                self._fetched.append(values)

    def mean(self) -> dict[str, float]:
        """Average each term over the steps that had it, and begin a new window."""
        self.fetch()
        names = dict.fromkeys(name for values in self._fetched for name in values)
        means = {}
        for name in names:
            values = [step[name] for step in self._fetched if name in step]
            means[name] = math.fsum(values) / len(values)
        self._fetched = []
        return means

    def record(self) -> list[dict[str, Any]]:
        """Return what `restore` needs to go on in the middle of a window."""
        self.fetch()
        return self._fetched

    def restore(self, record: list[dict[str, Any]]) -> None:
        self._fetched = [dict(values) for values in record]
