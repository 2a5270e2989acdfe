"""Names as they are printed, images as folders hold them, and files that are written whole or not at all."""

import errno
import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uit_jax import errors, files, listing
from uit_jax.data import open_source
from uit_jax.data.check import check
from uit_jax.errors import UserError

_STREAM = io.BytesIO()
Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(_STREAM, "PNG")
PICTURE = _STREAM.getvalue()


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("plain name-1 é 猫.png", "plain name-1 é 猫.png"),
        ("back\\slash", "back\\slash"),
        ("a\n\x1b[2Kb.png: usable.png", "a\\n\\x1b[2Kb.png: usable.png"),
        ("a\rb\tc\x7f\x9b", "a\\rb\\tc\\x7f\\x9b"),
        ("a\u202egnp.jpg\u2028", "a\\u202egnp.jpg\\u2028"),
        (b"\xff.png".decode("utf-8", "surrogateescape"), "\\udcff.png"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_a_name_prints_on_one_line_of_any_terminal(name, printed):
    assert errors.shown(name) == errors.shown(Path(name)) == printed
    assert printed.isprintable() and printed.encode()


def keep(folder, *names):
    """Write a small image under each name; return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PICTURE)
    return folder


def found(folder):
    return [path.relative_to(folder).as_posix() for path in listing.find_images(folder)]


def test_every_real_folder_is_listed_once(tmp_path):
    root = keep(tmp_path / "root", "s/ok.png", "z/b.png")
    keep(tmp_path / "elsewhere", "a.png")
    keep(tmp_path, "beside.png")
    os.symlink(".", root / "itself")
    os.symlink(".", root / "again")
    os.symlink("..", root / "up")
    os.symlink("..", root / "s" / "up2")
    os.symlink("z", root / "a")  # the folder's own path counts, though it sorts behind the link's
    os.symlink("../elsewhere", root / "more")
    os.symlink("../elsewhere", root / "once_more")
    os.symlink("s/ok.png", root / "copy.png")
    assert found(root) == ["copy.png", "more/a.png", "s/ok.png", "z/b.png"]
    source = open_source(str(root), size=8)
    assert [os.path.relpath(name, root) for name in source.names] == found(root)


def test_a_folder_of_links_to_other_classes_is_no_class(tmp_path):
    keep(tmp_path, "cat/a.png")
    (tmp_path / "all").mkdir()
    for name in ("all/cat", "kitty"):
        os.symlink(tmp_path / "cat", tmp_path / name)
    assert open_source(str(tmp_path), size=8).classes == ("cat",)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="dog: a class with no images"):
        open_source(str(tmp_path), size=8)


def test_only_regular_files_are_images(tmp_path):
    root = keep(tmp_path / "root", "ok.png", "notes.txt", "README", "a.zip")
    os.mkfifo(root / "pipe.png")
    os.symlink("pipe.png", root / "to_pipe.png")
    os.symlink("/dev/zero", root / "device.png")
    os.symlink("nowhere.png", root / "lost.png")
    os.symlink("circle.png", root / "circle.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "socket.png"))
        # A link that leads nowhere was meant to be an image: it is named as unreadable where images are read.
        assert found(root) == ["circle.png", "lost.png", "ok.png"]
        report = check(str(root), max_unreadable_share=0.9)
    (part,) = report.splits
    assert [Path(name).name for name, _ in part.unreadable] == ["circle.png", "lost.png"]
    assert part.passed == {"pipe, socket or device": 4, ".txt": 1, ".zip": 1, "no ending": 1}
    assert "passed over         pipe, socket or device: 4, .txt: 1, .zip: 1, no ending: 1\n" in str(report)


def test_a_pipe_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for refuse in (listing.find_images, lambda path: open_source(str(path), size=8), lambda path: check(str(path))):
        with pytest.raises(UserError, match="pipe.png: is a"):
            refuse(tmp_path / "pipe.png")


def test_an_archive_is_refused_by_name(tmp_path):
    keep(tmp_path, "a.zip", "b.tar.gz")
    for name in ("a.zip", "b.tar.gz"):
        for refuse in (listing.find_images, lambda path: open_source(str(path), size=8), lambda path: check(str(path))):
            with pytest.raises(UserError, match=f"{name}: is an archive; unpack it first"):
                refuse(tmp_path / name)
    for refuse in (listing.find_images, lambda path: open_source(str(path), size=8)):
        with pytest.raises(UserError, match=r"passed over: \.gz: 1, \.zip: 1\)$"):
            refuse(tmp_path)


def test_what_systems_leave_in_folders_is_passed_over(tmp_path):
    left = ("@eaDir", "#recycle", ".Trash-1000", "lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX")
    keep(tmp_path, "cat/a.png", "cat/Thumbs.db", "cat/desktop.ini", "cat/.DS_Store", "cat/@eaDir/a.png")
    keep(tmp_path, *(f"{name}/x.png" for name in left))
    assert found(tmp_path) == ["cat/a.png"]
    source = open_source(str(tmp_path), size=8)
    assert source.classes == ("cat",) and len(source) == 1 and not source.passed


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    keep(tmp_path, "cat/a.png", "dog/b.png")
    scan = os.scandir

    def denied(path):
        if Path(path).name == "dog":  # to root, who may run this, nothing is forbidden
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    for refuse in (listing.find_images, lambda path: open_source(str(path), size=8)):
        with pytest.raises(UserError, match=r"dog: this folder may not be read \(Permission denied\)"):
            refuse(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(OSError, match="no regular file"):
        files.read_regular(tmp_path / "config.json")
    (tmp_path / "text").write_bytes(b"x")
    assert files.read_regular(tmp_path / "text") == b"x"
    with pytest.raises(FileNotFoundError):
        files.read_regular(tmp_path / "none")
