"""What a method with its weights does with images that users hand it: translate, encode, cluster, inspect.

Images go in as file names, folders, PIL images or arrays, one or many of any sizes, as `inference.inputs` tells; they
come out as numpy arrays, uint8, or uint16 at depth 16.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import jax
import numpy as np

from uit_jax.errors import UserError, shown
from uit_jax.inference import batched, inputs, inspection
from uit_jax.inference import files as drawing
from uit_jax.inference import styles as looks
from uit_jax.inference.files import Job
from uit_jax.inference.inputs import Given, Images
from uit_jax.inference.inspection import Inspected
from uit_jax.inference.styles import DOMAIN_IMAGES, DomainStyles, Look
from uit_jax.method import Method
from uit_jax.types import PyTree

_CHUNK, _LARGEST_SEED = 256, 2**32 - 1


class Model:
    """A method with its weights. What it cannot do, for the method has it not, is a UserError that says so.

    A subclass says where they come from: `method`, `variables`, `form`, `domain_styles`, `class_look` and
    `class_number`.
    """

    method: Method
    variables: PyTree

    @property
    def form(self) -> dict[str, Any]:
        """What its images are brought to: channels, depth, resample and max_pixels, as `images.decode` has them."""
        raise NotImplementedError

    def domain_styles(self, references: str | None = None, *, limit: int = DOMAIN_IMAGES) -> DomainStyles:
        """Return what the pseudo domains look like, over a source of images, at most so many of it."""
        raise NotImplementedError

    def class_look(self, name: str, references: str | None = None, *, limit: int = DOMAIN_IMAGES) -> Look:
        """Return the mean style of a class of a source of images, of at most so many of it."""
        raise NotImplementedError

    def class_number(self, name: str) -> int:
        """Return the number of a class that it was trained on."""
        raise NotImplementedError

    @property
    def styled(self) -> bool:
        """Whether it draws in a style, which has to come from somewhere."""
        return "style" in self.method.readouts

    @property
    def clustered(self) -> bool:
        """Whether it sorts images into pseudo domains."""
        return "cluster" in self.method.readouts

    @property
    def sampled(self) -> bool:
        """Whether styles can be sampled, and not only read of images."""
        return self.method.style_prior is not None

    @property
    def target_channels(self) -> int:
        """Channels of its translations, which have as many bits as its images."""
        return self.method.sides[-1].channels

    @property
    def image_size(self) -> int:
        """Side of the square images that it was trained on, pixels."""
        return self.method.image_size

    # --- what it says about images ---

    def encode(self, images: Images, *, domain: int | None = None, batch_size: int | None = None) -> np.ndarray:
        """Return the style codes of images, read at the model's size: float32 [n, D].

        Args:
          domain: the class that the images are of, where the method's styles are of classes; None where nobody tells.

        Raises:
          UserError: the method has no styles, or of no class, or an image cannot be read.
        """
        if not self.styled:
            raise UserError("the method of this run has no style codes")
        self._check_domain(domain)
        return self._read("style", images, batch_size, domain)

    def cluster(self, images: Images, *, batch_size: int | None = None) -> np.ndarray:
        """Return the probabilities of images, read at the model's size, to be of each pseudo domain: float32 [n, K].

        Raises:
          UserError: the method knows no pseudo domains, or an image cannot be read.
        """
        if not self.clustered:
            raise UserError("the method of this run knows no pseudo domains")
        return self._read("cluster", images, batch_size)

    def sample(self, count: int, seed: int = 0, domain: int | None = None) -> np.ndarray:
        """Sample style codes for `translate`: float32 [count, D], the same first ones for any count.

        Args:
          domain: the class that they are of, where the method's styles are of classes; None for any.

        Raises:
          UserError: the method's styles are those of images alone, or of no class, or a number is none there is.
        """
        if not self.sampled:
            raise UserError("the method of this run has no styles to sample")
        looks.whole(count, "count")
        looks.whole(seed, "seed", low=0, high=_LARGEST_SEED)
        self._check_domain(domain)
        return batched.sample(self.method, self.variables, int(count), int(seed), label=domain)

    # --- translating ---

    def translate(
        self,
        content: Images,
        *,
        reference: Images | None = None,
        domain: int | None = None,
        of_class: str | None = None,
        style: np.ndarray | None = None,
        size: str | None = None,
        batch_size: int = 8,
        max_pixels: int | None = None,
        pil: bool = False,
        progress: Callable[[float, int], None] | None = None,
    ) -> Any:
        """Translate images, each to one style where the method has styles.

        Args:
          content: the images.
          reference: images, of which the mean style is taken; unreadable ones are named in a warning and left out.
          domain: a pseudo domain, of which the mean style is taken, over the training images.
          of_class: a class of the training images, by name or number, of which the mean style is taken.
          style: codes [D], or [m, D] of each of m images, as `encode` and `sample` return them.
          size: "resize" to the model's size, or "keep" (by default for methods without styles).
          batch_size: images drawn at once at the model's size; of larger images fewer.
          max_pixels: larger images are drawn in tiles, in less memory and more time; by default 2 ** 20, and no limit
            for methods that cannot.
          pil: return PIL images.
          progress: told how many images are done, tiles of one as a part of it, and of how many.

        Returns:
          An image [H, W, C'], uint8, or uint16 at depth 16, for one image that came alone; an array [m, H, W, C']
          for an array of many; a list of images for a list or a folder.

        Raises:
          UserError: an image cannot be read or translated, or the style is missing, or not the method's to have.
        """
        given, make = inputs.gather(content, "content"), self._maker(pil)
        look = self.look(reference, domain, style, of_class=of_class, contents=len(given.items))
        job = self.job(look, size=size, batch_size=batch_size, max_pixels=max_pixels)
        return given.returned([make(frames[0]) for frames in drawing.collect(job, given, progress=progress)])

    def interpolate(
        self,
        content: Images,
        a: Images | None,
        b: Images | None,
        frames: int = 8,
        *,
        size: str | None = None,
        batch_size: int = 8,
        max_pixels: int | None = None,
        pil: bool = False,
        progress: Callable[[float, int], None] | None = None,
    ) -> Any:
        """Translate images to styles on the straight line from one to another.

        Args:
          a, b: the two ends: images, of which the mean style is taken, or None for each content's own style.
          frames: how many styles, the two ends among them.
          content, size, batch_size, max_pixels, pil, progress: as `translate` has them.

        Returns:
          As `translate` does, but for each image all its frames [frames, H, W, C'], or a list of PIL images.

        Raises:
          UserError: as `translate`; or both ends are None, or there are fewer than 2 frames.
        """
        given, make = inputs.gather(content, "content"), self._maker(pil)
        look = self.look(interpolate=(a, b), frames=frames)
        job = self.job(look, size=size, batch_size=batch_size, max_pixels=max_pixels)
        drawn = drawing.collect(job, given, progress=progress)
        return given.returned([[make(frame) for frame in each] if pil else np.stack(each) for each in drawn])

    def job(
        self,
        look: Look | None = None,
        *,
        size: str | None = None,
        keep: bool | None = None,
        batch_size: int = 8,
        max_pixels: int | None = None,
    ) -> Job:
        """Return what is to be drawn, for `inference.files.translations` and `film`, which never have all in memory.

        Args:
          look: the styles, as `look` returns them; None for a method without any.
          keep: what `size` is by default: whether to keep the images' own; as `translate` has it if not given.
          size, batch_size, max_pixels: as `translate` has them.
        """
        if size not in (None, "resize", "keep"):
            raise UserError(f"--size={size}: give resize or keep")
        looks.whole(batch_size, "batch_size")
        if max_pixels is not None:
            looks.whole(max_pixels, "max_pixels")
        keep = size == "keep" if size else not self.styled if keep is None else keep
        return Job(self.method, self.variables, self.form, look or self.look(), keep, batch_size, max_pixels)

    # --- where a style comes from ---

    def look(
        self,
        reference: Images | None = None,
        domain: int | None = None,
        style: np.ndarray | None = None,
        interpolate: tuple[Images | None, Images | None] | None = None,
        *,
        of_class: str | None = None,
        frames: int = 8,
        styles: int | None = None,
        seed: int | None = None,
        references: str | None = None,
        domain_images: int = DOMAIN_IMAGES,
        contents: int = 1,
    ) -> Look | None:
        """Return the styles to draw in, for `translations`; None where the method has none and none is asked for.

        Args:
          reference, domain, of_class, style: as `translate` has them; `contents` says how many images there are codes
            for.
          interpolate, frames: the two ends of an interpolation, and its frames.
          styles, seed: how many styles to sample, the same for all images, and from which seed, by default 0.
          references, domain_images: for a domain or a class, the source and the limit of `domain_styles`.

        Where the method's styles are of classes, `domain` or `of_class` beside a reference, an interpolation or sampled
        styles tells whose they are.

        Raises:
          UserError: not exactly one of the six is given to a method with styles, or it cannot be had.
        """
        of_domain = self.method.sampled_by_class and [reference, interpolate, styles] != [None] * 3
        if of_domain and of_class is not None and domain is None:
            domain, of_class = self.class_number(of_class), None
        options = {"reference": reference, "domain": domain, "class": of_class, "interpolate": interpolate}
        options |= dict(styles=styles, style=style)
        given = [f"--{name}" for name, value in options.items() if value is not None]
        if seed is not None and styles is None:
            raise UserError(f"--seed={seed}: is for the styles that --styles=N samples; leave it out")
        if self.styled and not given:
            raise UserError(f"give {self._ways()}: the method of this run draws in a style")
        if given and not self.styled:
            raise UserError(f"{given[0]}: the method of this run has no styles to choose from; leave it out")
        if of_domain and domain is not None:
            given.remove("--domain")
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: a style comes from one of them; leave the others out")
        if reference is not None:
            return self._mean_look(reference, domain)
        if styles is not None:
            if not self.sampled:
                raise UserError(f"--styles={styles}: the method of this run samples no styles; give {self._ways()}")
            looks.whole(styles, "styles", high=looks.MOST)
            return looks.sampled_look(self.sample(styles, seed or 0, domain), seed or 0, domain)
        if style is not None:
            shape = (1, self.image_size, self.image_size, self.form["channels"])
            read = functools.partial(self.method.readouts["style"], self.variables)
            width = jax.eval_shape(read, jax.ShapeDtypeStruct(shape, np.float32)).shape[-1]
            return looks.given_look(style, contents, width)
        if interpolate is not None:
            ends = [None if end is None else self._mean_look(end, domain) for end in interpolate]
            return looks.interpolation(ends, frames)
        if of_class is not None:
            return self.class_look(of_class, references, limit=domain_images)
        if domain is None:
            return None
        if not self.clustered:
            raise UserError(f"--domain={domain}: this run knows no pseudo domains; give a --reference")
        return looks.domain_look(self.domain_styles(references, limit=domain_images), domain)

    def inspect(
        self,
        image: Images,
        points: Sequence[tuple[float, float]] | None = None,
        layer: int | None = None,
        *,
        longest: int = 512,
    ) -> Inspected:
        """Show which patches of an image a patchwise method finds like those at points of its translation.

        Args:
          image: one image.
          points: (x, y) in pixels of the image; by default five, spread.
          layer: whose codes to compare; by default the last there is.
          longest: an image with a longer side is shrunk to so many pixels.

        Raises:
          UserError: the image cannot be read, a point lies outside, or the method has no such layer or compares none.
        """
        given = inputs.gather(image, "content")
        looks.whole(longest, "longest")
        if len(given.items) != 1:
            raise UserError(f"{given.name}: give one image, not {len(given.items)}")
        try:
            pixels = inputs.pixels(given.items[0], **self.form)
        except inputs.UNREADABLE as error:
            raise UserError(f"{given.name} cannot be read: {error}") from error
        places = inspection.shares(points, pixels.shape[:2])
        return inspection.inspect(self.method, self.variables, pixels, places, layer=layer, longest=longest)

    # --- what these are made of ---

    def _ways(self) -> str:
        """Name the options by which a style is chosen."""
        there = {"--reference": True, "--domain": self.clustered, "--class": len(self.method.sides) == 1}
        there |= {"--interpolate": True, "--styles": self.sampled}
        *others, last = [option for option, known in there.items() if known]
        return f"{', '.join(others)} or {last}"

    def _check_domain(self, domain: int | None) -> None:
        """Raise a UserError for a class that the method's styles are not of."""
        if domain is not None:
            if not self.method.sampled_by_class:
                raise UserError(f"--domain={domain}: the styles of this method are of no domain; leave it out")
            looks.whole(domain, "domain", low=0, high=self.method.classes - 1)

    def _mean_look(self, reference: Images, domain: int | None) -> Look:
        self._check_domain(domain)
        given, images = self._readable(inputs.gather(reference, "reference"), "reference")
        codes = batched.read(self.method, "style", self.variables, images, label=domain)
        look = looks.reference_look(codes, images, [given.called(index) for index in range(len(images))])
        if len(images) == 1:
            return look
        folders = {item.parent.name for item in given.items if isinstance(item, PurePath)} - {""}
        told = f" of {shown(*folders)}" if len(folders) == 1 else ""
        return look._replace(title=f"mean style of {len(images)} images{told}")

    def _read(
        self, readout: str, images: Images, batch_size: int | None, label: int | None = None
    ) -> np.ndarray:
        given = inputs.gather(images, "images")
        if batch_size is not None:
            looks.whole(batch_size, "batch_size")
        size = batch_size or min(64, len(given.items))
        parts = inputs.in_parts(given, max(1, _CHUNK // size) * size, size=self.image_size, **self.form)
        return np.concatenate(
            [batched.read(self.method, readout, self.variables, part, batch_size=size, label=label) for part in parts]
        )

    def _readable(self, given: Given, what: str) -> tuple[Given, np.ndarray]:
        return inputs.readable(given, what, size=self.image_size, **self.form)

    def _maker(self, pil: bool) -> Callable[[np.ndarray], Any]:
        """Return what makes an array the image that is returned. Raises UserError where PIL has no such images."""
        kind = (self.target_channels, self.form["depth"])
        if pil and kind not in ((1, 8), (3, 8), (4, 8), (1, 16)):
            raise UserError(f"pil: PIL has no images of {kind[0]} channels of {kind[1]} bits; leave it out")
        return inputs.to_pil if pil else lambda array: array
