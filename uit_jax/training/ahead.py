"""The programs of later phases, compiled in a thread while the first one trains."""

import atexit
import threading
from collections.abc import Callable, Mapping
from concurrent import futures

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import programs
from uit_jax.method import Method, Phase, batch_shapes, load_size, phases
from uit_jax.training import several
from uit_jax.training.devices import Lifted
from uit_jax.types import Batch, PyTree

_LOOKS = 0.2  # seconds: a signal wakes nobody who waits for a thread


def batches_to_come(config: ConfigDict, method: Method, step: int) -> dict[Phase, Batch]:
    """Return a batch of zeros, this process's rows, for each phase of a run from a step on, counted from 0.

    There is none for images of their own size, which is not known before they are read.
    """
    coming = (phase for phase in phases(method, config.steps, step) if load_size(method, phase))
    room, depth = several.room_of(config), config.data.depth
    shapes = {phase: batch_shapes(method, phase, config.batch_size, depth=depth) for phase in coming}
    return {phase: several.stack([_zeros(each)], room) for phase, each in shapes.items()}


def _zeros(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> Batch:
    hosts = jax.process_count()
    return {name: np.zeros((like.shape[0] // hosts, *like.shape[1:]), like.dtype) for name, like in shapes.items()}


def _shapes(batch: PyTree) -> dict[str, tuple]:
    return {name: (each.shape, each.dtype) for name, each in batch.items()}


class Ahead:
    """A lifted step that has its programs compiled before they are needed.

    What another thread compiles is the program of `lifted.step`, and every process of a run compiles the same ones in
    the same order. What goes wrong there is raised by the first step of that phase.
    """

    def __init__(self, lifted: Lifted):
        self._lifted = lifted
        self._coming: dict[Phase, futures.Future] = {}

    def begin(self, state: PyTree, batches: Mapping[Phase, Batch]) -> None:
        """Begin to compile the programs of phases, of which a batch of this process is given; the state is not kept."""
        if not (batches and self._lifted.by_shapes):
            return
        self._coming = {phase: futures.Future() for phase in batches}
        # Its arrays are the next step's, which donates them.
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
        # A compilation cannot be interrupted, and a process that is told to end shall not wait for it.
        thread = threading.Thread(target=self._compile, args=(shapes, batches), daemon=True)
        thread.start()
        programs.compiling.append(thread)
        # An interpreter that ends under it would crash.
        atexit.register(thread.join)

    def _compile(self, state: PyTree, batches: Mapping[Phase, Batch]) -> None:
        for phase, batch in batches.items():
            future = self._coming[phase]
            if not future.set_running_or_notify_cancel():
                continue
            try:
                laid = self._lifted.put_batch(batch)
                future.set_result((self._lifted.compiled(state, laid, phase=phase), _shapes(laid)))
            except BaseException as error:  # whatever it is, the one who waits for the program is told
                future.set_exception(error)

    def ready(self, phase: Phase) -> bool:
        """Say whether the program of a phase was compiled ahead."""
        future = self._coming.get(phase)
        return future is not None and future.done() and not future.cancelled() and future.exception() is None

    def compiles(self, phase: Phase) -> bool:
        """Say whether the program of a phase is being compiled."""
        return phase in self._coming and self._coming[phase].running()

    def wait(self, phase: Phase, asked: Callable[[], bool]) -> bool:
        """Wait while the program of a phase is being compiled; return False once `asked` says that no one needs it."""
        while self.compiles(phase):
            if asked():
                return False
            futures.wait([self._coming[phase]], timeout=_LOOKS)
        return True

    def step(self, state: PyTree, batch: PyTree, *, phase: Phase) -> tuple[PyTree, PyTree]:
        """Do a step as `lifted.step` does, waiting for its program where another thread compiles it."""
        # What the other thread has not come to is compiled here, beside what it compiles.
        if phase not in self._coming or self._coming[phase].cancel():
            return self._lifted.step(state, batch, phase=phase)
        program, shapes = self._coming[phase].result()
        # A program takes the batches that it was compiled for and no others.
        return program(state, batch) if _shapes(batch) == shapes else self._lifted.step(state, batch, phase=phase)

    def close(self) -> None:
        """Begin no further compilation."""
        for future in self._coming.values():
            future.cancel()
