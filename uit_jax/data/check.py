"""`uit data check`: what a source holds, and what is wrong with it, before anyone trains."""

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from uit_jax.data.opening import find_part, parts, split_class, stored_form
from uit_jax.data.sources.base import EncodedSource, Form, Source
from uit_jax.data.sources.folders import pair_folders
from uit_jax.errors import shown
from uit_jax.images import decode as decoding
from uit_jax.images import opening, rasters
from uit_jax.images.opening import MAX_PIXELS, Unreadable
from uit_jax.listing import told_endings
from uit_jax.paths import as_path

_BLOCK = 256
_NAMED = 5  # examples named for each finding


class _Finding(NamedTuple):
    """One image: its kind, (width, height), digest of its bytes, dHash, what it loses; or why it is unreadable."""

    kind: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    dhash: int = 0
    reason: str = ""
    lost: tuple[str, ...] = ()


@dataclasses.dataclass
class SplitReport:
    """What one split holds.

    Attributes:
      split: "train", "test", "all", or of a pair of domains "trainA" and so on.
      count: images listed, unreadable ones included.
      kinds: images by "FORMAT mode".
      sizes: images by (width, height), before any resizing and as EXIF turns them.
      classes: images by class name.
      lost: images by what is lost when they are read, or done to them: see `images.decode`.
      passed: files that are no images, by ending.
      unreadable: (name, reason) of each unreadable image.
      duplicates: groups of names of byte-identical images.
      lookalikes: groups of names of images with equal 64-bit dHash, at least two of them not byte-identical.
    """

    split: str
    count: int
    kinds: dict[str, int]
    sizes: dict[tuple[int, int], int]
    classes: dict[str, int]
    lost: dict[str, int]
    passed: dict[str, int]
    unreadable: list[tuple[str, str]]
    duplicates: list[list[str]]
    lookalikes: list[list[str]]


