"""What every source of images is: a numbered list with names and labels, and a way to one image of it."""

import contextlib
import copy
import logging
import threading
import zlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from uit_jax.errors import NoSuchPart, UserError, shown
from uit_jax.images import decode as decoding
from uit_jax.images import rasters
from uit_jax.images.decode import Unreadable, WrongChannels
from uit_jax.images.opening import MAX_PIXELS
from uit_jax.paths import exact, is_remote
from uit_jax.settings import nearest

# The names that the parts of a pair of domains go by, in folders and builders, the first that is there counting.
DOMAINS = {"trainA": ("trainA",), "trainB": ("trainB",), "testA": ("testA", "valA"), "testB": ("testB", "valB")}
_HANDFUL = 4  # a pair of single images, and little more

_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """What every image of a source is brought to.

    Attributes:
      size: the side; 0 for the images' own size, which is then one for all of them.
      channels: 1 (gray), 3 (RGB), or any number that the files themselves have.
      depth: bits of a channel: 8 (uint8) or 16 (uint16).
      resample: "bilinear" or "bicubic".
      channels_key: the setting that `channels` comes from, for messages.
      max_pixels: files whose images have more are unreadable.
    """

    size: int
    channels: int = 3
    depth: int = 8
    resample: str = "bilinear"
    channels_key: str = "data.channels"
    max_pixels: int = MAX_PIXELS

    def check(self) -> None:
        """Raise UserError for values that nothing can be brought to."""
        if self.channels < 1:
            raise UserError(f"{self.channels_key} is {self.channels}; an image has at least 1 channel")
        if self.size < 0:
            raise UserError(f"data.image_size is {self.size}; it must be at least 1, or 0 for the images' own size")
        if self.depth not in (8, 16):
            raise UserError(f"data.depth is {self.depth}; it is 8 or 16 bits a channel")
        if self.resample not in decoding.FILTERS:
            raise UserError(f"data.resample is {self.resample!r}; it is one of {', '.join(decoding.FILTERS)}")


class Source:
    """Images of one size, numbered from 0.

    Attributes:
      spec: what it was opened from, for messages.
      form: what its images are brought to.
      shape, dtype: of every image: (H, W, C), uint8 or uint16.
      classes: names of the classes; () where nothing is labelled.
      labels: int32 [n], indices into `classes`, -1 unknown.
      names: n texts that tell a person which image it is.
      unreadable: reasons by index, of the images found unreadable so far.
      passed: how many files beside the images there are, by ending.
      relabelling: a checksum of labels that took the place of its own; None where these are its own.
      packed_by: the filter by which a packed set came to its size; None of files, and where nobody wrote it down.
    """

    relabelling: int | None = None
    packed_by: str | None = None

    def __init__(self, spec: str, form: Form, *, names: Sequence[str], labels: np.ndarray, classes: tuple[str, ...]):
        form.check()
        if not len(names):
            raise UserError(f"{spec}: no images found")
        self.spec, self.form = spec, form
        self.names, self.labels, self.classes = names, labels, classes
        self.shape = (form.size, form.size, form.channels)
        self.dtype = np.dtype(np.uint8 if form.depth == 8 else np.uint16)
        self.unreadable: dict[int, str] = {}
        self.passed: dict[str, int] = {}
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int | tuple[int, int]:
        """The side of the images, or (H, W) where they are not square."""
        height, width, _ = self.shape
        return height if height == width else (height, width)

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def key(self, index: int) -> str:
        """Return how labels files call an image, the same wherever the source lies."""
        return self.names[index]

    def relabelled(self, labels: np.ndarray, classes: tuple[str, ...]) -> "Source":
        """Return the same images with other labels int32 [n], indices into `classes`."""
        other = copy.copy(self)
        other.labels, other.classes, other.relabelling = labels, classes, zlib.crc32(labels.astype("<i4").tobytes())
        return other

    def describe(self) -> str:
        """Say in one line what this source holds."""
        height, width, channels = self.shape
        size = f"{width}" if height == width else f"{width} x {height}"
        bits = "" if self.form.depth == 8 else f" of {self.form.depth} bits"
        classes = _count(len(self.classes), "class", "es") if self.classes else "unlabelled"
        return f"{self.spec}: {_count(len(self), 'image')}, {size} px, {_count(channels, 'channel')}{bits}, {classes}"

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8 or uint16 [H, W, C]. Raises Unreadable, and UserError for the wrong channels."""
        return self.images([index])[0]

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Return several images, uint8 or uint16 [B, H, W, C]. Raises as `image` does."""
        raise NotImplementedError

    def damage(self) -> list[str]:
        """Say in a line each what of the images is not as it was written, where that is known."""
        return []

    def of_class(self, name: str) -> "Source":
        """Return the images of one class, given by its name or else its number, as a source of their own.

        Raises NoSuchPart.
        """
        if not self.classes:
            raise NoSuchPart(f"{self.spec}#{name}: {self.spec} has no classes to choose from")
        if name in self.classes:
            label = self.classes.index(name)
        elif name.isdecimal() and int(name) < len(self.classes):
            label = int(name)
        else:
            or_number = f" (or give its number, 0 to {len(self.classes) - 1})"
            raise NoSuchPart(f"{self.spec}#{name}: no such class{nearest(name, self.classes)}{or_number}")
        indices = np.flatnonzero(self.labels == label)
        if not len(indices):
            raise NoSuchPart(f"{self.spec}#{name}: holds no images of this class")
        part = copy.copy(self)
        part.spec, part.classes = f"{self.spec}#{name}", (self.classes[label],)
        part.names, part.labels = [self.names[i] for i in indices], np.zeros(len(indices), np.int32)
        part.unreadable, part._kept, part._lock = {}, {}, threading.Lock()
        part._choose(indices)
        return part

    def _choose(self, indices: np.ndarray) -> None:
        """Keep of what is stored of each image that of some; the names and labels are chosen already."""

    def mark_unreadable(self, index: int, reason: str) -> None:
        """Note an unreadable image, and warn of it once."""
        with self._lock:
            if index in self.unreadable:
                return
            self.unreadable[index] = reason
        _log.warning("unreadable image replaced by another one: %s (%s)", shown(self.names[index]), reason)


