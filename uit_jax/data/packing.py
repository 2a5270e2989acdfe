"""`uit data pack`: decode and resize a source once, into folders that `data.packed` reads."""

import functools
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from uit_jax.data.opening import open_part, parts
from uit_jax.data.reading import check_unreadable
from uit_jax.data.sources.base import Form, Source
from uit_jax.data.sources.packed import ARRAY, BLOCK, FORMAT, META, checksum_of_list
from uit_jax.errors import UserError
from uit_jax.files import write_whole
from uit_jax.images.opening import MAX_PIXELS, Unreadable
from uit_jax.paths import PathLike, as_path


def pack(
    spec: str,
    out: PathLike,
    *,
    size: int,
    channels: int = 3,
    target_channels: int = 0,
    depth: int = 8,
    resample: str = "bilinear",
    max_unreadable_share: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[..., Iterable[Any]] = lambda blocks, **_: blocks,
) -> list[str]:
    """Pack every split of a source below `out`; return the names of the unreadable images left out.

    `size` 0 packs images at their own size; `target_channels` is that of domain B of a pair, 0 for `channels`.
    `max_pixels` is the limit of an image file: a larger one is unreadable.
    `out` exists whole or not at all in the end.
    `progress` wraps a list of blocks of images, as tqdm does, and takes `desc`.
    Raises UserError where `out` exists, the disk is too small, or too many images are unreadable.
    """
    out = as_path(out)
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or name another folder")
    form = Form(size, channels, depth, resample, max_pixels=max_pixels)
    target = form._replace(channels=target_channels or channels, channels_key="data.target_channels")
    names = parts(spec) or ("",)
    sources = {name: open_part(spec, name or "train", target if name.endswith("B") else form) for name in names}
    need = sum(len(s) * math.prod(s.shape) * s.dtype.itemsize for s in sources.values())
    skipped: list[str] = []

    def write(partial: Path) -> None:
        free = shutil.disk_usage(partial.parent).free
        if free < need:
            raise UserError(f"{out}: takes {need / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left")
        for name, source in sources.items():
            folder = partial / name
            folder.mkdir(parents=True)
            told = functools.partial(progress, desc=name or "images")
            skipped.extend(_write(source, folder, max_unreadable_share, told))

    write_whole(out, write)
    return skipped


def _write(
    source: Source, folder: Path, max_unreadable_share: float, progress: Callable[[Sequence[int]], Iterable[int]]
) -> list[str]:
    """Write one source; return the names of its unreadable images."""

    def attempt(index: int) -> np.ndarray | None:
        try:
            return source.image(index)
        except Unreadable as error:
            source.mark_unreadable(index, str(error))
            return None

    kept, checksums = [], []
    # Written as a stream: a full disk is then an error here, where a memory map would be killed by a signal.
    with open(folder / ARRAY, "wb") as file, ThreadPoolExecutor() as pool:
        _write_header(file, source, len(source))
        for block in progress([range(i, min(i + BLOCK, len(source))) for i in range(0, len(source), BLOCK)]):
            for index, image in zip(block, pool.map(attempt, block), strict=True):
                if image is not None:
                    data = np.ascontiguousarray(image).data
                    file.write(data)
                    if len(kept) % BLOCK == 0:
                        checksums.append(0)
                    checksums[-1] = zlib.crc32(data, checksums[-1])
                    kept.append(index)
            check_unreadable(source, max_unreadable_share)
        _write_header(file, source, len(kept))
    classes, labels = list(source.classes), [int(source.labels[i]) for i in kept]
    names = [source.names[i] for i in kept]
    # Of two filters the first is told: what it took away no other gives back.
    resample = source.packed_by or (source.form.resample if source.form.size else None)
    meta = {
        "format": FORMAT,
        "size": source.size,  # of images that are not square, height and width
        "channels": source.channels,
        **({"resample": resample} if resample else {}),
        "checksums": checksums,
        "checksum": checksum_of_list(labels, names, classes),
        "classes": classes,
        "labels": labels,
        "names": names,
    }
    (folder / META).write_text(json.dumps(meta))
    return [source.names[i] for i in sorted(source.unreadable)]


def _write_header(file: BinaryIO, source: Source, count: int) -> None:
    """Write the .npy header at the file's start; numpy pads it so that its length does not depend on `count`."""
    file.seek(0)
    descr = np.lib.format.dtype_to_descr(source.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (count, *source.shape)}
    np.lib.format.write_array_header_1_0(file, header)
