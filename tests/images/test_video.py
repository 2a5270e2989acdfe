"""Videos read and written by PyAV: what goes in comes out, and nothing half-written stays."""

import struct
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from uit_jax.errors import UserError
from uit_jax.images import video


def clip(count=12, height=48, width=64):
    """Draw a smooth pattern that moves: a list of uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [(np.sin((x + 3 * t) / 9), np.cos((y - 2 * t) / 11), np.sin((x + y) / 15)) for t in range(count)]
    return [(127 + 110 * np.stack(wave, -1)).astype(np.uint8) for wave in waves]


def write(path, frames, rate=25):
    with video.Writer(path, Fraction(rate)) as writer:
        for frame in frames:
            writer.write(frame)


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((np.stack(first).astype(float) - np.stack(second)) ** 2))


@pytest.mark.parametrize(
    "suffix, rate, size",
    [
        (".mp4", Fraction(30000, 1001), (48, 64)),
        (".mkv", Fraction(24), (49, 65)),
        (".webm", Fraction(25, 2), (48, 64)),
        (".avi", Fraction(25), (50, 64)),
    ],
)
def test_frames_rate_and_size_come_back(tmp_path, suffix, rate, size):
    path, frames = tmp_path / "new" / f"clip{suffix}", clip(12, *size)
    write(path, frames, rate)
    found = list(video.frames(path))
    assert video.facts(path) == (rate, 12) and len(found) == 12 and found[0].shape == (*size, 3)
    assert psnr(frames, found) > 35
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_colours_keep_their_level(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 90, 90), (200, 120, 40)]
    for height in (64, 720):
        frames = [np.full((height, 64, 3), colour, np.uint8) for colour in colours]
        write(tmp_path / "flat.mp4", frames)
        for colour, frame in zip(colours, video.frames(tmp_path / "flat.mp4"), strict=True):
            np.testing.assert_allclose(frame.mean((0, 1)), colour, atol=3)


def test_frames_are_read_as_they_are_asked_for(tmp_path, monkeypatch):
    write(tmp_path / "long.mp4", clip(60))
    made, convert = [], video._pixels
    monkeypatch.setattr(video, "_pixels", lambda frame: made.append(1) or convert(frame))
    frames = video.frames(tmp_path / "long.mp4")
    for _ in range(3):
        next(frames)
    assert len(made) == 3
    frames.close()


def test_frames_of_too_many_pixels_are_refused(tmp_path):
    write(tmp_path / "clip.mp4", clip(3))
    with pytest.raises(UserError, match=r"clip.mp4: 64 x 48 px are more than data.max_pixels=3071"):
        next(video.frames(tmp_path / "clip.mp4", 3071))
    assert next(video.frames(tmp_path / "clip.mp4", 3072)).shape == (48, 64, 3)


def test_a_video_that_phones_turn_is_upright(tmp_path):
    path = tmp_path / "turned.mp4"
    frames = clip(3)
    write(path, frames)
    data = bytearray(path.read_bytes())
    # The matrix of the track's header: a quarter turn clockwise when shown.
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    found = list(video.frames(path))
    assert found[0].shape == (64, 48, 3)
    assert psnr([np.rot90(frame, -1) for frame in frames], found) > 30


def test_a_torn_video_is_read_as_far_as_it_goes(tmp_path, monkeypatch, caplog):
    write(tmp_path / "whole.mkv", [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(9)])
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "torn.mkv").write_bytes(data[: len(data) // 2])
    assert 0 < len(list(video.frames(tmp_path / "torn.mkv"))) < 9

    def breaks(frame, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) == 5:
            raise av.error.InvalidDataError(1, "damaged")
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(video, "_pixels", breaks)
    assert len(list(video.frames(tmp_path / "whole.mkv"))) == 4
    assert "whole.mkv cannot be read beyond frame 4: damaged" in caplog.text


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all")
    write(tmp_path / "whole.mp4", clip(3))
    (tmp_path / "torn.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:200])
    for name in ("text.mp4", "torn.mp4", "none.mp4"):
        with pytest.raises(UserError, match=f"{name}: not a video that can be read"):
            video.facts(tmp_path / name)
        with pytest.raises(UserError, match=f"{name}: not a"):
            next(video.frames(tmp_path / name))
    with pytest.raises(UserError, match="xyz: videos are written as .avi, "):
        video.Writer(tmp_path / "out.xyz", Fraction(25))


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    with pytest.raises(UserError, match="frame 3 has 64 x 40 px, those before it 64 x 48"):
        write(tmp_path / "out.mp4", [*clip(2), *clip(1, 40, 64)])
    with pytest.raises(KeyboardInterrupt), video.Writer(tmp_path / "out.mp4", Fraction(25)) as writer:
        writer.write(clip(1)[0])
        raise KeyboardInterrupt
    with video.Writer(tmp_path / "out.mp4", Fraction(25)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="out.mp4 cannot be written"):
        write(tmp_path / "file" / "out.mp4", clip(1))
    with pytest.raises(UserError, match="out.mp4 cannot be written: full"):
        with video.Writer(tmp_path / "out.mp4", Fraction(25)) as writer:
            writer.write(clip(1)[0])
            writer._stream = SimpleNamespace(encode=fail, height=48, width=64, pix_fmt="yuv420p")
            writer.write(clip(1)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def fail(frame):
    raise av.error.ExternalError(28, "full")


def test_without_the_library_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for action in (lambda: video.Writer(tmp_path / "out.mp4", Fraction(25)), lambda: video.facts(tmp_path / "in.mp4")):
        with pytest.raises(UserError, match=r"pip install 'uit-jax\[video\]'"):
            action()
