"""Packing keeps every pixel, leaves nothing half-written, and `check` tells what is wrong before anyone trains."""

import io
import json
import os
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.data import batches, open_source, splits
from uit_jax.data.check import check, dhash
from uit_jax.data.packing import pack
from uit_jax.errors import UserError
from uit_jax.files import partial_of
from uit_jax.images import decode as decoding
from uit_jax.main import main as uit
from uit_jax.verbs.data import main


def _same(left, right):
    np.testing.assert_array_equal(left.images(range(len(left))), right.images(range(len(right))))
    np.testing.assert_array_equal(left.labels, right.labels)
    assert left.classes == right.classes and list(left.names) == list(right.names)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 12])
def test_round_trip_is_exact(class_folders, tmp_path, channels, size):
    assert pack(str(class_folders), tmp_path / "out", size=size, channels=channels) == []
    packed = open_source(str(tmp_path / "out"), size=size, channels=channels)
    files = open_source(str(class_folders), size=size, channels=channels)
    _same(packed, files)
    with batches(packed, batch_size=8, seed=1) as a, batches(files, batch_size=8, seed=1) as b:
        for step in range(4):
            np.testing.assert_array_equal(a.batch(step)["image"], b.batch(step)["image"])
    assert packed.image(0).shape == (size, size, channels)
    assert open_source(str(tmp_path / "out"), size=size, channels=4 - channels).image(0).shape[-1] == 4 - channels


