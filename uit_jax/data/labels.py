"""Labels files: CSV that says the label of each training image, in the place of the source's own.

    image,label
    cat/001.jpg,3
    cat/002.jpg,0

Images go by `Source.key`: a file's path from the source's folder, else a number. Labels are any texts, the names of the
classes: of numbers in their order, of others by the alphabet.
"""

import csv
import io
import itertools
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from uit_jax.data.sides import Sources
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError, shown
from uit_jax.files import read_regular, write_whole
from uit_jax.paths import PathLike, as_path

HEAD = ["image", "label"]


def write(path: PathLike, source: Source, labels: Sequence[object]) -> None:
    """Write a label [n] of each image of a source. Raises UserError."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEAD)
    rows.writerows((source.key(index), label) for index, label in enumerate(labels))
    write_whole(path, text.getvalue().encode())


def of_training(sources: Sources, path: str) -> Sources:
    """Return training images by side with the labels of the file that `data.labels` names; as they are for "".

    Raises UserError; see `relabelled`.
    """
    if path and len(sources) > 1:
        raise UserError(f"data.labels={path}: of two domains no other labels are read; leave it out")
    return {name: relabelled(source, path) for name, source in sources.items()} if path else sources


def relabelled(source: Source, path: PathLike) -> Source:
    """Return a source with the labels that a file says.

    Raises UserError for a file that is none of these, for one that names an image twice, not at all, or that the source
    does not have, and for one that writes a number in two ways.
    """
    found = _read(path)
    keys = [_one_spelling(source.key(index)) for index in range(len(source))]
    advice = f"write it for this source: `uit data label {shown(source.spec)} {shown(path)}`"
    if missing := [key for key in keys if key not in found]:
        also = f" and of {len(missing) - 1} more" * (len(missing) > 1)
        raise UserError(f"{path}: says no label of {shown(missing[0])}{also}; add a line of each, or {advice}")
    if unknown := sorted(found.keys() - set(keys)):
        also = f" and {len(unknown) - 1} more" * (len(unknown) > 1)
        raise UserError(f"{path}: names {shown(unknown[0])}{also}, not in {source.spec}; remove the lines, or {advice}")
    classes = _ordered(path, found)
    number = {name: index for index, name in enumerate(classes)}
    return source.relabelled(np.array([number[found[key]] for key in keys], np.int32), classes)


def _read(path: PathLike) -> dict[str, str]:
    """Return the label of each image that a file names. Raises UserError."""
    try:
        text = read_regular(as_path(path)).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except OSError as error:
        raise UserError(f"data.labels={path}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file ({error}); its lines are IMAGE,LABEL") from error
    if not rows or rows[0] != HEAD:
        raise UserError(f"{path}: does not begin with the line {','.join(HEAD)}; put it first, then lines IMAGE,LABEL")
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not (row[0] and row[1].strip()):
            raise UserError(f"{path}: line {line} is not IMAGE,LABEL; give each image one label")
        name = _one_spelling(row[0])
        if name in found:
            both = f"lines {lines[name]} and {line}"
            raise UserError(f"{path}: {both} both name {shown(row[0])}; remove one of them")
        found[name], lines[name] = row[1].strip(), line
    return found


def _one_spelling(name: str) -> str:
    """Return a name as it is written where an accented letter is one character, which file systems do not agree on."""
    return unicodedata.normalize("NFC", name)


def _ordered(path: PathLike, found: Mapping[str, str]) -> tuple[str, ...]:
    names = set(found.values())
    if not all(name.isdecimal() for name in names):
        return tuple(sorted(names))
    ordered = sorted(names, key=lambda name: (int(name), name))
    for first, second in itertools.pairwise(ordered):
        if int(first) == int(second):
            raise UserError(f"{path}: the labels {first!r} and {second!r} are one number; write it in one way")
    return tuple(ordered)
