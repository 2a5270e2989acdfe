"""A method's data: the source of each of its sides, and where these lie.

One side is one set of images. Two are the domains of an unpaired pair, named by one spec that holds both (a folder with
trainA and trainB, a TFDS builder with these splits, the procedural world, of which classes 0 and 1 are taken), or by
two specs, each of any kind: a folder, one image file, a class "SPEC#CLASS".
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uit_jax.data.opening import Place, held_out, is_procedural, open_part, parts, single, split_class, splits
from uit_jax.data.order import ALL, stream_members
from uit_jax.data.sources.base import DOMAINS, Form, Source
from uit_jax.data.sources.folders import pair_folders
from uit_jax.errors import UserError
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.method import DIRECTIONS, Side, Stream
from uit_jax.paths import as_path

Sources = dict[str, Source]  # by the names of the sides, in the method's order

_PROCEDURAL = ("0", "1")  # the classes that are the domains where none are named


class Wanted(NamedTuple):
    """What is to be opened, as `config.data` names it.

    Attributes:
      source: the images, both domains of a pair, or its domain A where there is a `target`.
      target: domain B.
      direction: "AtoB", or "BtoA", which exchanges the two: what would be B is the first side.
      test_source, test_target: held-out images, where they are not the test splits of the former.
      depth, resample, max_pixels: see `Form`.
    """

    source: str
    target: str = ""
    direction: str = "AtoB"
    test_source: str = ""
    test_target: str = ""
    depth: int = 8
    resample: str = "bilinear"
    max_pixels: int = MAX_PIXELS


def open_sides(sides: Sequence[Side], wanted: Wanted, *, split: str = "train", size: int, seed: int = 0) -> Sources:
    """Open the "train" or "test" images of a method's sides.

    Args:
      wanted: where they lie, `config.data` or any other object with the fields of `Wanted`.
      size: the side to which images are resized; 0 for their own size, which is one for all of a side.
      seed: of the procedural world.

    Raises UserError in one line for whatever is wrong with any of them.
    """
    return _open(sides, wanted, places(len(sides), wanted, split), size, seed)


def open_test_sides(
    sides: Sequence[Side], wanted: Wanted, spec: str = "", *, size: int, seed: int = 0
) -> Sources:
    """Open the held-out images of a method's sides: of the first at least, and of the others that have any.

    They are the test images of `test_source` and `test_target`, or all of these where they are one whole; else those of
    `source` and `target`. A `test_source` that holds both domains gives both.

    Args:
      spec: in the place of what is `wanted`: both domains, or a source that is of the first side alone.

    Raises UserError, also where nothing is held out.
    """
    if spec:
        wanted = _instead(len(sides), wanted, spec)
    return _open(sides, wanted, places(len(sides), wanted, "held out"), size, seed)


def open_last_side(sides: Sequence[Side], wanted: Wanted, spec: str = "", *, size: int, seed: int = 0) -> Source:
    """Open the images of a method's last side, which of two is the one that styles are of: held-out ones if there are.

    Args:
      spec: in the place of what is `wanted`: both domains, or a source that is of this side alone.

    Raises UserError.
    """
    if len(sides) > 1 and (not spec or _holds_both(spec, alone=True)):
        pair = Wanted(spec, direction=wanted.direction) if spec else wanted
        place = places(len(sides), pair, "held out")[-1] or places(len(sides), pair, "train")[-1]
    else:
        spec = spec or wanted.test_source or wanted.source
        place = single(spec, "test" if "test" in splits(spec) else "train")
    return _open(sides, wanted, (None,) * (len(sides) - 1) + (place,), size, seed)[sides[-1].name]


def describe(sources: Sources) -> str:
    """Say in one line what all sides hold."""
    if len(sources) == 1:
        return next(iter(sources.values())).describe()
    return "; ".join(f"{name.upper()} {source.describe()}" for name, source in sources.items())


def fingerprint(sources: Sources) -> dict[str, Any]:
    """Return what tells the images of a run from others: how many there are, and what the labels of one side mean."""
    counts = {f"{'target_' * place}images": len(source) for place, source in enumerate(sources.values())}
    first = next(iter(sources.values()))
    if len(sources) > 1:
        return counts
    own = {} if first.relabelling is None else {"labels": first.relabelling}
    return {**counts, "classes": list(first.classes), **own}


def check_same(record: Mapping[str, Any], sources: Sources) -> None:
    """Raise a UserError for other images than a run began with, whose fingerprint is in `record`.

    The order of the data is that of the sources the run began with. One made of published files began with none.
    """
    for what, value in fingerprint(sources).items():
        if value != record.get(what, value):
            raise UserError(
                f"the source now has {what} {value}, the run began with {record[what]}: continue on the same"
                " images, or begin a new run in another --workdir"
            )


def check_enough(
    name: str, sources: Sources, batch_size: int, stream: Stream = ALL, *, key: str = "batch_size"
) -> None:
    """Raise a UserError that begins with `name` where a stream is empty, or of one side has fewer images than a batch.

    Of several sides, and of the labelled images, a batch may hold some twice. `key` is the setting of its size.
    """
    counts = [len(stream_members(source, stream)[0]) for source in sources.values()]
    if len(sources) == 1 and counts[0] < batch_size and stream.kind != "labelled":
        kind = "unlabelled images" if stream.kind == "unlabelled" else "images"
        raise UserError(f"{name}: {counts[0]} {kind} are fewer than {key}={batch_size}: lower it")


def repeated(sources: Sources, batch_size: int) -> str:
    """Say which side a batch holds images of more than once, "" where it need not."""
    few = [f"{len(each)} of {name.upper()}" for name, each in sources.items() if len(each) < batch_size]
    return f"there are {' and '.join(few)}: a batch of {batch_size} holds images of it more than once" if few else ""


def places(count: int, wanted: Wanted, split: str) -> tuple[Place | None, ...]:
    """Return where the images of each of `count` sides lie; here alone one side and two differ.

    `split` is "train", "test", or "held out", for the test images wherever they are, None where a later side has none.
    Raises UserError.
    """
    if count == 1:
        return (held_out(wanted.source, wanted.test_source) if split == "held out" else single(wanted.source, split),)
    found = _held_out_domains(wanted) if split == "held out" else _domains(wanted.source, wanted.target, split)
    if wanted.direction not in DIRECTIONS:
        raise UserError(f"data.direction is {wanted.direction!r}; it is {' or '.join(map(repr, DIRECTIONS))}")
    first, second = found if wanted.direction == DIRECTIONS[0] else reversed(found)
    return first, second if split != "held out" or _exists(second) else None


def _open(sides: Sequence[Side], wanted: Wanted, found: Sequence[Place | None], size: int, seed: int) -> Sources:
    sources = {}
    for index, (side, place) in enumerate(zip(sides, found, strict=True)):
        key = "data.target_channels" if index else "data.channels"
        form = Form(size, side.channels, wanted.depth, wanted.resample, key, wanted.max_pixels)
        if place is not None:
            sources[side.name] = open_part(*place, form, seed=seed)
    return sources


def _domains(source: str, target: str, split: str) -> tuple[Place, Place]:
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


def _held_out_domains(wanted: Wanted) -> tuple[Place, Place]:
    """Return where the held-out images of the two domains are, if they are anywhere."""
    if wanted.test_source and not wanted.test_target and _holds_both(wanted.test_source, alone=not wanted.target):
        split = "test" if {"test", "testA", "testB"} & set(_pair_parts(wanted.test_source)) else "train"
        return _domains(wanted.test_source, "", split)
    named = _named("data.test_source", wanted.test_source), _named("data.test_target", wanted.test_target)
    if None not in named:
        return named
    own = _domains(wanted.source, wanted.target, "test")
    return tuple(mine or place for mine, place in zip(named, own, strict=True))


def _instead(count: int, wanted: Wanted, spec: str) -> Wanted:
    """Return where the held-out images of `count` sides are if `spec` is those of both, or of the first alone."""
    wanted = Wanted(**{name: getattr(wanted, name) for name in Wanted._fields})
    if count == 1 or _holds_both(spec, alone=not wanted.target):
        return wanted._replace(test_source=spec, test_target="")
    keys = ("test_source", "test_target")
    first, second = keys if wanted.direction == DIRECTIONS[0] else keys[::-1]
    other = getattr(wanted, second)
    # Of a whole pair no setting names the half that is left.
    return wanted._replace(**{first: spec, second: "" if other and _holds_both(other, alone=False) else other})


def _named(key: str, spec: str) -> Place | None:
    """Return the held-out part of a source that is named for it, None where none is named."""
    if not spec:
        return None
    if _holds_both(spec, alone=False):
        raise UserError(f"{key}={spec}: holds both domains; leave data.test_target empty, or name one of them here")
    return spec, "test" if parts(spec) else "train"


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
    found = parts(base) if base.startswith("tfds:") else pair_folders(as_path(base))
    return tuple(part for part in found if part in DOMAINS)


def _exists(place: Place) -> bool:
    spec, part = place
    if part in DOMAINS:
        return part in _pair_parts(spec)
    found = parts(spec)
    return part in found or (not found and part == "train")
