"""The first step of a run and of each of its phases: how long it takes, and what is said and begun meanwhile."""

import time
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from uit_jax.method import Method, Phase
from uit_jax.training.ahead import Ahead, batches_to_come
from uit_jax.training.devices import Lifted
from uit_jax.training.progress import Progress
from uit_jax.types import PyTree

_hits, _saved = 0, 0.0


def _count(event: str, **_) -> None:
    global _hits
    _hits += event == "/jax/compilation_cache/cache_hits"


def _add(event: str, seconds: float, **_) -> None:
    global _saved
    _saved += seconds if event == "/jax/compilation_cache/compile_time_saved_sec" else 0


jax.monitoring.register_event_listener(_count)
jax.monitoring.register_event_duration_secs_listener(_add)


def read_back() -> int:
    """Return how many programs this process has read from the cache of compiled ones."""
    return _hits


def saved() -> float:
    """Return how many seconds longer compiling what this process has read back took than reading it."""
    return _saved


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


class Stepping:
    """Does a run's steps, with a word at the first one of each phase; behind the first of all, later phases' programs
    are compiled.
    """

    def __init__(self, config: ConfigDict, method: Method, lifted: Lifted, progress: Progress, start: Start):
        self._config, self._method, self._progress, self._start = config, method, progress, start
        self._ahead = Ahead(lifted)
        self._met: set[Phase] = set()

    def step(self, state: PyTree, batch: PyTree, *, phase: Phase, done: int) -> tuple[PyTree, PyTree]:
        """Do a step on a batch laid out over the devices, behind which `done` steps of the run are done."""
        if phase in self._met:
            return self._ahead.step(state, batch, phase=phase)
        first, began, read = not self._met, time.monotonic(), read_back()
        if first:
            self._start.done("first batch")
        self._progress.note(self._waits_for(phase))
        state, metrics = self._ahead.step(state, batch, phase=phase)
        if first:
            self._start.done("reading the program back from the cache" if read_back() > read else "compiling")
        jax.block_until_ready(metrics)
        self._met.add(phase)
        self._progress.exclude(time.monotonic() - began)
        self._progress.note(f"... and done with the first one after {time.monotonic() - began:.0f} s")
        if first:
            self._start.done("the step")
            self._progress.note(self._start.told())
            coming = batches_to_come(self._config, self._method, done)
            self._ahead.begin(state, {each: zeros for each, zeros in coming.items() if each != phase})
        return state, metrics

    def wait(self, phase: Phase, asked: Callable[[], bool]) -> bool:
        """Wait while a thread compiles the program of a phase; return False once `asked` says that no one needs it."""
        if not self._ahead.compiles(phase):
            return True
        began = time.monotonic()
        self._progress.note(f"waiting for the step of phase {phase.name}, which is being compiled ...")
        there = self._ahead.wait(phase, asked)
        self._progress.exclude(time.monotonic() - began)
        return there

    def _waits_for(self, phase: Phase) -> str:
        if self._ahead.ready(phase):
            return f"phase {phase.name} begins, its step compiled ahead ..."
        kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
        where = f", or reading it back from {kept}" if kept else ""
        return f"compiling the step of phase {phase.name}{where} ..."

    def close(self) -> None:
        """Begin no further compilation."""
        self._ahead.close()
