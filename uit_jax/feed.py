"""What a run is fed with: its sources, and for each step the batch of the stream that the step's phase draws from."""

from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.types import Batch, Method


class Streams:
    """The loaders of a run, one for each stream of the data that its phases draw from."""

    def __init__(self, config: ConfigDict, method: Method, source):
        self._config, self._method, self._source = config, method, source
        self._loaders = {}
        self._begun = 0

    def begin(self, step: int) -> None:
        self._begun = step

    def batch(self, step: int, phase: str) -> Batch:
        """Return this process's rows of the batch of a step; it depends on nothing but seed, step and row."""
        kind = self._kind(phase)
        if kind not in self._loaders:
            self._loaders[kind] = self._open(kind)
        return self._loaders[kind].batch(step)

    def close(self) -> None:
        for loader in self._loaders.values():
            loader.close()

    def _kind(self, phase: str) -> tuple[str, int]:
        return self._method.stream(phase), self._method.batch_size(phase, self._config.batch_size)

    def _open(self, kind: tuple[str, int]):
        config, method = self._config, self._method
        stream, batch_size = kind
        return data.batches(
            self._source,
            batch_size=batch_size,
            seed=config.seed,
            steps=(s for s in range(self._begun, config.steps) if self._kind(method.phase(s)) == kind),
            stream=stream,
            labelled_share=config.method.get("labelled_share", 0.0),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            max_unreadable_share=config.data.max_unreadable_share,
        )


def open_sources(config: ConfigDict):
    """Open the training source and the test source; None for the latter where nothing is held out."""
    wanted = config.data
    shape = dict(size=wanted.image_size, channels=wanted.channels, seed=config.seed)
    source = data.open_source(wanted.source, split="train", **shape)
    name, count = f"data.source={wanted.source}", len(source)
    if count < config.batch_size:
        raise UserError(f"{name}: {count} images are fewer than batch_size={config.batch_size}")
    if config.method.get("labelled_share", 0.0) > 0:
        domains = config.method.get("domains", len(source.classes))
        if not source.classes:
            raise UserError(f"{name} has no labels, but method.labelled_share is above 0")
        if len(source.classes) > domains:
            raise UserError(f"{name} has {len(source.classes)} classes: set method.domains to as many")
    return source, _open_test(config, shape)


def _open_test(config: ConfigDict, shape: Mapping):
    try:
        return data.open_test(config.data.source, config.data.test_source, **shape)
    except UserError:
        # Only a test source that was named has to exist.
        if config.data.test_source:
            raise
        return None


def fingerprint(source) -> dict:
    return {"images": len(source), "classes": list(source.classes)}


def check_source(record: Mapping, source) -> None:
    """Refuse to go on with other images: the order of the data is that of the source the run began with."""
    now = fingerprint(source)
    for what, value in now.items():
        if value != record[what]:
            raise UserError(
                f"the source now has {what} {value}, the run began with {record[what]}: continue on the same"
                " images, or begin a new run in another --workdir"
            )
