"""What a trained run makes of image files and of frames: decoded, grouped by size, translated, cut back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.images import decode as decoding
from uit_jax.images import pictures
from uit_jax.inference import batched as inference
from uit_jax.inference.styles import Look, Trained

_DECODERS = 4
_ORIENTATION = 0x0112


class Job(NamedTuple):
    """What a run shall do with the images that it is given.

    Attributes:
      look: the styles to draw in; None for a method without any.
      keep: draw images at their own size (continued by reflection, and cut back), not at the model's.
      batch_size: images drawn at once at the model's size; of larger images fewer.
      max_pixels: images with more are drawn in tiles; by default as `inference.redraw_any` has it.
    """

    run: Trained
    look: Look | None = None
    keep: bool = False
    batch_size: int = 8
    max_pixels: int | None = None

    def codes(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the styles to draw images [H, W, C] of any sizes in: float32 [m, n, D]."""
        run, look, size = self.run, self.look, self.run.config.data.image_size
        if look.own is None:
            return np.broadcast_to(look.codes, (len(images), *look.codes.shape))
        # Seen as references are: at the model's size.
        small = np.stack([decoding.resize(image, (size, size), run.form["resample"]) for image in images])
        return look.mixed(inference.read(run.method, "style", run.variables, small, batch_size=self.batch_size))

    def together(self, size: tuple[int, int]) -> int:
        """Return how many images of a height and width are drawn at once."""
        height, width = inference.drawn_size(*size, self.run.method.multiple)
        return max(1, self.batch_size * self.run.config.data.image_size**2 // (height * width))

    def read(self, encoded: bytes) -> np.ndarray:
        """Decode an image file to what is drawn. Raises Unreadable, UserError."""
        return decoding.decode(encoded, size=None if self.keep else self.run.config.data.image_size, **self.run.form)

    def adapt(self, frame: np.ndarray) -> np.ndarray:
        """Bring a frame of a video, uint8 RGB, to what is drawn. Raises UserError where no channels fit."""
        form, size = self.run.form, self.run.config.data.image_size
        frame = decoding.to_depth(decoding.to_channels(frame, form["channels"]), form["depth"])
        return frame if self.keep else decoding.resize(frame, (size, size), form["resample"])


def translations(
    job: Job, sources: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[tuple[int, Any, list[np.ndarray] | None]]:
    """Translate image files to every style of the job, or without one, those of one size together.

    Yields:
      (index of the file, its image [H, W, C], its translations), or (index, reason, None) if it cannot be drawn.
    """
    groups = {(job.run.config.data.image_size,) * 2: range(len(sources))}
    if job.keep:
        groups, bad = _by_size(job, sources)
        yield from ((index, reason, None) for index, reason in bad.items())

    def decode(index):
        try:
            return job.read(sources[index].read_bytes()), None
        except (decoding.Unreadable, UserError, OSError) as error:
            return None, error

    with ThreadPoolExecutor(_DECODERS) as pool:
        for size, members in groups.items():
            together = min(job.together(size), len(members))
            for start in range(0, len(members), together):
                chunk = members[start : start + together]
                images = {}
                for index, (image, error) in zip(chunk, pool.map(decode, chunk), strict=True):
                    if error is None:
                        images[index] = image
                    else:
                        yield index, error, None
                if images:
                    drawn = _draw(job, list(images.values()), size, together, progress)
                    for (index, image), frames in zip(images.items(), drawn, strict=True):
                        yield index, image, list(frames)


def film(
    job: Job, frames: Iterable[np.ndarray], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[np.ndarray]:
    """Translate frames as they come, a few at a time: [H, W, C] -> for each [n, H, W, C'], n styles or one result."""
    for chunk in _alike(job, frames):
        size = inference.drawn_size(*chunk[0].shape[:2], job.run.method.multiple)
        yield from _draw(job, chunk, size, job.together(size), progress)


def _alike(job: Job, frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Collect as many frames of one size as are drawn at once."""
    chunk: list[np.ndarray] = []
    for frame in frames:
        if chunk and (len(chunk) == job.together(frame.shape[:2]) or frame.shape != chunk[0].shape):
            yield chunk
            chunk = []
        chunk.append(frame)
    if chunk:
        yield chunk


def draw_grid(job: Job, rows: Sequence[tuple[np.ndarray, list[np.ndarray], str]]) -> np.ndarray:
    """Draw contents x styles with their captions: uint8 [H, W, 3]; `rows` are (content, translations, name)."""
    contents, drawn, names = zip(*rows, strict=True)
    if job.look is None:
        pairs = [[content, *frames] for content, frames in zip(contents, drawn, strict=True)]
        labels = ["input", "translation"]
        return pictures.table(pairs, title=f"step {job.run.step}", row_labels=names, column_labels=labels)
    return pictures.reference_grid(
        contents, job.look.images, drawn, title=job.look.title, row_labels=names, column_labels=job.look.labels
    )


def _draw(
    job: Job,
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    together: int,
    progress: Callable[[int, int], None],
) -> list[np.ndarray]:
    """Translate images [H, W, C], continued to a size, to n styles or to one result: of each [n, H, W, C']."""
    run, limits = job.run, dict(max_pixels=job.max_pixels, progress=progress)
    padded = np.stack([inference.pad(image, size) for image in images])
    if job.look is None:
        drawn = inference.redraw_any(run.method, run.variables, padded, batch_size=together, **limits)[:, None]
    else:
        codes = job.codes(images)
        columns = codes.shape[1]
        pairs = np.repeat(padded, columns, axis=0), codes.reshape(-1, codes.shape[-1])
        # Always as many pairs: fewer in the last batch would be another program to compile.
        batch_size = max(1, min(together * columns, 32))
        drawn = inference.redraw(run.method, run.variables, *pairs, batch_size=batch_size)
        drawn = drawn.reshape(len(images), columns, *drawn.shape[1:])
    return [frames[:, : image.shape[0], : image.shape[1]] for image, frames in zip(images, drawn, strict=True)]


def _by_size(job: Job, sources: Sequence[Path]) -> tuple[dict[tuple[int, int], list[int]], dict[int, Any]]:
    """Group images by the height and width they are drawn at, and say why some cannot be."""
    groups, bad, method = {}, {}, job.run.method
    for index, path in enumerate(sources):
        try:
            size = inference.drawn_size(*_own_size(path), method.multiple)
            inference.check_fits(method, size, job.max_pixels)
            groups.setdefault(size, []).append(index)
        except (decoding.Unreadable, UserError, OSError) as error:
            bad[index] = error
    return groups, bad


def _own_size(path: Path) -> tuple[int, int]:
    """Return height and width of an upright image, from its header if Pillow knows it. Raises Unreadable."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return image.size if turned else image.size[::-1]
    # Pillow's parsers raise nearly any type on corrupt bytes.
    except Exception:
        return decoding.dimensions(path.read_bytes())
