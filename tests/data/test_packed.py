"""A packed set whose files are damaged is refused in one line that names it, or found out by `uit data check`."""

import json
import os
import random
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.data import open_source, stored_form
from uit_jax.data.check import check
from uit_jax.data.packing import pack
from uit_jax.data.sources.packed import BLOCK
from uit_jax.errors import UserError

MUTANTS = int(os.environ.get("UIT_FUZZ", 300))
ODD = [
    None, True, False, 0, -1, 1, 2, 3, 4, 5, 2**31, 2**63, 2**70, -(2**70), 0.5, 4.0, float("nan"), float("inf"), 1e308,
    "", "4", "x\n\x1b[2K", "\udcff", [], [4], [4, 4], [4, 4, 4], [-4, 4], [2**40, 2**40], [None] * 6, [True] * 6,
    ["a"] * 6, [0] * 6, [0] * 5, [[0]] * 6, {}, {"a": 1}, [1e400] * 6,
]  # fmt: skip
SHAPES = "6,4,4,3 6,4,4 0,4,4,3 -6,4,4,3 True,4,4,3 6.0,4,4,3 999999999,999999999,4,3 'a', 6,4,4,3L".split()
KINDS = "|u1 <u2 >u2 |i1 <f4 <f8 |O |S3 <U4 |b1 <M8[s] |V9".split()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A set of 6 images of 4 px in two classes, packed."""
    home = tmp_path_factory.mktemp("packed")
    for seed in range(6):
        path = home / "in" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Image.fromarray(picture(seed, 4, 4)), "PNG"))
    pack(str(home / "in"), home / "out", size=4)
    return home / "out"


def header(draw):
    """Return the beginning of a .npy file, whatever it says."""
    kind, order = draw.choice(KINDS), draw.choice(("False", "True", "0", "None"))
    text = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': ({draw.choice(SHAPES)}), }}"
    text = draw.choice((text, text, text[:-3], "(" * 300, "9" * 5000, "'\\q'", "lambda: 0"))
    text += " " * (-(len(text) + 11) % 64) + "\n"
    version = draw.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\0"))
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\1\0" else 4, "little") + text.encode()


def bent(data, draw):
    """Change, cut or lengthen some bytes."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(max(1, min(len(data), 200)))
        how = draw.randrange(5)
        if how == 0:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif how == 1:
            del data[at:]
        elif how == 2:
            del data[at : at + draw.randrange(1, 40)]
        elif how == 3:
            data[at:at] = draw.choice((b"\0", b"[" * 100_000, b"9" * 5000, b'"', b"\xff\xfe", b"}", b"NaN"))
        else:
            data += draw.choice((b"\0", b"x" * 48, b"}"))
    return bytes(data)


def mutant(meta, images, draw):
    """Return both files with some damage."""
    meta = dict(meta)
    if draw.random() < 0.5:  # as sets were packed before there were checksums
        del meta["checksum"], meta["checksums"]
    how = draw.randrange(6)
    if how == 0:
        for _ in range(draw.choice((1, 1, 2))):
            meta[draw.choice([*meta, "more"])] = draw.choice(ODD)
    elif how == 1:
        key = draw.choice([key for key, value in meta.items() if isinstance(value, list)])
        meta[key] = list(meta[key])
        meta[key][draw.randrange(len(meta[key]))] = draw.choice(ODD)
    elif how == 2:
        del meta[draw.choice(list(meta))]
    text = json.dumps(meta if draw.random() < 0.98 else draw.choice(ODD)).encode()
    if how == 3:
        text = bent(text, draw)
    elif how == 4:
        images = bent(images, draw)
    elif how == 5:
        images = header(draw) + images[128:]
    return text, images


def test_whatever_is_damaged_is_refused_in_one_line_or_reads(packed, tmp_path):
    meta, images = json.loads((packed / "meta.json").read_text()), (packed / "images.npy").read_bytes()
    draw, refused = random.Random(0), 0
    with warnings.catch_warnings(action="error"):
        for number in range(MUTANTS):
            text, array = mutant(meta, images, draw)
            (tmp_path / "meta.json").write_bytes(text)
            (tmp_path / "images.npy").write_bytes(array)
            try:
                source = open_source(str(tmp_path), size=4)
                assert source.images(range(len(source))).shape == (6, 4, 4, 3), number
                assert stored_form(str(tmp_path)).channels == 3 and len(check(str(tmp_path)).splits) == 1
            except UserError as error:
                refused += 1
                assert str(tmp_path) in str(error) and "\n" not in str(error) and len(str(error)) < 500, number
    print(f"{MUTANTS} packed sets: {refused} refused, {MUTANTS - refused} read")
    assert 0.6 * MUTANTS < refused < MUTANTS


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"no array", b"[]", b"null", b"{}"])
@pytest.mark.parametrize("name", ["meta.json", "images.npy"])
def test_garbage_is_named(packed, tmp_path, name, content):
    shutil.copytree(packed, tmp_path / "set")
    (tmp_path / "set" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"set/{name}: not readable .*; pack the set again$"):
        open_source(str(tmp_path / "set"), size=4)


def test_a_changed_image_is_found_by_check(tmp_path):
    count = BLOCK + 5
    pack(f"procedural:count={count},test_count=5", tmp_path / "world", size=16)
    folder = tmp_path / "world" / "train"
    assert check(str(tmp_path / "world")).usable
    with open(folder / "images.npy", "r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    report = check(str(tmp_path / "world"))
    line = f"{folder}/images.npy: images {BLOCK} to {count - 1} are not as they were packed; pack the set again"
    assert report.problems == [line] and not report.usable
    # Opening looks at the beginning and the length alone.
    assert len(open_source(str(tmp_path / "world"), size=16)) == count


@pytest.mark.parametrize("key", ["labels", "names", "classes"])
def test_a_changed_list_is_found_when_the_set_is_opened(packed, tmp_path, key):
    shutil.copytree(packed, tmp_path / "set")
    meta = json.loads((packed / "meta.json").read_text())
    meta[key] = meta[key][::-1]
    (tmp_path / "set" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(
        UserError, match="meta.json: not readable .labels, names and classes are not as they"
    ):
        open_source(str(tmp_path / "set"), size=4)


def test_a_set_without_checksums_opens(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "set")
    meta = json.loads((packed / "meta.json").read_text())
    del meta["checksum"], meta["checksums"]
    (tmp_path / "set" / "meta.json").write_text(json.dumps(meta))
    old, new = (open_source(str(folder), size=4) for folder in (tmp_path / "set", packed))
    np.testing.assert_array_equal(old.images(range(6)), new.images(range(6)))
    assert check(str(tmp_path / "set")).usable