@dataclasses.dataclass
class Report:
    """What a source holds, by split; `shared` names pairs of byte-identical images in two of the splits."""

    spec: str
    splits: list[SplitReport]
    shared: list[tuple[str, str]]
    problems: list[str]

    @property
    def usable(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        lines = [shown(self.spec)]
        for part in self.splits:
            lines += ["", *_table(part)]
        if self.shared:
            title = "in train and test" if len(self.splits) == 2 else "in two splits"
            named = (f"  {shown(a)} = {shown(b)}" for a, b in self.shared[:_NAMED])
            lines += ["", f"{title:<18}  {len(self.shared)}", *named]
        lines += ["", *(f"problem: {shown(text)}" for text in self.problems)] if self.problems else ["", "usable"]
        return "\n".join(lines)


def check(
    spec: str,
    *,
    max_unreadable_share: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[..., Iterable[Any]] = lambda blocks, **_: blocks,
) -> Report:
    """Read every image of every split of a source and report on them.

    A source is unusable where more of a split's images are unreadable than the share, as are those of
    more than `max_pixels` pixels.
    `progress` wraps a list of blocks of images, as tqdm does, and takes `desc`.
    Raises UserError where the source cannot be opened at all.
    """
    found_parts, reports, digests, problems = parts(spec), [], {}, _missing_side(spec)
    for split in found_parts or ("train",):
        # Arrays as they are stored, the procedural world as it is usually drawn; the form of files is not looked at.
        source = find_part(spec, split, stored_form(spec, split) or Form(128, max_pixels=max_pixels))
        found = _findings(source, lambda blocks, split=split: progress(blocks, desc=split))
        problems += source.damage()
        part = _summary(split if found_parts else "all", source, found)
        reports.append(part)
        digests[split] = {f.digest: source.names[i] for i, f in enumerate(found) if not f.reason}
        if len(part.unreadable) > max_unreadable_share * part.count:
            problems.append(
                f"{len(part.unreadable)} of {part.count} images of {part.split} are unreadable, more than the share of "
                f"{max_unreadable_share:g} that data.max_unreadable_share allows"
            )
    shared = [
        (one[digest], other[digest])
        for one, other in itertools.combinations(digests.values(), 2)
        for digest in one
        if digest in other
    ]
    return Report(spec, reports, shared, problems)


def dhash(gray: Image.Image) -> int:
    """Return the 64-bit difference hash: whether each pixel of the image at 9 x 8 is brighter than its left one."""
    small = np.asarray(gray.convert("L").resize((9, 8), Image.Resampling.BILINEAR))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def _findings(source: Source, progress: Callable[[list[range]], Iterable[range]]) -> list[_Finding]:
    look = _look_encoded if isinstance(source, EncodedSource) else _look_array
    blocks = [range(i, min(i + _BLOCK, len(source))) for i in range(0, len(source), _BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [found for block in progress(blocks) for found in pool.map(lambda i: look(source, i), block)]


def _look_encoded(source: EncodedSource, index: int) -> _Finding:
    try:
        with opening.decoding():
            return _looked_at(source.encoded(index), source.form.max_pixels)
    except Unreadable as error:
        return _Finding(reason=str(error))


def _looked_at(data: bytes, max_pixels: int) -> _Finding:
    """Describe the image of a file. Raises Unreadable."""
    if (odd := rasters.odd(data, max_pixels)) is not None:
        name, raster = odd
        return _finding(f"{name} {_stored(raster.pixels)}", raster.pixels, data)
    facts = decoding.facts(image := opening.opened(data, max_pixels))
    turned = " EXIF-turned" if facts.turned else ""
    found = _finding(f"{facts.format} {facts.mode}{turned}", decoding.pixels(image, size=None, channels=1), data)
    profile = {"converted": "profile to sRGB", "unusable": "unusable profile"}.get(facts.profile)
    lost = {"alpha": facts.alpha, "further pages or frames": facts.more, profile: profile is not None}
    return found._replace(lost=tuple(what for what, is_so in lost.items() if is_so))


def _look_array(source: Source, index: int) -> _Finding:
    image = source.image(index)
    kind = {1: "L", 3: "RGB"}.get(image.shape[-1]) if image.dtype == np.uint8 else None
    return _finding(f"array {kind or _stored(image)}", image, image.tobytes())


def _finding(kind: str, pixels: np.ndarray, data: bytes) -> _Finding:
    """Describe an image; its dHash is that of the luma of colour, and of the first channel of anything else."""
    shown = decoding.to_depth(pixels, 8)
    shown = decoding.to_channels(shown, 1) if shown.shape[-1] == 3 else shown
    gray = Image.fromarray(np.ascontiguousarray(shown[..., 0]))
    return _Finding(kind, gray.size, hashlib.sha256(data).digest(), dhash(gray))


def _stored(pixels: np.ndarray) -> str:
    return f"{pixels.dtype} x {pixels.shape[-1]}"


def _missing_side(spec: str) -> list[str]:
    """Say which folder of a pair is not there, if the other is."""
    base, _ = split_class(spec)
    there = {"trainA", "trainB"} & set(() if base.startswith("tfds:") else pair_folders(as_path(base)))
    return [f"has {name} but not the other folder of a pair" for name in there if len(there) == 1]


def _summary(split: str, source: Source, found: list[_Finding]) -> SplitReport:
    readable = [(source.names[i], f) for i, f in enumerate(found) if not f.reason]
    same, alike = collections.defaultdict(list), collections.defaultdict(dict)
    for name, finding in readable:
        same[finding.digest].append(name)
        alike[finding.dhash].setdefault(finding.digest, name)
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.classes))
    return SplitReport(
        split=split,
        count=len(source),
        kinds=dict(collections.Counter(f.kind for _, f in readable).most_common()),
        sizes=dict(collections.Counter(f.size for _, f in readable).most_common()),
        lost=dict(collections.Counter(what for _, f in readable for what in f.lost).most_common()),
        classes={name: int(count) for name, count in zip(source.classes, counts, strict=True)},
        passed=source.passed,
        unreadable=[(source.names[i], f.reason) for i, f in enumerate(found) if f.reason],
        duplicates=[names for names in same.values() if len(names) > 1],
        lookalikes=[list(names.values()) for names in alike.values() if len(names) > 1],
    )


def _table(part: SplitReport) -> list[str]:
    sizes = [f"{w} x {h}: {count}" for (w, h), count in list(part.sizes.items())[:_NAMED]]
    if len(part.sizes) > _NAMED:
        areas = sorted(part.sizes, key=lambda size: size[0] * size[1])
        sizes.append(f"... {len(part.sizes)} sizes from {_by(areas[0])} to {_by(areas[-1])}")
    rows = [
        ("split", part.split),
        ("images", str(part.count)),
        ("formats and modes", ", ".join(f"{kind}: {count}" for kind, count in part.kinds.items()) or "none"),
        ("sizes", ", ".join(sizes) or "none"),
        ("classes", ", ".join(f"{shown(name)}: {count}" for name, count in part.classes.items()) or "unlabelled"),
        ("lost in reading", ", ".join(f"{what}: {count}" for what, count in part.lost.items()) or "nothing"),
        *([("passed over", told_endings(part.passed))] if part.passed else []),
        ("unreadable", str(len(part.unreadable))),
        ("exact duplicates", _groups(part.duplicates)),
        ("equal dHash", _groups(part.lookalikes)),
    ]
    lines = []
    for title, text in rows:
        lines.append(f"{title:<18}  {text}")
        if title == "unreadable":
            lines += [f"  {shown(name)} ({shown(reason)})" for name, reason in part.unreadable]
        groups = {"exact duplicates": part.duplicates, "equal dHash": part.lookalikes}.get(title, [])
        lines += [f"  {' = '.join(map(shown, names[:_NAMED]))}" for names in groups[:_NAMED]]
    return lines


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _groups(groups: list[list[str]]) -> str:
    return f"{sum(map(len, groups))} images in {len(groups)} groups" if groups else "0"
