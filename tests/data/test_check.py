"""`uit data check` reports on a folder whatever lies in it."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.data.image_files import encode, picture
from tests.images import fuzz
from tests.images.test_profiles import exchanged
from uit_jax.data.check import check
from uit_jax.data.opening import find_part
from uit_jax.data.sources.base import Form
from uit_jax.images.opening import Unreadable
from uit_jax.verbs.data import main

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_one_bad_file_is_one_line(tmp_path, capsys):
    colour = encode(Image.fromarray(picture(0)), "PNG")
    bad = {
        "width 0.tif": fuzz._tiff(0, 16, 5), "large.tif": fuzz._tiff(25_000, 20_000, 5),
        "postscript.jpg": b"%!PS-Adobe",
        "large.png": fuzz.bombs()["png"], "text.png": fuzz.bombs()["png text"], "empty.gif": b"",
        "half.png": colour[:60], "a\n\x1b[2Kb.png: usable.png": b"no image",
    }  # fmt: skip
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(colour)
    (part,) = check(str(tmp_path)).splits
    assert len(part.unreadable) == len(bad) and part.kinds == {"PNG RGB": 8}
    assert all(reason and reason.isprintable() for _, reason in part.unreadable)
    assert main(["check", str(tmp_path), "--max_unreadable_share=0.5"]) == 0
    said = capsys.readouterr().out
    assert "a\\n\\x1b[2Kb.png: usable.png (not an image)" in said and "\x1b" not in said
    assert "large.tif (25000 x 20000 px are more than data.max_pixels=100000000: raise it" in said


@pytest.mark.parametrize("shape", ["(True, True, 3)", "(1000000, 1000000, 1)", "(-1, 4)", "(2, 2, 10**9)", "[" * 9000])
def test_arrays_that_lie_are_unreadable(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(fuzz._declared(shape))
    np.save(tmp_path / "b.npy", np.zeros((4, 4), np.uint8))
    ((name, _),) = check(str(tmp_path)).splits[0].unreadable
    assert name.endswith("a.npy")


def test_the_limit_can_be_set(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(picture(0, 20, 30)), "PNG"))
    assert main(["check", str(tmp_path), "--data.max_pixels=599"]) == 1
    assert "30 x 20 px are more than data.max_pixels=599" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--data.max_pixels=600"]) == 0
    with pytest.raises(Unreadable, match="data.max_pixels=599"):
        find_part(str(tmp_path), "train", Form(8, max_pixels=599)).image(0)
    pack = ["pack", str(tmp_path), str(tmp_path / "out"), "--size=8", "--max_unreadable_share=1"]
    assert main([*pack, "--data.max_pixels=599"]) == 0
    assert "1 unreadable images left out" in capsys.readouterr().out


def test_what_is_lost_is_counted(tmp_path, capsys):
    colour = Image.fromarray(picture(0))
    more = dict(save_all=True, append_images=[colour.rotate(90)])
    files = {
        "a.png": encode(colour.convert("RGBA"), "PNG"), "b.gif": encode(colour.quantize(8), "GIF", transparency=1),
        "c.tif": encode(colour, "TIFF", **more), "d.webp": encode(colour, "WEBP", **more),
        "e.jpg": encode(colour, "JPEG", icc_profile=SRGB), "f.jpg": encode(colour, "JPEG", icc_profile=exchanged()),
        "g.jpg": encode(colour, "JPEG", icc_profile=b"none"), "h.png": encode(colour, "PNG"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("lost in reading"))
    for text in ("alpha: 2", "further pages or frames: 2", "profile to sRGB: 1", "unusable profile: 1"):
        assert text in line
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "h.png").write_bytes(files["h.png"])
    assert main(["check", str(tmp_path)]) == 0 and "lost in reading     nothing" in capsys.readouterr().out


def test_names_that_are_not_utf_8_are_printed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(encode(Image.fromarray(picture(0)), "PNG")[:50])
    text = str(check(str(tmp_path)))
    io.TextIOWrapper(io.BytesIO(), "utf-8", "strict").write(text)
    assert "\\udcff.png" in text
