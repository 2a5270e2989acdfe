"""The procedural world as a source: "procedural[:key=value,...]", the keys being those of `World`."""

import ast
import dataclasses
from collections.abc import Sequence

import numpy as np

from uit_jax.data.sources.base import Form, Numbered, Source
from uit_jax.data.world import World
from uit_jax.errors import UserError
from uit_jax.images.decode import to_channels, to_depth
from uit_jax.settings import nearest

_CACHE_BYTES = 2**30
_OWN_SIZE = 256


class ProceduralSource(Source):
    """Images of one split of a world, rendered when first asked for and kept; sets over 1 GiB are rendered each time.

    Attributes:
      world: the distribution.
      scenes: the truth about every image.
    """

    def __init__(self, spec: str, form: Form, *, split: str, seed: int):
        form.check()
        if form.channels not in (1, 3):
            raise UserError(f"{form.channels_key} is {form.channels}; the procedural world has 1 or 3 channels")
        world = parse_world(spec, size=form.size, seed=seed)
        self.world, self.scenes = world, world.scenes(split)
        names = Numbered(f"{spec} {split}", len(self.scenes))
        super().__init__(spec, form, names=names, labels=self.scenes.species, classes=world.classes)
        self.shape = (world.size, world.size, form.channels)
        self._forget()

    def key(self, index: int) -> str:
        return Numbered.number(self.names[index])

    def images(self, indices: Sequence[int]) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        if self._images is None:
            return self._render(indices)
        missing = np.unique(indices[~self._rendered[indices]])
        if len(missing):
            self._images[missing] = self._render(missing)
            self._rendered[missing] = True  # last, for another thread may be reading
        return self._images[indices]

    def _render(self, indices: np.ndarray) -> np.ndarray:
        return to_depth(to_channels(self.world.render(self.scenes[indices]), self.channels), self.form.depth)

    def _choose(self, indices: np.ndarray) -> None:
        self.scenes = self.scenes[indices]
        self._forget()

    def _forget(self) -> None:
        shape = (len(self.scenes), *self.shape)
        self._rendered = np.zeros(len(self.scenes), bool)
        self._images = np.empty(shape, self.dtype) if np.prod(shape, dtype=np.int64) <= _CACHE_BYTES else None


def parse_world(spec: str, *, size: int, seed: int) -> World:
    """Read "procedural[:key=value,...]"; a `seed` in the spec goes before the argument.

    Only where the argument `size` is 0 may the spec give a size, without which images have 256 px.
    Raises UserError.
    """
    fields = {field.name: field.type for field in dataclasses.fields(World) if field.name != "size" or not size}
    values = {"seed": seed, "size": size or _OWN_SIZE}
    for item in filter(None, spec.partition(":")[2].split(",")):
        key, equals, text = (part.strip() for part in item.partition("="))
        if key == "size" and size:
            raise UserError(f"{spec}: the size is data.image_size; leave it out here")
        if not equals or key not in fields:
            raise UserError(f"{spec}: {item!r} is not key=value with a known key{nearest(key, fields)}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = None
        if type(value) not in ((int,) if fields[key] in (int, "int") else (int, float)):
            raise UserError(f"{spec}: {key}={text} is not a number of the kind {key} takes")
        values[key] = value
    return World(**values)
