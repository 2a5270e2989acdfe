"""What a run is fed with: its sources, and for each step the batch of the stream that the step's phase draws from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from uit_jax import data
from uit_jax.errors import UserError
from uit_jax.types import Batch, Method


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What loader a phase's batches come from: its stream, global batch size, and the side images are read at."""

    stream: str
    batch_size: int
    size: int


class Streams:
    """The loaders of a run, one for each kind of batch that its phases draw."""

    def __init__(self, config: ConfigDict, method: Method, source):
        self._config, self._method = config, method
        # Of every size that will be read, so that one which cannot be is known at the start.
        first, *later = (_load_size(config, method, method.phase(step)) for step in (0, config.steps - 1))
        self._sources = {first: source, **{size: _open_train(config, method, size) for size in later if size != first}}
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

    def _kind(self, phase: str) -> _Kind:
        size = self._method.batch_size(phase, self._config.batch_size)
        return _Kind(self._method.stream(phase), size, _load_size(self._config, self._method, phase))

    def _open(self, kind: _Kind):
        config, method = self._config, self._method
        how: dict[str, Any] = dict(
            batch_size=kind.batch_size,
            seed=config.seed,
            steps=(s for s in range(self._begun, config.steps) if self._kind(method.phase(s)) == kind),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            max_unreadable_share=config.data.max_unreadable_share,
        )
        source = self._sources[kind.size]
        if method.layout == "pair":
            return data.pair_batches(source, **how)
        share = config.method.get("labelled_share", 0.0)
        return data.batches(source, stream=kind.stream, labelled_share=share, **how)


def open_sources(config: ConfigDict, method: Method):
    """Open the training source and the test source, pairs of them for a method of pairs; None where nothing is held
    out.
    """
    source = _open_train(config, method, _load_size(config, method, method.phase(0)))
    if method.layout == "pair":
        return source, _open_test(config, method)
    name, count = f"data.source={config.data.source}", len(source)
    if count < config.batch_size:
        raise UserError(f"{name}: {count} images are fewer than batch_size={config.batch_size}")
    if config.method.get("labelled_share", 0.0) > 0:
        domains = config.method.get("domains", len(source.classes))
        if not source.classes:
            raise UserError(f"{name} has no labels, but method.labelled_share is above 0")
        if len(source.classes) > domains:
            raise UserError(f"{name} has {len(source.classes)} classes: set method.domains to as many")
    return source, _open_test(config, method)


def fingerprint(source) -> dict:
    """Return what tells a source, or a pair of them, from another one."""
    if isinstance(source, data.Pair):
        return {"images": len(source.a), "target_images": len(source.b)}
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


def _load_size(config: ConfigDict, method: Method, phase: str) -> int:
    return config.data.image_size if method.load_size is None else method.load_size(phase)


def _open_train(config: ConfigDict, method: Method, size: int):
    wanted = config.data
    if method.layout == "pair":
        return data.open_pair(wanted.source, wanted.target, split="train", **_pair_shape(config, size))
    return data.open_source(wanted.source, split="train", **_shape(config, size))


def _open_test(config: ConfigDict, method: Method):
    wanted = config.data
    try:
        if method.layout == "pair":
            # Pictures are drawn of whole images: at the size of the crops, or their own.
            size = _load_size(config, method, method.phase(0)) and wanted.image_size
            names = wanted.source, wanted.target, wanted.test_source, wanted.test_target
            return data.open_test_pair(*names, **_pair_shape(config, size))
        return data.open_test(wanted.source, wanted.test_source, **_shape(config, wanted.image_size))
    except UserError:
        # Only a test source that was named has to exist.
        if wanted.test_source or wanted.test_target:
            raise
        return None


def _shape(config: ConfigDict, size: int) -> dict[str, Any]:
    """Return how images are to be read."""
    wanted = config.data
    return dict(size=size, channels=wanted.channels, depth=wanted.depth, resample=wanted.resample, seed=config.seed)


def _pair_shape(config: ConfigDict, size: int) -> dict[str, Any]:
    wanted = config.data
    return dict(_shape(config, size), target_channels=wanted.target_channels, direction=wanted.direction)
