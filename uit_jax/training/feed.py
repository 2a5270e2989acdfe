"""What a run is fed with: its sources, and for each step the batch of the stream that the step's phase draws from."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from uit_jax import data
from uit_jax.data import Sources
from uit_jax.data.order import stream_members
from uit_jax.errors import NoSuchPart, UserError
from uit_jax.method import Method, Phase, Stream, beside, load_size, phase_key, phase_size
from uit_jax.training import devices, several
from uit_jax.training.devices import Lifted
from uit_jax.training.kept import Kept
from uit_jax.training.progress import Progress
from uit_jax.types import Batch, PyTree

_SHARE = 1 / 8
"""Of what the state leaves of a device's memory, images are given so much unasked: a step needs the most of it."""

_TIMES = 2
"""How often a run draws each image at least where all are kept unasked."""


class Kind(NamedTuple):
    """What loader a phase's batches come from: its stream, global batch size, and the side images are read at."""

    stream: Stream
    batch_size: int
    size: int


class Streams:
    """The loaders of a run, one for each kind of batch that its phases draw."""

    def __init__(self, config: ConfigDict, method: Method, sources: Sources, drawing: Iterable[Phase]):
        """Open the sources for these phases. Raises UserError for whatever one of their batches cannot be made of."""
        self._config, self._method = config, method
        self._sources = {load_size(method, method.phase(0)): sources}
        self._loaders = {}
        self._begun = 0
        self._kinds: set[Kind] = set()
        for phase in drawing:
            if (kind := self.kind(phase)) not in self._kinds:
                self._kinds.add(kind)
                self._check(kind, phase_key(phase))

    def begin(self, step: int) -> None:
        self._begun = step

    def batch(self, step: int, phase: Phase) -> Batch:
        """Return this process's rows of the batch of a step; it depends on nothing but seed, step and row."""
        return self._loader(phase).batch(step)

    def rows(self, step: int, phase: Phase) -> Batch:
        """Return that batch with indices of the sources, int32, in the place of images, and read nothing any more."""
        loader = self._loader(phase)
        loader.close()
        return loader.rows(step)

    def sources(self, phase: Phase) -> Sources:
        """Return the images that a phase's batches come from."""
        return self._of_size(self.kind(phase).size)

    def kind(self, phase: Phase) -> Kind:
        """Return what loader a phase's batches come from; those of one kind are one stream of batches."""
        size = phase_size(phase, self._config.batch_size)
        return Kind(phase.stream, size, load_size(self._method, phase))

    def size(self, phase: Phase) -> int:
        """Return the side that a phase's images are read at, which its sources are known by."""
        return self.kind(phase).size

    def drawn(self) -> dict[int, tuple[Sources, dict[str, np.ndarray]]]:
        """Return by the side that images are read at their sources, and of each side the indices ever drawn from."""
        found = {}
        for kind in self._kinds:
            sources, members = found.setdefault(kind.size, (self._of_size(kind.size), {}))
            for name, source in sources.items():
                more = stream_members(source, kind.stream)[0]
                members[name] = np.union1d(members[name], more) if name in members else more
        return found

    def close(self) -> None:
        for loader in self._loaders.values():
            loader.close()

    def _check(self, kind: Kind, key: str) -> None:
        """Make sure that there are images enough, and that they are large enough for what is cut out of them."""
        sources, size = self._of_size(kind.size), kind.batch_size
        data.check_enough(_name(self._config), sources, size, kind.stream, key=key)
        batch = {name: jax.ShapeDtypeStruct((size, *each.shape), each.dtype) for name, each in sources.items()}
        batch |= dict.fromkeys(("label", "number"), jax.ShapeDtypeStruct((size,), np.int32))
        jax.eval_shape(self._method.views, jax.random.PRNGKey(0), batch)

    def _loader(self, phase: Phase) -> data.SideBatches:
        kind = self.kind(phase)
        if kind not in self._loaders:
            self._loaders[kind] = self._open(kind)
        return self._loaders[kind]

    def _of_size(self, size: int) -> Sources:
        if size not in self._sources:
            self._sources[size] = _open_train(self._config, self._method, size)
        return self._sources[size]

    def _open(self, kind: Kind):
        config, method = self._config, self._method
        return data.side_batches(
            self._of_size(kind.size),
            beside={side.name: beside(side) for side in method.sides},
            stream=kind.stream,
            batch_size=kind.batch_size,
            seed=config.seed,
            steps=(s for s in range(self._begun, config.steps) if self.kind(method.phase(s)) == kind),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            max_unreadable_share=config.data.max_unreadable_share,
        )


