"""What a visitor asks for, how its images are read within limits, and how several requests are drawn together.

Nothing is compiled for a request: all are drawn in batches of a few sizes, of images of one size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uit_jax.errors import UserError
from uit_jax.images import decode
from uit_jax.images.opening import TooLarge
from uit_jax.inference import batched, inputs, styles
from uit_jax.inference.model import Model
from uit_jax.method import load_size

_OWN_SIDE = 512  # of translations by a method that learns from images of their own size


class Limits(NamedTuple):
    """Of an image that is handed in: bytes of its file, and pixels, checked before it is decoded."""

    most_bytes: int = 20 * 2**20
    most_pixels: int = 50_000_000


class Content(NamedTuple):
    """An image to translate [S, S, C], continued to that size by reflection, and its own (height, width)."""

    image: np.ndarray
    size: tuple[int, int]


class Blend(NamedTuple):
    """The style of one image [S, S, C], or a share of the way from that of one to that of another."""

    images: tuple[np.ndarray, ...]
    share: float = 0.0


class Code(NamedTuple):
    """A style that is known: float32 [D]."""

    code: np.ndarray


class Sampled(NamedTuple):
    """A style by chance: of a seed, and of a class, or of any."""

    seed: int
    domain: int | None = None


class Request(NamedTuple):
    """What is to be drawn, and in what style: None for a method without any."""

    content: Content
    style: Blend | Code | Sampled | None


class Drawn(NamedTuple):
    """A translation, uint8 or uint16 [h, w, C'], and the style code that it was drawn in, float32 [D], or None."""

    image: np.ndarray
    code: np.ndarray | None


class Studio:
    """Draws with a model.

    Attributes:
      side: longest side of what is drawn, pixels. By default the model's; of methods that learn from images of their
        own size, 512. Those with styles draw at the model's size always, as they were trained to.
      sizes: the batch sizes that there are programs for.
      limits: of what is handed in.
    """

    def __init__(self, model: Model, *, most: int = 8, side: int | None = None, limits: Limits | None = None):
        """Raise a UserError for images that a browser cannot show, or a side where a method has its own."""
        channels = {model.form["channels"], model.target_channels}
        if not channels <= {1, 3}:
            shown = f"images of {max(channels)} channels, which no browser shows"
            raise UserError(f"the model of this run is for {shown}: use `uit translate`")
        if side is not None and model.styled:
            raise UserError(f"--size={side}: this method draws at the model's size, {model.image_size}; leave it out")
        self.model, self.limits = model, limits or Limits()
        own = load_size(model.method, model.method.phase(0)) == 0 and not model.styled
        self.side = side or (_OWN_SIDE if own else model.image_size)
        self.sizes = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
        self._form = {**model.form, "max_pixels": min(self.limits.most_pixels, model.form["max_pixels"])}
        self._canvas = (self.side,) * 2
        if not model.styled:
            self._canvas = batched.drawn_size(self.side, self.side, model.method.multiple)

    # --- reading ---

    def content(self, item: Path | np.ndarray) -> Content:
        """Read an image to translate: at the model's size where there are styles, else in its own proportions.

        Raises UserError, in words for who handed it in.
        """
        if self.model.styled:
            return Content(self._read(item, "image to translate", self.side), self._canvas)
        image = self._read(item, "image to translate", None)
        scale = min(1, self.side / max(image.shape[:2]))
        size = tuple(max(1, round(each * scale)) for each in image.shape[:2])
        return Content(batched.pad(decode.resize(image, size, self._form["resample"]), self._canvas), size)

    def reference(self, item: Path | np.ndarray, called: str = "reference") -> np.ndarray:
        """Read an image for its style: [S, S, C]. Raises UserError, in words for who handed it in."""
        return self._read(item, called, self.model.image_size)

    def _read(self, item: Path | np.ndarray, called: str, size: int | None) -> np.ndarray:
        most_bytes, most_pixels = self.limits.most_bytes, self._form["max_pixels"]
        try:
            if isinstance(item, Path) and item.stat().st_size > most_bytes:
                raise UserError(f"its file has more than {most_bytes / 2**20:g} MB")
            return inputs.pixels(item, size=size, **self._form)
        except TooLarge:
            reason = f"it has more than {most_pixels / 1e6:g} million pixels"
        except FileNotFoundError:
            reason = "it is not here any more, hand it in again"
        except inputs.UNREADABLE as error:
            reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"The {called} cannot be read: {reason}.") from None

    # --- drawing ---

    def compile(self) -> None:
        """Draw something in every batch size, so that nobody waits for a program to be compiled."""
        blank = np.zeros((*self._canvas, self._form["channels"]), np.uint8 if self._form["depth"] == 8 else np.uint16)
        for size in self.sizes:
            some = Request(Content(blank, self._canvas), Blend((blank,)) if self.model.styled else None)
            self.draw([some] * size)
        if self.model.sampled:
            self.model.sample(1)

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        """Draw what is asked for, together. Raises UserError where a style is asked for that there is not."""
        codes = self._codes(requests) if self.model.styled else None
        contents = np.stack([request.content.image for request in requests])
        size = self._fitting(len(requests))
        drawn = batched.translate(self.model.method, self.model.variables, contents, codes, batch_size=size)
        cut = [image[:h, :w] for image, (h, w) in zip(drawn, (each.content.size for each in requests), strict=True)]
        return [Drawn(image, None if codes is None else codes[index]) for index, image in enumerate(cut)]

    def _codes(self, requests: Sequence[Request]) -> np.ndarray:
        """Return the style code of each request [n, D]; those of all reference images are read together."""
        blends = [request.style for request in requests if isinstance(request.style, Blend)]
        images, read = [image for blend in blends for image in blend.images], iter(())
        if images:
            how = dict(batch_size=self._fitting(len(images)))
            read = iter(batched.read(self.model.method, "style", self.model.variables, np.stack(images), **how))
        return np.stack([self._code(request.style, read) for request in requests]).astype(np.float32)

    def _code(self, style: Blend | Code | Sampled | None, read) -> np.ndarray:
        match style:
            case Blend(images, share):
                ends = [next(read) for _ in images]
                return styles.between(ends[0], ends[-1], share)
            case Code(code):
                return code
            case Sampled(seed, domain):
                return self.model.sample(1, seed, domain)[0]
        raise UserError("Choose a style first.")

    def _fitting(self, count: int) -> int:
        """Return the smallest batch size that so many fit in, or the largest there is."""
        return next((size for size in self.sizes if size >= count), self.sizes[-1])
