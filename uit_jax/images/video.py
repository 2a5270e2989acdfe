"""Videos, read and written frame by frame; by PyAV, which is an extra of the package."""

import contextlib
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uit_jax.errors import UserError, shown
from uit_jax.files import being_written
from uit_jax.images.opening import MAX_PIXELS, Unreadable, check_size
from uit_jax.paths import on_disk

_log = logging.getLogger(__name__)

# What is written: the encoder for each suffix, and its settings for a picture as good as the eye asks for.
_H264 = ("libx264", {"crf": "17"})
_ENCODERS = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".mkv": _H264, ".avi": _H264}
_ENCODERS[".webm"] = ("libvpx-vp9", {"crf": "24", "b:v": "0", "row-mt": "1"})
WRITTEN = frozenset(_ENCODERS)
SUFFIXES = WRITTEN | {".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts", ".mts", ".3gp"}

# Numbers of ITU-T H.273: BT.709 for primaries, transfer and matrix; the matrix where nothing is said; 16 to 235.
_BT709, _UNSAID, _NARROW = 1, 2, 1
# Bilinear, but with exact rounding and full colour sampling: without them swscale darkens a video by a level.
_CONVERT = 2 | 1 << 13 | 1 << 18
# Untagged videos of this height and more are taken for BT.709, as players do.
_HIGH_DEFINITION = 720


class Facts(NamedTuple):
    """Frames per second, and the number of frames as the file has it or as it follows from its length (0: unknown)."""

    rate: Fraction
    frames: int


def facts(path: Path) -> Facts:
    """Read a video's header. Raises UserError."""
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        length = Fraction(
            stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, 10**6)
        )
        return Facts(Fraction(rate), stream.frames or round(length * rate))


def frames(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Yield the frames of a video, upright: uint8 [H, W, 3].

    A video that cannot be read to its end stops there, with a warning.

    Raises:
      UserError: no frame can be read, or they have more than `max_pixels` pixels.
    """
    count = 0
    with _opened(path) as (container, stream):
        try:
            check_size(stream.height, stream.width, 3, max_pixels)
        except Unreadable as error:
            raise UserError(f"{shown(path)}: {error}") from None
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                yield _pixels(frame)
                count += 1
        except _av().error.FFmpegError as error:
            if count:
                _log.warning("%s cannot be read beyond frame %d: %s", path, count, error.strerror)
    if not count:
        raise UserError(f"{path}: not a frame of this video can be read")


def _pixels(frame: Any) -> np.ndarray:
    options = {"src_colorspace": _BT709} if frame.colorspace == _UNSAID and frame.height >= _HIGH_DEFINITION else {}
    pixels = frame.reformat(format="rgb24", interpolation=_CONVERT, **options).to_ndarray()
    # Phones record as the sensor lies and note how to turn.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


class Writer:
    """Write frames to a video as they come; nothing is left of one that was not finished.

    Sides that are odd cost half the colour's savings: the usual sampling wants even ones.
    """

    def __init__(self, path: Path, rate: Fraction):
        """Raise UserError where the name's suffix is of no video that can be written."""
        if path.suffix.lower() not in WRITTEN:
            raise UserError(f"{path}: videos are written as {', '.join(sorted(WRITTEN))}")
        self._path, self._rate = path, rate
        self._container, self._stream, self._count = None, None, 0
        self._place = being_written(path)
        _av()

    def write(self, frame: np.ndarray) -> None:
        """Add a frame uint8 [H, W, 3]. Raises UserError for one of another size than the first."""
        av = _av()
        with self._told():
            if self._container is None:
                self._open(frame.shape[1], frame.shape[0])
            if (self._stream.height, self._stream.width) != frame.shape[:2]:
                size, first = (f"{w} x {h}" for h, w in (frame.shape[:2], (self._stream.height, self._stream.width)))
                raise UserError(f"{self._path}: frame {self._count + 1} has {size} px, those before it {first}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(
                format=self._stream.pix_fmt, dst_colorspace=_BT709, dst_color_range=_NARROW, interpolation=_CONVERT
            )
            picture.pts, picture.time_base = self._count, 1 / self._rate
            self._container.mux(self._stream.encode(picture))
        self._count += 1

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, *_) -> None:
        if self._container is None:
            return
        whole = False
        try:
            with self._told():
                if kind is None:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
            whole = kind is None
        finally:
            # Not told the error, which may be that of a frame's reading.
            self._place.__exit__(*((None, None, None) if whole else (GeneratorExit, GeneratorExit(), None)))

    def _open(self, width: int, height: int) -> None:
        encoder, options = _ENCODERS[self._path.suffix.lower()]
        self._container = _av().open(str(self._place.__enter__()), "w")
        stream = self._stream = self._container.add_stream(encoder, rate=self._rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _NARROW

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, _av().error.FFmpegError) as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    av, stack = _av(), contextlib.ExitStack()
    try:
        container = stack.enter_context(av.open(str(stack.enter_context(on_disk(path)))))
    except (av.error.FFmpegError, OSError) as error:
        stack.close()
        raise UserError(f"{path}: not a video that can be read: {error.strerror}") from error
    with stack:
        if not container.streams.video:
            raise UserError(f"{path}: has no pictures, only sound")
        yield container, container.streams.video[0]


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UserError("videos need PyAV: python -m pip install 'uit-jax[video]'") from None
    return av