class EncodedSource(Source):
    """A source whose images are the bytes of image files."""

    def encoded(self, index: int) -> bytes:
        """Return the bytes of one image file. Raises Unreadable."""
        raise NotImplementedError

    @property
    def is_handful(self) -> bool:
        """Whether the images are so few that each is decoded once and kept."""
        return len(self) <= _HANDFUL

    def is_plain(self, index: int) -> bool:
        """Tell by its header whether an image is a JPEG or PNG of the wanted size and 8 bits."""
        try:
            return self.form.depth == 8 and decoding.is_plain(self.encoded(index), self.shape[:2], self.form.max_pixels)
        except Unreadable:
            return False

    def image(self, index: int) -> np.ndarray:
        if not self.is_handful:
            return self._decoded(index)
        if index not in self._kept:
            image = self._decoded(index)
            image.flags.writeable = False
            self._kept[index] = image
        return self._kept[index]

    def images(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([self.image(int(i)) for i in indices])

    def _decoded(self, index: int) -> np.ndarray:
        form, data = self.form, self.encoded(index)
        wanted = dict(channels=form.channels, depth=form.depth, resample=form.resample, max_pixels=form.max_pixels)
        try:
            return decoding.decode(data, size=form.size or None, **wanted)
        except WrongChannels as error:
            raise UserError(f"{self.names[index]}: {error}; set {form.channels_key}={error.found}") from None

    def prepared(self) -> "EncodedSource":
        """Return the source itself, once its first image has shown that its channels fit, and all that their sizes do.

        Raises UserError for what is a matter of settings, not of one unreadable file.
        """
        if not self.form.size:
            self.shape = (*self._own_size(), self.form.channels)
        with contextlib.suppress(Unreadable):
            self.image(0)
        return self

    def _own_size(self) -> tuple[int, int]:
        """Return (height, width) of every readable image."""

        def look(index):
            try:
                return rasters.dimensions(self.encoded(index), self.form.max_pixels)
            except Unreadable as error:
                self.mark_unreadable(index, str(error))
                return None

        first = None
        with ThreadPoolExecutor() as pool:
            for index, size in enumerate(pool.map(look, range(len(self)))):
                first = (index, size) if first is None and size else first
                if size and size != first[1]:
                    (a, b), (c, d) = first[1], size
                    raise UserError(
                        f"{self.names[first[0]]} is {b} x {a} and {self.names[index]} is {d} x {c}: images that are"
                        " read at their own size must all have one; crop them, or set method.load_size to resize them"
                    )
        if first is None:
            raise UserError(
                f"{self.spec}: none of its {len(self)} images is readable;"
                f" {self.names[0]}: {self.unreadable[0]}; `uit data check` names them all"
            )
        return first[1]


class FileSource(EncodedSource):
    """Image files; a name is its path. Where a bucket cannot be reached, reading raises UserError."""

    def __init__(self, spec: str, form: Form, **images):
        super().__init__(spec, form, **images)
        self._folder = f"{spec}/"

    def key(self, index: int) -> str:
        return self.names[index].removeprefix(self._folder)

    def encoded(self, index: int) -> bytes:
        path = exact(self.names[index])
        try:
            return path.read_bytes()
        except OSError as error:
            # A network that fails is no fault of the image, in whose place another one would be drawn.
            if is_remote(path) and not isinstance(error, FileNotFoundError):
                raise UserError(f"{path} cannot be read: {error.strerror}") from error
            raise Unreadable(error.strerror or str(error)) from None


class Numbered(Sequence):
    """The names "PREFIX#0", "PREFIX#1", ... without storing them; `number` is what follows the last "#"."""

    @staticmethod
    def number(name: str) -> str:
        return name.rpartition("#")[2]

    def __init__(self, prefix: str, count: int):
        self._prefix, self._range = prefix, range(count)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index):
        return f"{self._prefix}#{self._range[index]}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural * (number != 1)}"


def first(options: Iterable[str], names: Collection[str]) -> str:
    """Return the first option that is among the names, "" where none is."""
    return next((name for name in options if name in names), "")
