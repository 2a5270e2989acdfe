"""Trained runs as a notebook or a verb uses them: `load` one, then translate, encode, cluster, search and inspect.

    run = load("runs/flowers")
    red = run.translate("cat.jpg", reference="red_cat.jpg")

Images go in as file names, folders, PIL images or arrays, one or many of any sizes, as `inference.inputs` tells; they
come out as numpy arrays, uint8, or uint16 for runs of depth 16.
"""

import contextlib
import dataclasses
import functools
import io
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from uit_jax import checkpoint as checkpoints
from uit_jax import config as configs
from uit_jax import data
from uit_jax.errors import NoSuchPart, UserError
from uit_jax.files import read_regular, write_whole
from uit_jax.inference import batched, inputs, search, styles
from uit_jax.inference.inputs import Images
from uit_jax.inference.model import Model
from uit_jax.inference.search import Found, Searched
from uit_jax.inference.styles import DomainStyles, Look
from uit_jax.listing import pick_evenly, picked
from uit_jax.method import DIRECTIONS, Method
from uit_jax.paths import PathLike, as_path
from uit_jax.types import PyTree


def load(
    workdir: PathLike,
    checkpoint: str | int = "latest",
    *,
    direction: str | None = None,
    data_max_pixels: int | None = None,
) -> "Trained":
    """Read a trained run back.

    Args:
      workdir: the folder that training wrote, or `uit export --to=hub-folder`.
      checkpoint: "latest", "best", or a step.
      direction: of two domains, "AtoB" or "BtoA", as `data.direction` names them; by default the run's own. In the
        other one a model that has learnt both ways translates, encodes and is evaluated from B to A.
      data_max_pixels: in the place of the run's own `data.max_pixels`: pixels of an image file, of which a larger one
        is not read. (The `max_pixels` of `translate` are those from which on an image is drawn in tiles.)

    Raises:
      UserError: there is no such run or checkpoint, or it knows no such direction.
    """
    if not isinstance(workdir, PathLike):
        raise UserError(f"--workdir={workdir!r}: give the name of a run's folder")
    workdir = as_path(workdir)
    config, method, variables, step = checkpoints.restore_variables(workdir, checkpoint)
    if data_max_pixels is not None:
        configs.check(configs.update(config, {"data.max_pixels": data_max_pixels}))
    config, method, variables = _directed(direction, config, method, variables)
    # Onto the device once, and not with every batch.
    return Trained(workdir, config, method, jax.device_put(variables), step)


def drawn_form(workdir: PathLike, direction: str | None = None) -> tuple[int, int]:
    """Return channels and bits of a run's translations, from its settings, without its weights.

    Raises:
      UserError: there is no such run, or it knows no such direction.
    """
    config = checkpoints.begun_with(as_path(workdir))
    if config is None:
        raise UserError(f"--workdir={workdir}: no run was trained there (it has no config.json)")
    config, method, _ = _directed(direction, config, configs.method_of(config), {})
    return method.sides[-1].channels, config.data.depth


def _directed(
    direction: str | None, config: Any, method: Method, variables: PyTree
) -> tuple[Any, Method, PyTree]:
    """Return settings, method and weights of a run as they are in a direction, as `load` has it. Raises UserError."""
    if direction is None:
        return config, method, variables
    if direction not in DIRECTIONS:
        raise UserError(f"--direction={direction}: give {' or '.join(DIRECTIONS)}")
    if len(method.sides) < 2:
        raise UserError(f"--direction={direction}: this run has no two domains to translate between; leave it out")
    own = config.data.direction
    if direction == own:
        return config, method, variables
    if (found := method.exchanged(variables)) is None:
        other = f"train one with --config.data.direction={direction}"
        raise UserError(f"--direction={direction}: this run translates {own} only; {other}")
    first, last = (side.channels for side in found[0].sides)
    channels = {} if first == last else {"data.channels": first, "data.target_channels": last}
    return configs.update(config.copy_and_resolve_references(), {"data.direction": direction, **channels}), *found


