"""Unpaired pairs of domains: two sources, opened together, and batches of images of both.

A pair is named by one spec that holds both domains (a folder with trainA and trainB, a TFDS builder with these splits,
the procedural world, of which classes 0 and 1 are taken), or by two specs, each of any kind: a folder, one image
file, a class "SPEC#CLASS".
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from uit_jax.data.batches import Batches, HostBatch, open_batches
from uit_jax.data.opening import is_procedural, open_part, parts, split_class
from uit_jax.data.order import PairOrder
from uit_jax.data.sources.base import Form, Reader, Source
from uit_jax.data.sources.folders import PAIR_FOLDERS, pair_folders
from uit_jax.errors import UserError

Place = tuple[str, str]  # a spec and the part of it
_PROCEDURAL = ("0", "1")  # the classes that are the domains where none are named


@dataclasses.dataclass(frozen=True)
class Pair:
    """The images of two domains; `b` is None where only A is held out."""

    a: Source
    b: Source | None

    def __len__(self) -> int:
        """Return the examples of an epoch."""
        return max(len(side) for side in (self.a, self.b) if side is not None)

    def describe(self) -> str:
        """Say in one line what both sides hold."""
        return f"A {self.a.describe()}; B {self.b.describe() if self.b is not None else 'none'}"


class PairBatches:
    """The batches of a pair, by step: `batch(step)` is a pure function of (seed, step, row). Close it after use.

    `pipelines` tells what reads A and B: "tf.data" or "threads".
    """

    def __init__(self, a: Batches, b: Batches):
        self._sides = {"a": a, "b": b}

    @property
    def pipelines(self) -> tuple[str, str]:
        return tuple(side.pipeline for side in self._sides.values())

    def batch(self, step: int) -> HostBatch:
        """Return this process's rows: "a" and "b", uint8 or uint16 [B_local, H, W, C], each of its own H, W and C.

        Raises UserError once too many images are unreadable.
        """
        return {name: side.batch(step)["image"] for name, side in self._sides.items()}

    def close(self) -> None:
        """Stop reading ahead."""
        for side in self._sides.values():
            side.close()

    def __enter__(self) -> "PairBatches":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_pair(
    source: str,
    target: str = "",
    *,
    split: str = "train",
    direction: str = "AtoB",
    size: int,
    channels: int = 3,
    target_channels: int = 0,
    depth: int = 8,
    resample: str = "bilinear",
    seed: int = 0,
) -> Pair:
    """Open the "train" or "test" images of a pair.

    Args:
      source: both domains, or domain A where there is a `target`.
      target: domain B.
      direction: "BtoA" exchanges the two: what would be B is A of the pair.
      size: the side to which images are resized; 0 for their own size, which is one for each domain.
      channels, target_channels: of A and B of the pair; 0: of B as many as of A.
      depth, resample, seed: as in `open_source`.

    Raises UserError in one line for whatever is wrong with either.
    """
    places = _places(source, target, split)
    return _open(places, direction, _forms(size, channels, target_channels, depth, resample), seed)


def open_test_pair(
    source: str,
    target: str = "",
    test_source: str = "",
    test_target: str = "",
    *,
    direction: str = "AtoB",
    size: int,
    channels: int = 3,
    target_channels: int = 0,
    depth: int = 8,
    resample: str = "bilinear",
    seed: int = 0,
) -> Pair:
    """Open the held-out images of a pair: of A at least, and of B where there are any.

    They are the test images of `test_source` and `test_target`, or all of these where they are one whole; else those of
    `source` and `target`. A `test_source` that holds both domains gives both.
    Raises UserError, also where nothing is held out.
    """
    if test_source and not test_target and _holds_both(test_source, alone=not target):
        split = "test" if {"test", "testA"} & set(_pair_parts(test_source)) else "train"
        places = _places(test_source, "", split)
    else:
        places = [_held_out("data.test_source", test_source), _held_out("data.test_target", test_target)]
        if None in places:
            inner = _places(source, target, "test")
            places = [named or place for named, place in zip(places, inner, strict=True)]
    first, second = places if direction == "AtoB" else reversed(places)
    if not _exists(second):
        second = None
    places = (first, second) if direction == "AtoB" else (second, first)
    return _open(places, direction, _forms(size, channels, target_channels, depth, resample), seed)


def pair_batches(
    pair: Pair,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    steps: Iterable[int] | None = None,
    process_index: int = 0,
    process_count: int = 1,
    max_unreadable_share: float = 0.01,
    pipeline: str = "auto",
) -> PairBatches:
    """Give the batches of a pair, unpaired: see `PairOrder` for their order; the arguments are those of `batches`.

    A batch may be larger than the pair, and holds images twice then.
    Raises UserError where the batch does not divide among the processes.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"batch_size={batch_size} does not divide among {process_count} processes")
    steps = steps if steps is None or isinstance(steps, range) else tuple(steps)  # for both sides

    def side(source: Source, drawn: bool) -> Batches:
        order = PairOrder(len(source), len(pair), drawn, batch_size, seed, process_index, process_count)
        reader = Reader(source, np.arange(len(source)), source.labels, max_unreadable_share=max_unreadable_share)
        return open_batches(order, reader, start_step=start_step, steps=steps, pipeline=pipeline)

    return PairBatches(side(pair.a, drawn=False), side(pair.b, drawn=True))