class Feed:
    """The batches of a run on its devices: read by its streams, and looked up once all images are kept there.

    Both give the same, bit for bit.
    """

    def __init__(self, config: ConfigDict, streams: Streams, lifted: Lifted, used: Sequence[jax.Device]):
        self._config, self._streams, self._lifted = config, streams, lifted
        self._device = used[0]
        # Devices that are threads share the computer's memory.
        here = [each for each in used if each.process_index == jax.process_index()]
        self._copies = len(here) if self._device.platform == "cpu" else 1
        how = dict(max_unreadable_share=config.data.max_unreadable_share)
        self._kept = {size: Kept(*each, lifted.whole, **how) for size, each in streams.drawn().items()}
        self._told: set[int] = set()

    @property
    def bytes(self) -> int:
        """What keeping all images takes of a device's memory; of a processor's, what all its devices take."""
        return sum(each.bytes for each in self._kept.values()) * self._copies

    def begin(self, step: int, state: PyTree, progress: Progress) -> None:
        """Begin to put the images on the devices if they are to be kept there.

        Args:
          step: that a run goes on from.
          state: its shapes.
          progress: what is told of it.
        """
        self._streams.begin(step)
        self._progress = progress
        if not self.keeps(step, state):
            self._kept = {}
            return
        with self._unasked():
            for each in self._kept.values():
                each.begin()
            progress.note(f"putting all images on the device, {self.bytes / 1e6:.3g} MB, while training begins")

    def keeps(self, step: int, state: PyTree) -> bool:
        """Say whether a run that goes on from a step, with such a state, keeps its images on the devices."""
        if self._config.data.on_device != "auto":
            return self._config.data.on_device == "yes"
        # A processor reads arrays as fast as it looks them up.
        saves = self._device.platform != "cpu" or not all(each.plain for each in self._kept.values())
        draws = (self._config.steps - step) * self._config.batch_size
        often = draws >= _TIMES * max(each.longest for each in self._kept.values())
        room = devices.memory_of(self._device) - devices.bytes_of(state)
        return saves and often and math.isfinite(room) and self.bytes <= _SHARE * room

    def batch(self, steps: Sequence[int], phase: Phase) -> PyTree:
        """Return the batch of a step, or of several of one phase, as the devices take it. Raises UserError."""
        images, room = None, several.room_of(self._config)
        if kept := self._kept.get(self._streams.size(phase)):
            with self._unasked():
                images = kept.images()
        if images is None:
            asked = time.monotonic()
            batches = [self._streams.batch(step, phase) for step in steps]
            self._progress.wait(time.monotonic() - asked)
            return self._lifted.put_batch(several.stack(batches, room))
        if self._streams.size(phase) not in self._told:
            self._told.add(self._streams.size(phase))
            self._progress.note(f"all {kept.count} images are on the device, after {kept.seconds:.0f} s of reading")
        rows = [kept.places(self._streams.rows(step, phase)) for step in steps]
        return self._lifted.take(images, several.stack(rows, room))

    def close(self) -> None:
        for each in self._kept.values():
            each.close()

    @contextlib.contextmanager
    def _unasked(self) -> Iterator[None]:
        """Go on without images on the devices where there is no room for them, unless they were asked for."""
        try:
            yield
        except jax.errors.JaxRuntimeError:
            if self._config.data.on_device == "yes":
                raise
            self.close()
            self._kept = {}


def open_sources(config: ConfigDict, method: Method) -> tuple[Sources, Sources]:
    """Open the training images of a method's sides, and the held-out ones: {} where there are none.

    Raises:
      UserError: sources that cannot be opened, or that the method cannot learn from.
    """
    if len(method.sides) == 1 and config.data.target:
        told = f"{config.method.name} learns from data.source alone: leave it out, or take a method of two domains"
        raise UserError(f"data.target={config.data.target}: {told}")
    sources = _open_train(config, method, load_size(method, method.phase(0)))
    for source in sources.values():
        method.check_images(_name(config), len(source), source.classes)
    return sources, _open_test(config, method)


def _name(config: ConfigDict) -> str:
    return f"data.source={config.data.source}"


def _open_train(config: ConfigDict, method: Method, size: int) -> Sources:
    sources = data.open_sides(method.sides, config.data, split="train", size=size, seed=config.seed)
    return data.of_training(sources, config.data.labels)


def _open_test(config: ConfigDict, method: Method) -> Sources:
    # Pictures are drawn of whole images: at the size of the crops, or their own.
    size = load_size(method, method.phase(0)) and method.image_size
    try:
        found = data.open_test_sides(method.sides, config.data, size=size, seed=config.seed)
    except NoSuchPart:
        # Only a test source that was named has to exist.
        if config.data.test_source or config.data.test_target:
            raise
        return {}
    for source in found.values():
        data.examples(source, [0])  # what cannot be read is told now, and not by the first picture
    return found
