"""The classifier of true images that judges translations: trained on all labels, kept in a file, read back.

It is not the method's, and one file judges all runs on the same images. It is small, where CLUIT's is a ResNet-50.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uit_jax import augment, data, tensors
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.evaluation.context import chunks
from uit_jax.images.decode import to_depth
from uit_jax.inference import batched
from uit_jax.method import Stream
from uit_jax.nn.starganv2 import Encoder
from uit_jax.paths import PathLike
from uit_jax.settings import AreaView
from uit_jax.types import Array, PyTree

STEPS = 1500
VIEW = AreaView(
    degrees=10.0,
    translate=0.05,
    shear=0.0,
    crop_scale=(0.6, 1.0),
    crop_aspect=(0.8, 1.25),
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.03,
    fill="edge",
)
"""What the classifier's training images are shown as."""


PROTOCOL = (
    "small residual network (CLUIT's encoder of width {width}, {weights:,} weights, {size} px; not the paper's"
    " ResNet-50) trained on all {count} labelled training images of {spec} ({classes} classes) for {steps} steps of"
    " {batch_size} images, moved, cropped, recoloured and mirrored at random; Adam from {learning_rate:g} down a cosine"
    ", weight decay {weight_decay:g}, label smoothing {smoothing:g}; accuracy {accuracy:.4f} on {held_out} held-out"
    " images"
)
_ABOUT = ("classes", "shape", "accuracy", "protocol", "width")
_LOG_EVERY = 100


@dataclasses.dataclass(frozen=True)
class Network:
    """The network of images `shape` (S, S, C) that tells `classes` of them apart, its narrowest layer `width` wide."""

    shape: tuple[int, int, int]
    classes: int
    width: int

    @functools.cached_property
    def module(self) -> Encoder:
        return Encoder(self.shape[0], {"classes": self.classes}, self.width, 8 * self.width)

    def init(self, key: Array) -> PyTree:
        return self.module.init(key, jnp.zeros((1, *self.shape)))["params"]

    def apply(self, params: PyTree, images: Array) -> Array:
        """Map images float32 [B, S, S, C] in [-1, 1] to logits [B, K]."""
        return self.module.apply({"params": params}, images)["classes"]

    def features(self, params: PyTree, images: Array) -> Array:
        """Map images float32 [B, S, S, C] in [-1, 1] to what the last layer reads: [B, D]."""
        how = dict(capture_intermediates=lambda part, _: part.path == ("classes", "conv"), mutable=["intermediates"])
        _, seen = self.module.apply({"params": params}, images, **how)
        (found,) = jax.tree.leaves(seen)
        return jax.nn.leaky_relu(found[:, 0, 0], 0.2)

    @property
    def readouts(self) -> Mapping[str, Callable]:
        """What `batched.read` asks a method for."""
        return {"class": self.apply, "features": self.features}


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
      params: its weights.
      classes: their names.
      shape: (S, S, C) of its images.
      accuracy: on the held-out images it was measured on when it was trained.
      protocol: how it was trained, in a sentence.
      width: of its narrowest layer.
    """

    params: PyTree
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    accuracy: float
    protocol: str
    width: int

    @property
    def network(self) -> Network:
        return Network(self.shape, len(self.classes), self.width)

    @property
    def checksum(self) -> str:
        """Tell one classifier from another."""
        crc = 0
        for leaf in jax.tree.leaves(self.params):
            crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
        return f"{crc:08x}"

    def read(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image uint8 or uint16 [n, S, S, C]: int64 [n]."""
        return batched.read(self.network, "class", self.params, images, batch_size=64).argmax(-1)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return what the last layer reads of each image uint8 or uint16 [n, S, S, C]: float32 [n, D]."""
        return batched.read(self.network, "features", self.params, images, batch_size=64)

    def check_fits(self, source: Source, name: str) -> None:
        """Raise a UserError that begins with `name` where a source has other classes or other images than it reads."""
        if (self.classes, self.shape) != (source.classes, source.shape):
            raise UserError(
                f"{name}: this judge is of {_told(self)}, but {source.spec} has {_told(source)}; name a file that is"
                " not there yet to train another judge"
            )


def train(
    source: Source,
    test: Source,
    *,
    steps: int = STEPS,
    batch_size: int = 32,
    width: int = 16,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.05,
    smoothing: float = 0.1,
    seed: int = 0,
    progress: Any = None,
) -> Classifier:
    """Train a classifier on the labelled images of `source` and measure it on those of `test`.

    Widths double up to eight times `width`. `weight_decay` is decoupled, a share of the learning rate; `smoothing` is
    the share of every label that is spread over all classes; `progress`, a `training.progress.Progress`, is told of
    the steps.

    Raises:
      UserError: the sources' classes are not the same two or more, or their images cannot be read.
    """
    check_labels(source)
    check_labels(test)
    if (source.classes, source.shape) != (test.classes, test.shape):
        raise UserError(
            f"{source.spec} has {_told(source)}, but {test.spec} has {_told(test)}; a judge needs the same in both"
        )
    side, classes = source.shape[0], len(source.classes)
    if source.shape[1] != side or side < 4 or side & (side - 1):
        raise UserError(f"{source.spec}: a judge reads square images with a side that is a power of two, 4 at least")
    network = Network(source.shape, classes, width)
    tx = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps), weight_decay=weight_decay)
    drawn = dict(batch_size=batch_size, seed=seed, steps=range(steps), stream=Stream("labelled", 1.0))
    drawn |= dict(beside={"image": ("label",)}, max_unreadable_share=1.0)
    with data.side_batches({"image": source}, **drawn) as loader:
        params = _fit(network, tx, smoothing, (loader.batch(number) for number in range(steps)), seed, progress)
    trained = Classifier(jax.device_get(params), source.classes, source.shape, 0.0, "", width)
    known, found = read_all(test, np.flatnonzero(test.labels >= 0), "judge, held-out images", trained.read)
    accuracy = float((found == test.labels[known]).mean())
    protocol = PROTOCOL.format(
        width=width,
        weights=sum(leaf.size for leaf in jax.tree.leaves(params)),
        size=side,
        count=(source.labels >= 0).sum(),
        spec=source.spec,
        classes=classes,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        smoothing=smoothing,
        accuracy=accuracy,
        held_out=len(known),
    )
    return trained._replace(accuracy=accuracy, protocol=protocol)


def _fit(
    network: Network,
    tx: optax.GradientTransformation,
    smoothing: float,
    batches: Iterable[Mapping[str, np.ndarray]],
    seed: int,
    progress: Any,
) -> PyTree:
    """Train on batches of images and labels from weights that are drawn by a seed; return the weights."""
    step, key = _step(network, tx, smoothing), jax.random.key(seed)
    # From a generator that compiles in a fraction of the time.
    params = jax.jit(network.init)(jax.random.key(seed, impl="rbg"))
    opt_state = tx.init(params)
    if progress:
        progress.begin(0)
    for number, batch in enumerate(batches):
        images, labels = to_depth(batch["image"], 8), batch["label"]
        params, opt_state, loss = step(params, opt_state, jax.random.fold_in(key, number), images, labels)
        if progress:
            progress.advance("judge", len(images))
            if (number + 1) % _LOG_EVERY == 0:
                progress.lap(number + 1, {"loss": float(loss)})
    if progress:
        progress.close()
    return params


def _step(network: Network, tx: optax.GradientTransformation, smoothing: float) -> Callable:
    """Return the compiled training step: (params, opt_state, key, images, labels) -> (params, opt_state, loss)."""

    @jax.jit
    def step(params, opt_state, key, images, labels):
        keys = jax.random.split(key, len(images))
        views = augment.strong_view(keys, images, **dataclasses.asdict(VIEW))
        targets = optax.smooth_labels(jax.nn.one_hot(labels, network.classes), smoothing)

        def loss_fn(params):
            return optax.softmax_cross_entropy(network.apply(params, views), targets).mean()

        loss, gradient = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step


def read_all(
    source: Source, chosen: np.ndarray, what: str, *readers: Callable, labelled: Callable | None = None
) -> tuple[np.ndarray, ...]:
    """Return which of the chosen images int [n] are readable, what each reader makes of these, and what `labelled`
    makes of them and their labels."""
    parts: list[list] = [[] for _ in (*readers, *([labelled] if labelled else []))]
    done = 0
    for images in chunks(source, chosen, what):
        found = [reader(images) for reader in readers]
        if labelled:
            found.append(labelled(images, source.labels[chosen[done : done + len(images)]]))
        done += len(images)
        for part, each in zip(parts, found, strict=True):
            part.append(each)
    # What replaces an unreadable image is another one's double.
    readable = ~np.isin(chosen, list(source.unreadable))
    return chosen[readable], *(np.concatenate(part)[readable] for part in parts)


def check_labels(source: Source, chosen: np.ndarray | slice = slice(None)) -> None:
    """Raise a UserError where those of a source's images have no labels, or all the same one."""
    labels = source.labels[chosen]
    if not (labels >= 0).any():
        raise UserError(f"{source.spec}: its images have no labels to judge translations by (class folders give them)")
    if len(np.unique(labels[labels >= 0])) < 2:
        raise UserError(f"{source.spec}: its images are of one class, so there is nothing for a judge to tell apart")


