"""What a trained method makes of images of any sizes and of frames: read, grouped by size, translated, cut back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from uit_jax.errors import UserError
from uit_jax.images import decode, pictures
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.inference import batched, inputs
from uit_jax.inference.inputs import Given
from uit_jax.inference.styles import Look
from uit_jax.method import Method
from uit_jax.types import PyTree

_READERS = 4


class Job(NamedTuple):
    """What a method shall do with the images that it is given.

    Attributes:
      form: what they are brought to: channels, depth and resample, as `images.decode` has them.
      look: the styles to draw in; None for a method without any.
      keep: draw images at their own size (continued by reflection, and cut back), not at the model's.
      batch_size: translations drawn at once at the model's size; of larger images fewer.
      max_pixels: images with more are drawn in tiles; by default as `batched.translate_any` has it.
    """

    method: Method
    variables: PyTree
    form: dict[str, Any]
    look: Look | None = None
    keep: bool = False
    batch_size: int = 8
    max_pixels: int | None = None

    @property
    def side(self) -> int:
        """The model's size."""
        return self.method.image_size

    def codes(self, images: Sequence[np.ndarray], indices: Sequence[int]) -> np.ndarray:
        """Return the styles to draw images [H, W, C] of any sizes in: float32 [m, n, D]; `indices` are theirs."""
        look = self.look
        if look.codes.ndim == 3:
            return look.codes[list(indices)]
        if look.own is None:
            return np.broadcast_to(look.codes, (len(images), *look.codes.shape))
        # Seen as references are: at the model's size.
        small = np.stack([decode.resize(image, (self.side,) * 2, self.form["resample"]) for image in images])
        return look.mixed(batched.read(self.method, "style", self.variables, small, batch_size=self.batch_size))

    def together(self, size: tuple[int, int]) -> int:
        """Return how many images of a height and width are drawn at once, each in all styles."""
        return max(1, self.at_once(size) // (1 if self.look is None else self.look.codes.shape[-2]))

    def at_once(self, size: tuple[int, int]) -> int:
        """Return how many translations of a height and width are drawn at once."""
        height, width = batched.drawn_size(*size, self.method.multiple)
        return max(1, self.batch_size * self.side**2 // (height * width))

    def read(self, item: Any) -> np.ndarray:
        """Read an image of any kind to what is drawn. Raises what `inputs.UNREADABLE` holds."""
        return inputs.pixels(item, size=None if self.keep else self.side, **self.form)

    def draw(
        self,
        images: Sequence[np.ndarray],
        indices: Sequence[int],
        size: tuple[int, int],
        together: int,
        progress: Callable[[int, int], None],
    ) -> list[np.ndarray]:
        """Translate images [H, W, C], continued to a size, to n styles or to one result: of each [n, H, W, C']."""
        model, limits = (self.method, self.variables), dict(max_pixels=self.max_pixels, progress=progress)
        padded = np.stack([batched.pad(image, size) for image in images])
        if self.look is None:
            drawn = batched.translate_any(*model, padded, batch_size=together, **limits)[:, None]
        else:
            codes = self.codes(images, indices)
            columns = codes.shape[1]
            pairs = np.repeat(padded, columns, axis=0), codes.reshape(-1, codes.shape[-1])
            # Always as many pairs: fewer in the last batch would be another program to compile.
            drawn = batched.translate(*model, *pairs, batch_size=min(together * columns, self.at_once(size)))
            drawn = drawn.reshape(len(images), columns, *drawn.shape[1:])
        return [frames[:, : image.shape[0], : image.shape[1]] for image, frames in zip(images, drawn, strict=True)]


class Translation(NamedTuple):
    """What became of one of the images that were handed in.

    Attributes:
      index: which it is.
      image: as it was drawn from, uint8 or uint16 [H, W, C]; None where it cannot be translated.
      frames: its translations [H, W, C'], one for each style.
      reason: why it cannot be translated.
    """

    index: int
    image: np.ndarray | None
    frames: list[np.ndarray]
    reason: Exception | None = None


Progress = Callable[[int, int], None]
"""Told how many tiles are done, and of how many, of an image that is drawn in tiles."""


def translations(job: Job, given: Given, *, progress: Progress | None = None) -> Iterator[Translation]:
    """Translate images to every style of the job, or without one, those of one size together, as they are asked for.

    Raises:
      UserError: none of them can be read.
    """
    done, why = 0, ""
    for each in _translations(job, given, progress or _quiet):
        done += each.reason is None
        why = why or ("" if each.reason is None else f" ({given.called(each.index)}: {each.reason})")
        yield each
    if not done:
        raise UserError(f"{given.name}: none of its {len(given.items)} images can be read{why}")


def collect(job: Job, given: Given, *, progress: Callable[[float, int], None] | None = None) -> list[list[np.ndarray]]:
    """Translate all images to every style, in their order; one that cannot be translated is a UserError.

    Args:
      progress: told how many images are done, tiles of one as a part of it, and of how many.
    """
    total, tell = len(given.items), progress or _quiet
    found: dict[int, list[np.ndarray]] = {}

    def tiles(part: int, parts: int) -> None:
        tell(len(found) + part / (parts + 1), total)

    for each in translations(job, given, progress=tiles):
        if each.reason is None:
            found[each.index] = each.frames
            tell(len(found), total)
        elif total > 1:
            raise UserError(f"content {given.told(each.index)}: {each.reason}")
    return [found[index] for index in range(total)]


def _translations(job: Job, given: Given, progress: Progress) -> Iterator[Translation]:
    groups = {(job.side,) * 2: list(range(len(given.items)))}
    if job.keep:
        groups, bad = _by_size(job, given)
        yield from (Translation(index, None, [], reason) for index, reason in bad.items())

    def read(index):
        try:
            return job.read(given.items[index]), None
        except inputs.UNREADABLE as error:
            return None, error

    with ThreadPoolExecutor(_READERS) as pool:
        for size, members in groups.items():
            together = min(job.together(size), len(members))
            for start in range(0, len(members), together):
                chunk = members[start : start + together]
                images = {}
                for index, (image, error) in zip(chunk, pool.map(read, chunk), strict=True):
                    if error is None:
                        images[index] = image
                    else:
                        yield Translation(index, None, [], error)
                if images:
                    drawn = job.draw(list(images.values()), list(images), size, together, progress)
                    for (index, image), frames in zip(images.items(), drawn, strict=True):
                        yield Translation(index, image, list(frames))


def film(
    job: Job,
    frames: Iterable[Any],
    *,
    skipped: Callable[[Any, Exception], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Translate frames of any kind as they come, a few at a time: for each [n, H, W, C'], n styles or one result.

    Args:
      skipped: told of a frame that cannot be read, and why; it is left out.

    Raises:
      UserError: a frame cannot be read, and nobody is to be told.
    """
    count = 0
    for chunk in _alike(job, _read(job, frames, skipped)):
        size = batched.drawn_size(*chunk[0].shape[:2], job.method.multiple)
        yield from job.draw(chunk, range(count, count + len(chunk)), size, job.together(size), progress or _quiet)
        count += len(chunk)


def _read(job: Job, frames: Iterable[Any], skipped: Callable[[Any, Exception], None] | None) -> Iterator[np.ndarray]:
    for frame in frames:
        try:
            image = job.read(frame)
        except inputs.UNREADABLE as error:
            if skipped is None:
                raise UserError(f"a frame cannot be read: {error}") from error
            skipped(frame, error)
        else:
            yield image


def render(
    look: Look | None, rows: Sequence[tuple[np.ndarray, Sequence[np.ndarray], str]], *, title: str
) -> np.ndarray:
    """Render contents x styles with their captions: uint8 [H, W, 3]; `rows` are (content, translations, name)."""
    contents, drawn, names = zip(*rows, strict=True)
    if look is None:
        pairs = [[content, *frames] for content, frames in zip(contents, drawn, strict=True)]
        return pictures.table(pairs, title=title, row_labels=names, column_labels=["input", "translation"])
    title = ", ".join(filter(None, (look.title, title)))
    return pictures.reference_grid(
        contents, look.images, drawn, title=title, row_labels=names, column_labels=look.labels
    )


def _quiet(done: float, total: int) -> None:
    """Tell nobody of progress."""


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


def _by_size(job: Job, given: Given) -> tuple[dict[tuple[int, int], list[int]], dict[int, Exception]]:
    """Group images by the height and width they are drawn at, and say why some cannot be."""
    groups: dict[tuple[int, int], list[int]] = {}
    bad: dict[int, Exception] = {}
    for index, item in enumerate(given.items):
        try:
            own = inputs.own_size(item, job.form.get("max_pixels", MAX_PIXELS))
            size = batched.drawn_size(*own, job.method.multiple)
            batched.check_fits(job.method, size, job.max_pixels)
            groups.setdefault(size, []).append(index)
        except inputs.UNREADABLE as error:
            bad[index] = error
    return groups, bad
