"""From a spec to a source: a path, "tfds:NAME[:split]" or "procedural[:key=value,...]", each perhaps with "#CLASS".

Parts of a source are "train" and "test", or those of a pair of domains: "trainA", "trainB", "testA" and "testB".
A source that is one whole (a folder without train and test folders, a packed set of one) has no parts: it opens as
"train", and as "test" only where it is named as the test source.
"""

from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.data.sources.base import DOMAINS, EncodedSource, FileSource, Form, Source
from uit_jax.data.sources.folders import folder_splits, list_images, list_split, pair_folders
from uit_jax.data.sources.packed import PackedSource, is_packed, packed_form
from uit_jax.data.sources.procedural import ProceduralSource
from uit_jax.errors import NoSuchPart, UserError
from uit_jax.listing import ARRAYS, PICTURES, check_readable
from uit_jax.paths import as_path

Place = tuple[str, str]  # a spec and the part of it


def splits(spec: str) -> tuple[str, ...]:
    """Return the splits a spec offers, of "train" and "test"; () where it is one whole. Raises UserError."""
    found = parts(spec)
    if is_pair(found):
        raise UserError(
            f"{spec}: holds image pairs ({', '.join(found)}); for single images name one folder or split of it"
        )
    return found


def parts(spec: str) -> tuple[str, ...]:
    """Return the parts of a source, a pair's too; () where it is one whole. Raises UserError."""
    base, _ = split_class(spec)
    kind = _kind(base)
    if kind == "procedural":
        return ("train", "test")
    if kind == "tfds":
        from uit_jax.data.sources import tfds as tfds_source

        return tuple(tfds_source.splits(base))
    root = as_path(base)
    return () if root.is_file() or is_packed(root) else tuple(folder_splits(root))


def is_pair(found: tuple[str, ...]) -> bool:
    """Tell whether parts are those of a pair of domains."""
    return any(part.endswith(("A", "B")) for part in found)


def open_source(spec: str, *, split: str = "train", seed: int = 0, **form: Any) -> Source:
    """Open a split of a source as images [S, S, C], uint8 (depth 8) or uint16 (depth 16).

    Args:
      split: "train" or "test".
      seed: of the procedural world.
      form: the fields of `Form`; without a size (0), images are read at their own, which must be one for all of them.

    Raises UserError in one line for whatever is wrong with the source.
    """
    return open_part(*single(spec, split), Form(**form), seed=seed)


def open_test(spec: str, test_spec: str = "", *, seed: int = 0, **form: Any) -> Source:
    """Open the held-out images, as `open_source` does. Raises UserError, also where there is nothing held out."""
    return open_part(*held_out(spec, test_spec), Form(**form), seed=seed)


def single(spec: str, split: str) -> Place:
    """Return where the images of a split lie, of a source that is one set of images. Raises UserError."""
    if split not in ("train", "test"):
        raise UserError(f"unknown split {split!r}; there are 'train' and 'test'")
    if _kind(spec) == "folder" and as_path(spec).is_file():
        check_readable(as_path(spec))
        raise UserError(f"{spec}: is a file; a data source is a folder")
    splits(spec)
    return spec, split


def held_out(spec: str, test_spec: str = "") -> Place:
    """Return where held-out images lie: the test split of `test_spec`, or all of it if it has none; else of `spec`."""
    return single(test_spec or spec, "train" if test_spec and not splits(test_spec) else "test")


def open_part(spec: str, part: str, form: Form, *, seed: int = 0) -> Source:
    """Open a part of a source, or "train" of one that is a whole, a single file too. Raises UserError."""
    source = find_part(spec, part, form, seed=seed)
    return source.prepared() if isinstance(source, EncodedSource) else source


def find_part(spec: str, part: str, form: Form, *, seed: int = 0) -> Source:
    """Open a part of a source without a look at what its files hold. Raises UserError."""
    base, chosen = split_class(spec)
    kind = _kind(base)
    if kind == "procedural":
        source: Source = ProceduralSource(base, form, split=part, seed=seed)
    elif kind == "tfds":
        from uit_jax.data.sources import tfds as tfds_source

        source = tfds_source.open_tfds(base, form, split=part)
    else:
        source = _open_path(as_path(base), part, form)
    return source.of_class(chosen) if chosen else source


def stored_form(spec: str, part: str = "train") -> Form | None:
    """Return the form in which a part of a packed set is stored; None for any other source. Raises UserError."""
    base, _ = split_class(spec)
    root = as_path(base)
    if _kind(base) != "folder" or root.is_file():
        return None
    folder = root if is_packed(root) else folder_splits(root).get(part, root)
    return packed_form(folder) if is_packed(folder) else None


def split_class(spec: str) -> tuple[str, str]:
    """Separate "SPEC#CLASS" into spec and class, "" where none is named; a path that exists is one with its "#"."""
    kind = _kind(spec)
    base, mark, chosen = spec.rpartition("#")
    if not mark or (kind == "folder" and as_path(spec).exists()):
        return spec, ""
    if not chosen:
        raise UserError(f"{spec}: name a class behind the #, or leave the # out")
    return base, chosen


def rooted(spec: str) -> str:
    """Return a spec that means from any folder what this one means here: of a path that there is, the absolute one."""
    if not spec or _kind(spec) != "folder":
        return spec
    base, chosen = split_class(spec)
    root = as_path(base)
    return f"{root.absolute()}{'#' * bool(chosen)}{chosen}" if root.exists() else spec


def check_there(key: str, spec: str, option: str) -> None:
    """Raise a UserError where the images that a run's setting names are gone; `option` is what names others."""
    if not spec or _kind(spec) != "folder":
        return
    root = as_path(split_class(spec)[0])
    if not root.exists():
        seen = "" if root == root.absolute() else f" (seen from {Path.cwd()})"
        raise UserError(f"{key}={spec} of this run is not there{seen}: name where its images are now by {option}")


def _open_path(root: Path, part: str, form: Form) -> Source:
    if root.is_file():
        check_readable(root)
        if root.suffix.lower() not in PICTURES | ARRAYS:
            raise UserError(f"{root}: is not an image file ({', '.join(sorted(PICTURES | ARRAYS))})")
        if part != "train":
            raise NoSuchPart(f"{root}: is one file and has no {part} split; name some by --source or data.test_source")
        return FileSource(str(root), form, names=[str(root)], labels=np.full(1, -1, np.int32), classes=())
    splits_of = pair_folders if part in DOMAINS else folder_splits
    found = {} if is_packed(root) else splits_of(root)
    if part not in found and (found or part != "train"):
        missing = f"no {part} split (no folder {root / part})"
        raise NoSuchPart(f"{root}: has {missing}; name some by --source or data.test_source")
    folder = found.get(part, root)
    if is_packed(folder):
        return PackedSource(folder, form)
    listing = list_split(root, folder) if part == "test" else list_images(folder)
    source = FileSource(str(folder), form, names=listing.paths, labels=listing.labels, classes=listing.classes)
    source.passed = listing.passed
    return source


def is_procedural(spec: str) -> bool:
    return spec.startswith(("procedural:", "procedural#")) or spec == "procedural"


def _kind(spec: str) -> str:
    if not spec:
        raise UserError("data.source is empty; name a folder, tfds:NAME or procedural")
    if spec.startswith("tfds:"):
        return "tfds"
    return "procedural" if is_procedural(spec) else "folder"
