"""From a spec to a source: a path, "tfds:NAME[:split]" or "procedural[:key=value,...]".

Splits are "train" and "test". A source that is one whole (a folder without train and test folders, a packed
set of one) has no splits: it opens as "train", and as "test" only where it is named as the test source.
"""

from pathlib import Path

from uit_jax.data.folders import folder_splits, list_images, list_split
from uit_jax.data.packed import PackedSource, is_packed, packed_shape
from uit_jax.data.procedural import ProceduralSource, parse_world
from uit_jax.data.sources import FileSource, Source
from uit_jax.errors import UserError


def splits(spec: str) -> tuple[str, ...]:
    """Return the splits a spec offers, of "train" and "test"; () where it is one whole. Raises UserError."""
    kind = _kind(spec)
    if kind == "procedural":
        return ("train", "test")
    if kind == "tfds":
        from uit_jax.data import tfds_source

        return tfds_source.splits(spec)
    root = Path(spec).expanduser()
    return () if is_packed(root) else tuple(folder_splits(root))


def open_source(spec: str, *, split: str = "train", size: int, channels: int = 3, seed: int = 0) -> Source:
    """Open a split of a source as uint8 images [S, S, C].

    `channels` is 1 or 3; colour becomes gray and gray becomes colour as `data.decoding` says. `seed` is that of
    the procedural world. Raises UserError in one line for whatever is wrong with the source.
    """
    if split not in ("train", "test"):
        raise UserError(f"unknown split {split!r}; there are 'train' and 'test'")
    kind = _kind(spec)
    if kind == "procedural":
        world = parse_world(spec, size=size, seed=seed)
        return ProceduralSource(spec, world, split=split, channels=channels)
    if kind == "tfds":
        from uit_jax.data import tfds_source

        return tfds_source.open_tfds(spec, split=split, size=size, channels=channels)
    root = Path(spec).expanduser()
    found = {} if is_packed(root) else folder_splits(root)
    if split not in found and (found or split == "test"):
        raise UserError(f"{root}: has no {split} split (no folder {root / split}); name another source for it")
    return _open_folder(root, found.get(split, root), size=size, channels=channels)


def open_test(spec: str, test_spec: str = "", *, size: int, channels: int = 3, seed: int = 0) -> Source:
    """Open the held-out images: the test split of `test_spec`, or all of it where it has no splits; else of `spec`.

    Raises UserError, also where there is nothing held out.
    """
    split = "train" if test_spec and not splits(test_spec) else "test"
    return open_source(test_spec or spec, split=split, size=size, channels=channels, seed=seed)


def stored_shape(spec: str) -> tuple[int, int] | None:
    """Return (size, channels) of a packed set, which cannot be opened at another size; None for any other source."""
    if _kind(spec) != "folder":
        return None
    root = Path(spec).expanduser()
    folders = [root] if is_packed(root) else list(folder_splits(root).values())
    return next((packed_shape(folder) for folder in folders if is_packed(folder)), None)


def _open_folder(root: Path, folder: Path, *, size: int, channels: int) -> Source:
    if is_packed(folder):
        return PackedSource(folder, size=size, channels=channels)
    listing = list_images(folder) if folder == root else list_split(root, folder)
    return FileSource(
        str(folder), size=size, channels=channels, names=listing.paths, labels=listing.labels, classes=listing.classes
    )


def _kind(spec: str) -> str:
    if not spec:
        raise UserError("data.source is empty; name a folder, tfds:NAME or procedural")
    if spec == "procedural" or spec.startswith("procedural:"):
        return "procedural"
    return "tfds" if spec.startswith("tfds:") else "folder"
