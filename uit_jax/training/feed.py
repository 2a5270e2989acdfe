"""What a run is fed with: its sources, and for each step the batch of the stream that the step's phase draws from."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import data
from uit_jax.data import Sources
from uit_jax.errors import UserError
from uit_jax.method import Method, Phase, Stream, load_size, phase_key, phase_size
from uit_jax.types import Batch


class _Kind(NamedTuple):
    """What loader a phase's batches come from: its stream, global batch size, and the side images are read at."""

    stream: Stream
    batch_size: int
    size: int


class Streams:
    """The loaders of a run, one for each kind of batch that its phases draw."""

    def __init__(self, config: ConfigDict, method: Method, sources: Sources, drawing: Iterable[Phase]):
        """Open the sources for these phases. Raises UserError for whatever one of their batches cannot be made of."""
        self._config, self._method = config, method
        self._sources = {load_size(method, method.phase(0)): sources}
        self._loaders = {}
        self._begun = 0
        seen = set()
        for phase in drawing:
            if (kind := self._kind(phase)) not in seen:
                seen.add(kind)
                self._check(kind, phase_key(phase))

    def begin(self, step: int) -> None:
        self._begun = step

    def batch(self, step: int, phase: Phase) -> Batch:
        """Return this process's rows of the batch of a step; it depends on nothing but seed, step and row."""
        kind = self._kind(phase)
        if kind not in self._loaders:
            self._loaders[kind] = self._open(kind)
        return self._loaders[kind].batch(step)

    def close(self) -> None:
        for loader in self._loaders.values():
            loader.close()

    def _check(self, kind: _Kind, key: str) -> None:
        """Make sure that there are images enough, and that they are large enough for what is cut out of them."""
        sources, size = self._of_size(kind.size), kind.batch_size
        data.check_enough(_name(self._config), sources, size, kind.stream, key=key)
        batch = {name: jax.ShapeDtypeStruct((size, *each.shape), each.dtype) for name, each in sources.items()}
        batch["label"] = jax.ShapeDtypeStruct((size,), np.int32)
        jax.eval_shape(self._method.views, jax.random.PRNGKey(0), batch)

    def _kind(self, phase: Phase) -> _Kind:
        size = phase_size(phase, self._config.batch_size)
        return _Kind(phase.stream, size, load_size(self._method, phase))

    def _of_size(self, size: int) -> Sources:
        if size not in self._sources:
            self._sources[size] = _open_train(self._config, self._method, size)
        return self._sources[size]

    def _open(self, kind: _Kind):
        config, method = self._config, self._method
        return data.side_batches(
            self._of_size(kind.size),
            labelled=tuple(side.name for side in method.sides if side.labelled),
            stream=kind.stream,
            batch_size=kind.batch_size,
            seed=config.seed,
            steps=(s for s in range(self._begun, config.steps) if self._kind(method.phase(s)) == kind),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            max_unreadable_share=config.data.max_unreadable_share,
        )


def open_sources(config: ConfigDict, method: Method) -> tuple[Sources, Sources]:
    """Open the training images of a method's sides, and the held-out ones: {} where there are none.

    Raises:
      UserError: sources that cannot be opened, or that the method cannot learn from.
    """
    sources = _open_train(config, method, load_size(method, method.phase(0)))
    for source in sources.values():
        method.check_images(_name(config), len(source), source.classes)
    return sources, _open_test(config, method)


def _name(config: ConfigDict) -> str:
    return f"data.source={config.data.source}"


def _open_train(config: ConfigDict, method: Method, size: int) -> Sources:
    return data.open_sides(method.sides, config.data, split="train", size=size, seed=config.seed)


def _open_test(config: ConfigDict, method: Method) -> Sources:
    # Pictures are drawn of whole images: at the size of the crops, or their own.
    size = load_size(method, method.phase(0)) and method.image_size
    try:
        return data.open_test_sides(method.sides, config.data, size=size, seed=config.seed)
    except UserError:
        # Only a test source that was named has to exist.
        if config.data.test_source or config.data.test_target:
            raise
        return {}
