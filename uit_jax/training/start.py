"""How long a run takes to its first step, and what takes it."""

import time

import jax

_hits = 0


def _count(event: str, **_) -> None:
    global _hits
    _hits += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_count)


def read_back() -> int:
    """Return how many programs this process has read from the cache of compiled ones."""
    return _hits


class Start:
    """A clock that is read at the end of each part of what comes before, and is, the first step.

    Args:
      began: when it began, by `time.monotonic`; by default now.
    """

    def __init__(self, began: float | None = None):
        self._began = self._last = time.monotonic() if began is None else began
        self._parts: list[str] = []

    def done(self, part: str) -> None:
        """End a part, which began when the last one ended."""
        now = time.monotonic()
        self._parts.append(f"{part} {now - self._last:.1f}")
        self._last = now

    def told(self) -> str:
        """Say in one line how long all of it took, and each part."""
        return f"the first step is done, {self._last - self._began:.1f} s after the start: {', '.join(self._parts)}"
