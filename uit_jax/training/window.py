"""The metrics of the steps since the last record, left on the device until they are asked for."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from uit_jax.errors import UserError
from uit_jax.types import Array


class Window:
    """Metrics of consecutive steps; fetching them is the one moment at which training waits for the device."""

    def __init__(self):
        self._waiting: list[tuple[int, Mapping[str, Array]]] = []
        self._fetched: list[dict[str, float]] = []

    def add(self, step: int, metrics: Mapping[str, Array], *, ahead: int) -> None:
        """Note a step's metrics; wait until at most `ahead` steps are still being computed."""
        self._waiting.append((step, metrics))
        if len(self._waiting) > ahead:
            jax.block_until_ready(self._waiting[-ahead - 1])

    def fetch(self) -> None:
        """Bring the waiting metrics to the host.

        Raises:
          UserError: one is NaN or infinite; the first such step and its terms are named.
        """
        waiting, self._waiting = self._waiting, []
        for step, metrics in jax.device_get(waiting):
            values = {name: float(value) for name, value in metrics.items()}
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
