"""One place opens images: the documented formats alone, of a limited size, and whatever is wrong is one line."""

import ast
import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tests.data.image_files import encode, picture
from tests.images import fuzz
from uit_jax.errors import UserError, shown
from uit_jax.images import encode as encoding
from uit_jax.images import opening
from uit_jax.images.decode import decode
from uit_jax.images.opening import TooLarge, Unreadable
from uit_jax.images.rasters import dimensions, file_dimensions
from uit_jax.listing import ARRAYS, PICTURES

PACKAGE = Path(encoding.__file__).parents[1]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


def test_one_file_opens_images():
    for path in PACKAGE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call) for call in calls}
        assert "Image.open" not in names or path.name == "opening.py", path
        assert not {name for name in names if name.startswith("tifffile.Tiff")} or path.name == "rasters.py", path


def test_no_program_is_run(tmp_path, monkeypatch):
    ran, program = tmp_path / "ran", tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    for look in (dimensions, lambda data: decode(data, channels=3), opening.opened):
        with pytest.raises(Unreadable, match="^not an image$"):
            look(POSTSCRIPT)
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(Unreadable, match="^not an image$"):
        file_dimensions(tmp_path / "a.jpg")
    assert not ran.exists()
    with pytest.raises(OSError):
        Image.open(io.BytesIO(POSTSCRIPT)).load()
    assert ran.exists()  # as it is without the list of formats


@pytest.mark.parametrize("ending", sorted(PICTURES))
def test_every_ending_that_is_listed_is_read(ending):
    Image.init()
    format = {".jfif": "JPEG", ".jpe": "JPEG"}.get(ending, Image.EXTENSION[ending])
    if format not in Image.SAVE:
        pytest.skip(f"Pillow here has no {format}")
    image = Image.fromarray(picture(0)).convert({".pgm": "L", ".pbm": "1"}.get(ending, "RGB"))
    assert decode(encode(image, format), channels=3).shape == (16, 16, 3)
    assert not ARRAYS & PICTURES


@pytest.mark.parametrize("format", sorted(fuzz.ORIGINALS))
def test_one_limit_for_every_format(format, tmp_path):
    for data in fuzz.ORIGINALS[format]:
        height, width = dimensions(data)
        limit = height * width - 1
        for look in (dimensions, lambda data, limit: decode(data, channels=5, max_pixels=limit)):
            with pytest.raises(TooLarge, match=rf"\d+ x \d+ px .*are more than .*data.max_pixels={limit}: raise"):
                look(data, limit)
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(TooLarge):
            file_dimensions(tmp_path / "file", limit)
        assert file_dimensions(tmp_path / "file", 2 * height * width) == (height, width)


def test_channels_count_against_the_limit():
    stream = io.BytesIO()
    np.save(stream, np.zeros((10, 10, 17), np.uint8))
    assert decode(stream.getvalue(), channels=17, max_pixels=213).shape == (10, 10, 17)
    with pytest.raises(TooLarge, match="10 x 10 px of 17 bytes are more than 8 bytes for each of data.max_pixels=212"):
        decode(stream.getvalue(), channels=17, max_pixels=212)


def test_pillows_own_limit_gives_way(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    data = encode(Image.fromarray(picture(0)), "PNG")
    with pytest.raises(TooLarge, match="256 px are more than data.max_pixels=100"):
        opening.opened(data, 100)
    assert opening.opened(data, 256).size == (16, 16)


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError(), "not enough memory"), (TypeError("a\nb  c"), "^a b c$"), (OverflowError(), "^OverflowError$"),
        (RecursionError("deep"), "deep"), (SyntaxError("x"), "x"),
        (ValueError("\x1b[2K" + "y" * 999), r"^\\x1b\[2Ky{193}$"),
        (Image.UnidentifiedImageError("<BytesIO>"), "^not an image$"), (Unreadable("as it was"), "^as it was$"),
    ],
)  # fmt: skip
def test_whatever_a_decoder_raises_is_one_line(error, reason):
    with pytest.raises(Unreadable, match=reason), opening.decoding():
        raise error


def test_what_is_no_matter_of_the_file_passes():
    for kind in (KeyboardInterrupt, SystemExit, UserError):
        with pytest.raises(kind), opening.decoding():
            raise kind("x")


def test_small_files_that_come_to_gigabytes_are_refused():
    for name, data in fuzz.bombs().items():
        for look in (dimensions, lambda data: decode(data, channels=5)):
            try:
                look(data)
            except Unreadable:
                continue
            assert look is dimensions, name  # what hides behind a small header


def test_names_are_shown_on_one_line():
    assert shown("a\n\x1b[2Kb.png") == "a\\n\\x1b[2Kb.png"
    assert shown("\udcff é 日本 \u202e.png") == "\\udcff é 日本 \\u202e.png"
    shown("\udcff\u2028").encode("ascii")


def test_what_files_lose_is_said_once(caplog):
    opening.tell_once.cache_clear()
    clear = Image.fromarray(picture(0)).convert("RGBA")
    opaque = encode(clear, "PNG")
    clear.putalpha(100)
    frames = dict(save_all=True, append_images=[clear.rotate(90)])
    with caplog.at_level(logging.WARNING):
        decode(opaque, channels=3)
        assert not caplog.records
        for _ in range(3):
            decode(encode(clear, "PNG"), channels=3)
            decode(encode(clear.convert("RGB"), "TIFF", **frames), channels=3)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and "on white" in told[0] and "first is read" in told[1]
    assert all("uit data check" in each for each in told)