def test_splits_pack_into_their_own_folders(class_folders, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(class_folders, tree / "train")
    shutil.copytree(class_folders / "dog", tree / "test" / "dog")
    pack(str(tree), tmp_path / "out", size=16)
    assert splits(str(tmp_path / "out")) == ("train", "test")
    for split in ("train", "test"):
        _same(*(open_source(str(tmp_path / name), split=split, size=16) for name in ("out", "tree")))
    pack("procedural:count=12,test_count=5", tmp_path / "world", size=16)
    world = open_source("procedural:count=12,test_count=5", split="test", size=16)
    _same(open_source(str(tmp_path / "world"), split="test", size=16), world)
    report = check(str(tmp_path / "out"))
    assert report.usable and [part.count for part in report.splits] == [24, 8] and len(report.shared) == 8


def test_unreadable_images_are_left_out_up_to_the_share(class_folders, tmp_path):
    (class_folders / "cat" / "cat03.jpg").write_bytes(b"junk")
    left_out = pack(str(class_folders), tmp_path / "out", size=16, max_unreadable_share=0.05)
    assert [name[-9:] for name in left_out] == ["cat03.jpg"]
    packed, files = open_source(str(tmp_path / "out"), size=16), open_source(str(class_folders), size=16)
    assert len(packed) == 23 and np.bincount(packed.labels).tolist() == [11, 8, 4]
    np.testing.assert_array_equal(packed.image(3), files.image(4))
    np.testing.assert_array_equal(packed.image(22), files.image(23))


def test_nothing_is_left_of_a_failed_packing(class_folders, tmp_path, monkeypatch):
    (class_folders / "cat" / "cat03.jpg").write_bytes(b"junk")
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(UserError, match="1 of 24 .*cat03.jpg"):
        pack(str(class_folders), home / "out", size=16)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.raises(UserError, match="the disk has 0.00 GB left"):
            pack(str(class_folders / "dog"), home / "out", size=16)

    def interrupted(blocks, **_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(str(class_folders / "dog"), home / "out", size=16, progress=interrupted)
    assert list(home.iterdir()) == []
    pack(str(class_folders / "dog"), home / "out", size=16)
    before = (home / "out" / "meta.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        pack(str(class_folders / "eel"), home / "out", size=16)
    assert (home / "out" / "meta.json").read_bytes() == before and len(list(home.iterdir())) == 1
    with pytest.raises(UserError, match="cannot be written"):
        pack(str(class_folders / "dog"), home / "out" / "meta.json" / "below", size=16)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pack_that_is_ended_leaves_nothing(class_folders, tmp_path, monkeypatch, capsys, number):
    decode, main_thread, met = decoding.decode, threading.main_thread().ident, []

    def slow(*arguments, **form):
        met.append(1)
        if len(met) == 5:
            signal.pthread_kill(main_thread, number)
        time.sleep(0.02 if len(met) > 5 else 0)
        return decode(*arguments, **form)

    monkeypatch.setattr(decoding, "decode", slow)
    assert uit(["data", "pack", str(class_folders), str(tmp_path / "out"), "--size=16"]) == 128 + number
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]
    # Not by join: the signal may come while the main thread starts one, which then cannot be joined.
    end = time.monotonic() + 10
    while any(t.is_alive() for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_killed_pack_left_is_cleared_by_the_next(class_folders, tmp_path):
    left = partial_of(tmp_path / "out")
    left.mkdir()
    (left / "images.npy").write_bytes(b"half")
    pack(str(class_folders), tmp_path / "out", size=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pets"]


def test_names_that_are_not_utf8_are_kept_and_printed_with_escapes(tmp_path, monkeypatch):
    for name, seed in ((b"\xff.png", 1), (b"a\n\x1b[2Kb.png", 1), (b"c.png", 2), (b"torn\xfe.png", None)):
        path = tmp_path / "in" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"" if seed is None else encode(Image.fromarray(picture(seed)), "PNG"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", errors="strict"))
    assert main(["check", str(tmp_path / "in"), "--max_unreadable_share=0.5"]) == 0
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "out"), "--size=0", "--max_unreadable_share=0.5"]) == 0
    sys.stdout.flush()
    report = written.getvalue()
    assert b"/a\\n\\x1b[2Kb.png = " in report and b"/\\udcff.png\n" in report and b"/torn\\udcfe.png (empty" in report
    assert {os.fsencode(name).rpartition(b"/")[2] for name in open_source(str(tmp_path / "out"), size=16).names} == {
        b"\xff.png",
        b"a\n\x1b[2Kb.png",
        b"c.png",
    }


def test_the_packed_format(class_folders, tmp_path):
    pack(str(class_folders), tmp_path / "out", size=16)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert set(meta) == set("format size channels classes labels names resample checksum checksums".split())
    array = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    assert array.shape == (24, 16, 16, 3) and array.dtype == np.uint8


def test_a_set_packed_again_remembers_its_first_filter(class_folders, tmp_path):
    pack(str(class_folders), tmp_path / "first", size=16, resample="bicubic")
    for size in (0, 8):
        pack(str(tmp_path / "first"), tmp_path / f"{size}", size=size)
        assert json.loads((tmp_path / f"{size}" / "meta.json").read_text())["resample"] == "bicubic"
    pack(str(class_folders), tmp_path / "own", size=0)
    assert "resample" not in json.loads((tmp_path / "own" / "meta.json").read_text())


def test_what_is_left_of_a_packed_set_is_refused(class_folders, tmp_path):
    pack(str(class_folders), tmp_path / "out", size=16)
    (tmp_path / "out" / "meta.json").unlink()
    with pytest.raises(UserError, match=r"out: has images.npy of a packed set and no meta.json; pack the set again$"):
        open_source(str(tmp_path / "out"), size=16)


def test_report(class_folders):
    exif = Image.Exif()
    exif[0x0112] = 8
    (class_folders / "cat" / "turned.jpg").write_bytes(encode(Image.fromarray(picture(50, 8, 20)), "JPEG", exif=exif))
    (class_folders / "dog" / "clear.png").write_bytes(encode(Image.fromarray(picture(51)).convert("RGBA"), "PNG"))
    (class_folders / "dog" / "copy.jpg").write_bytes((class_folders / "cat" / "cat05.jpg").read_bytes())
    again = Image.open(class_folders / "cat" / "cat06.jpg")
    (class_folders / "dog" / "again.png").write_bytes(encode(again, "PNG"))
    (class_folders / "eel" / "eel00.jpg").write_bytes((class_folders / "eel" / "eel00.jpg").read_bytes()[:-50])
    (part,) = check(str(class_folders)).splits
    assert part.split == "all" and part.count == 28
    assert part.classes == {"cat": 13, "dog": 11, "eel": 4}
    assert part.kinds == {"JPEG RGB": 24, "JPEG RGB EXIF-turned": 1, "PNG RGBA": 1, "PNG RGB": 1}
    assert part.sizes == {(16, 16): 26, (8, 20): 1}
    ((name, reason),) = part.unreadable
    assert name.endswith("eel00.jpg") and "truncated" in reason
    assert [[n[-9:] for n in group] for group in part.duplicates] == [["cat05.jpg", "/copy.jpg"]]
    assert [[n[-9:] for n in group] for group in part.lookalikes] == [["cat06.jpg", "again.png"]]


def test_dhash_is_that_of_neighbouring_columns():
    rising = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (80, 1))
    assert dhash(Image.fromarray(rising)) == 2**64 - 1
    assert dhash(Image.fromarray(255 - rising)) == 0
    halves = np.concatenate([rising[:40], 255 - rising[:40]])
    assert dhash(Image.fromarray(halves)) == (2**32 - 1) << 32
    noise = np.random.default_rng(0).integers(0, 8, rising.shape, np.uint8)
    assert dhash(Image.fromarray(np.clip(rising, 0, 247) + noise)) == 2**64 - 1


def test_commands(class_folders, tmp_path, capsys):
    assert main(["check", str(class_folders)]) == 0
    shown = capsys.readouterr().out
    for text in ("images              24", "cat: 12, dog: 8, eel: 4", "JPEG RGB: 24", "16 x 16: 24", "usable"):
        assert text in shown
    assert main(["pack", str(class_folders), str(tmp_path / "out"), "--size", "16"]) == 0
    assert main(["check", str(tmp_path / "out")]) == 0
    for name in ("cat00.jpg", "cat01.jpg"):
        (class_folders / "cat" / name).write_bytes(b"")
    capsys.readouterr()
    assert main(["check", str(class_folders)]) == 1
    shown = capsys.readouterr().out
    assert "problem: 2 of 24 images" in shown and "cat01.jpg (empty file)" in shown
    assert main(["check", str(class_folders), "--max_unreadable_share", "0.1"]) == 0
    with pytest.raises(UserError, match="no such folder"):
        main(["check", str(tmp_path / "absent")])