def save(path: PathLike, classifier: Classifier) -> None:
    """Write a classifier to an .npz file, whole or not at all. Raises UserError."""
    about = {name: np.array(getattr(classifier, name)) for name in _ABOUT}
    tensors.write(path, {"params": classifier.params, **about})


def load(path: PathLike) -> Classifier:
    """Read a classifier that `save` wrote. Raises UserError where the file is damaged or holds something else."""
    found = tensors.read(path)
    try:
        about = {name: found.pop(name).tolist() for name in _ABOUT}
        about |= {"classes": tuple(about["classes"]), "shape": tuple(about["shape"])}
        trained = Classifier(None, **about)
        wanted = jax.eval_shape(trained.network.init, jax.random.key(0))

        def take(place, like):
            value = found.pop("params." + jax.tree_util.keystr(place, simple=True, separator="."))
            if (value.shape, value.dtype) != (like.shape, like.dtype) or not np.isfinite(value).all():
                raise ValueError(place)
            return value

        params = jax.tree_util.tree_map_with_path(take, wanted)
        if found:
            raise ValueError(list(found))
    # Whatever is missing or of another kind, to a user it means one thing.
    except Exception as error:
        raise UserError(f"{path}: holds no judge that `uit evaluate --judge` wrote; name another file") from error
    return trained._replace(params=params)


def _told(source: Source | Classifier) -> str:
    """Say which classes and images a source holds, or a classifier tells apart."""
    (height, width, channels), names = source.shape, source.classes
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} classes ({shown}) at {width} x {height} px in {channels} channels"