@dataclasses.dataclass(frozen=True, eq=False)
class Trained(Model):
    """A trained run: a `Model` with the folder, the settings and the data that it comes from.

    Attributes:
      workdir: the folder it was read from.
      config: its settings, a ConfigDict.
      method: what was trained.
      variables: its weights, of which `method` knows the parts.
      step: training iterations behind it.
    """

    workdir: Path
    config: Any = dataclasses.field(repr=False)
    method: Method = dataclasses.field(repr=False)
    variables: PyTree = dataclasses.field(repr=False)
    step: int

    @property
    def title(self) -> str:
        """What pictures of it are called: its step and, where it has learnt both ways, which of them it goes."""
        told = f"step {self.step}"
        if self.method.exchanged(self.variables) is None:
            return told
        return f"{self.config.data.direction.replace('to', ' to ')}, {told}"

    @property
    def form(self) -> dict[str, Any]:
        """What its images are brought to: channels, depth, resample and max_pixels, as `images.decode` has them."""
        wanted = self.config.data
        channels = self.method.sides[0].channels
        return dict(channels=channels, depth=wanted.depth, resample=wanted.resample, max_pixels=wanted.max_pixels)

    def domain_styles(self, references: str | None = None, *, limit: int = styles.DOMAIN_IMAGES) -> DomainStyles:
        """Return what the pseudo domains look like: mean styles, counts and portraits.

        Args:
          references: a source of the images that stand for them, by default the training source; what that gives is
            kept in the workdir for this step.
          limit: of a source with more images, that many are read, evenly spread.

        Raises:
          UserError: the source cannot be read.
        """
        if not self.clustered:
            raise UserError("the method of this run knows no pseudo domains")
        if references is not None:
            return self._domain_styles(references, limit)
        source = self.config.data.source
        path = _kept_styles(self.workdir, self.step, source, limit)
        # One that is damaged, or not there, is made anew.
        with contextlib.suppress(Exception), np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as kept:
            return styles.checked(DomainStyles(**kept), self._entries("cluster"), self._entries("style"))
        data.check_there("data.source", source, "--references")
        found = self._domain_styles(source, limit)
        # A run may be read from a place where nothing can be kept; the next call computes them again.
        with contextlib.suppress(UserError):
            keep_domain_styles(found, self.workdir, self.step, source, limit)
        return found

    def class_look(self, name: str, references: str | None = None, *, limit: int = styles.DOMAIN_IMAGES) -> Look:
        """Return the mean style of the images of a class.

        Args:
          name: the class, or its number.
          references: a source that has it, of which the run may have seen nothing; by default the training source.
          limit: of more images of the class, that many are read, evenly spread.

        Raises:
          UserError: the source cannot be read, or has no such class.
        """
        how = dict(split="train", size=self.image_size, seed=self.config.seed, **self.form)
        if references is not None:
            source, label = data.open_source(references, **how).of_class(name), None
            if self.method.sampled_by_class:
                # Of a class that it was not trained on, nobody can tell.
                with contextlib.suppress(UserError):
                    label = self.class_number(source.classes[0])
        else:
            source, number = self._own_class(name, **how)
            label = number if self.method.sampled_by_class else None
        gallery = search.encode(self.method, self.variables, source, pick_evenly(len(source), limit), label=label)
        rows = range(min(4, len(gallery.codes)))
        told = f"class {source.classes[0]}, mean style of {len(gallery.codes)} images"
        look = styles.reference_look(gallery.codes, [gallery.image(row) for row in rows], [source.classes[0]])
        return look._replace(labels=[source.classes[0]], title=told)

    def class_number(self, name: str) -> int:
        """Return the number of a class of the training images, named or numbered. Raises UserError."""
        how = dict(split="train", size=self.image_size, seed=self.config.seed, **self.form)
        _, number = self._own_class(name, **how)
        return number

    def search(
        self,
        query: Images | None = None,
        images: Images | None = None,
        count: int | None = None,
        *,
        queries: int = 8,
        limit: int | None = None,
    ) -> Found:
        """Find the images whose style is most like a query's: the largest cosine of their style codes.

        Args:
          query: images, of which at most `queries` are asked for, evenly spread; None for some of those searched.
          images: what is searched: the text of a source, as `data.source` has it, of one with a test split that; or
            images in a list or an array. By default the run's test source, else its training source; of two domains
            the one that is translated to, whose styles these are.
          count: neighbours of each query, itself not among them; by default 8, or as many as there are.
          limit: search at most so many images, evenly spread.

        Raises:
          UserError: the method has no styles, there are not so many images, or none can be read.
        """
        if not self.styled:
            raise UserError(f"--workdir={self.workdir}: the method of this run has no style codes to search by")
        asked = None if query is None else inputs.gather(query, "query")
        source = self.searched(images)
        chosen = pick_evenly(len(source), limit)
        if count is not None:
            search.check_count(count, len(chosen) - (asked is None), source, beside=asked is None)
        if asked is not None:
            asked, pixels = self._readable(asked._replace(items=picked(asked.items, queries)), "query")
        gallery = search.encode(self.method, self.variables, source, chosen)
        if asked is None:
            return search.nearest(search.from_gallery(gallery, queries), gallery, count)
        codes = batched.read(self.method, "style", self.variables, pixels)
        return search.nearest(search.from_images(asked, pixels, codes, gallery), gallery, count)

    def _own_class(self, name: str, **how: Any) -> tuple[data.Source, int]:
        """Return the training images of a class, and its number."""
        spec = self.config.data.source if len(self.method.sides) == 1 else ""
        if not spec:
            raise UserError(f"--class={name}: this run has no classes of its own; name a source by --references")
        data.check_there("data.source", spec, "--references")
        every = data.open_source(spec, **how)
        every = data.relabelled(every, self.config.data.labels) if self.config.data.labels else every
        try:
            source = every.of_class(name)
        except UserError as error:
            raise UserError(f"{error}; classes of other images are read from --references") from error
        return source, every.classes.index(source.classes[0])

    def _entries(self, name: str) -> int:
        """Return how many numbers a read-out gives of an image."""
        image = jax.ShapeDtypeStruct((1, self.image_size, self.image_size, self.method.sides[0].channels), np.float32)
        return jax.eval_shape(self.method.readouts[name], self.variables, image).shape[-1]

    def _domain_styles(self, spec: str, limit: int) -> DomainStyles:
        source = data.open_source(spec, split="train", size=self.image_size, seed=self.config.seed, **self.form)
        images = functools.partial(data.examples, source)
        return styles.domain_styles(self.method, self.variables, images, len(source), limit=limit)

    def contents(self) -> data.Source:
        """Open what it translates: images of the first side, held-out ones where there are any. Raises UserError."""
        how: dict[str, Any] = dict(size=self.image_size, seed=self.config.seed)
        try:
            sides = data.open_test_sides(self.method.sides, self.config.data, **how)
        except NoSuchPart:
            sides = data.open_sides(self.method.sides, self.config.data, split="train", **how)
        return next(iter(sides.values()))

    def searched(self, images: Images | None = None) -> Searched:
        """Open what `search` searches: images, or the test split of a source where it has one, else all of it.

        Of two domains it is the one that is translated to: the style encoder is of its images. Raises UserError.
        """
        if images is not None and not isinstance(images, PathLike):
            return search.Listed(inputs.gather(images, "images"), self.image_size, self.form)
        wanted, sides, keys = self.config.data, self.method.sides, ()
        if images is None:
            one = "test_source" if wanted.test_source else "source"
            keys = (one,) if len(sides) == 1 else ("source", "target", "test_source", "test_target")
        for key in keys:
            data.check_there(f"data.{key}", getattr(wanted, key), "--source")
        return data.open_last_side(sides, wanted, str(images or ""), size=self.image_size, seed=self.config.seed)


def keep_domain_styles(
    found: DomainStyles, workdir: Path, step: int, source: str, limit: int = styles.DOMAIN_IMAGES
) -> None:
    """Write what a run's pseudo domains look like to where `Trained.domain_styles` finds it. Raises UserError."""
    path = _kept_styles(workdir, step, source, limit)
    write_whole(path, lambda partial: np.savez_compressed(partial, **found._asdict()))


def _kept_styles(workdir: Path, step: int, source: str, limit: int) -> Path:
    return workdir / f"domain_styles_{step}_{limit}_{zlib.crc32(source.encode()):08x}.npz"