def _forms(size: int, channels: int, target_channels: int, depth: int, resample: str) -> tuple[Form, Form]:
    if target_channels < 0:
        raise UserError(f"data.target_channels is {target_channels}; give their number, or 0 for that of domain A")
    a = Form(size, channels, depth, resample)
    return a, a._replace(channels=target_channels or channels, channels_key="data.target_channels")


def _open(places: Sequence[Place | None], direction: str, forms: tuple[Form, Form], seed: int) -> Pair:
    if direction not in ("AtoB", "BtoA"):
        raise UserError(f"data.direction is {direction!r}; it is 'AtoB' or 'BtoA'")
    places = places if direction == "AtoB" else places[::-1]
    sides = (place and open_part(*place, form, seed=seed) for place, form in zip(places, forms, strict=True))
    return Pair(*sides)


def _places(source: str, target: str, split: str) -> tuple[Place, Place]:
    """Return where the two domains are."""
    if split not in ("train", "test"):
        raise UserError(f"unknown split {split!r}; there are 'train' and 'test'")
    if target:
        for key, spec in (("data.source", source), ("data.target", target)):
            if _holds_both(spec, alone=False):
                raise UserError(f"{key}={spec}: holds both domains; leave data.target empty, or name one of them here")
        return (source, split), (target, split)
    if not _holds_both(source, alone=True):
        parts(source)  # which may find that there is no such thing at all
        raise UserError(
            f"{source}: is one set of images, and a pair needs a second: set data.target (a folder, a file, a class as"
            " in SPEC#CLASS), or give a folder with trainA and trainB"
        )
    found = _pair_parts(source)
    if "train" in found:
        return tuple((f"{source}#{name}", split) for name in _PROCEDURAL)
    for mine, other in (("A", "B"), ("B", "A")):
        if split + mine not in found and split + other in found and split == "train":
            raise UserError(f"{source}: has {split}{other} but no {split}{mine}; a pair has both")
    return (source, f"{split}A"), (source, f"{split}B")


def _holds_both(spec: str, *, alone: bool) -> bool:
    """Tell whether a spec names both domains; the procedural world does where it stands `alone`."""
    found = _pair_parts(spec)
    return bool(found) and (alone or "train" not in found)


def _pair_parts(spec: str) -> tuple[str, ...]:
    """Return the parts of a pair that a spec has, ("train", "test") for the procedural world, () for anything else."""
    base, chosen = split_class(spec)
    if chosen:
        return ()
    if is_procedural(base):
        return parts(base)
    found = parts(base) if base.startswith("tfds:") else pair_folders(Path(base).expanduser())
    return tuple(part for part in found if part in PAIR_FOLDERS)


def _held_out(key: str, spec: str) -> Place | None:
    """Return the held-out part of a source that is named for it, None where none is named."""
    if not spec:
        return None
    if _holds_both(spec, alone=False):
        raise UserError(f"{key}={spec}: holds both domains; leave data.test_target empty, or name one of them here")
    return spec, "test" if parts(spec) else "train"


def _exists(place: Place) -> bool:
    spec, part = place
    if part in PAIR_FOLDERS:
        return part in _pair_parts(spec)
    found = parts(spec)
    return part in found or (not found and part == "train")
