"""Judge translations of labelled images by a classifier of true ones, as CLUIT does (arXiv:2105.03117, Section 4).

The classifier is not the method's: it sees every label, and is kept in a file so that all runs on the same images are
judged by the same one. It is small, where the paper's is a ResNet-50.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from uit_jax import augment, convert, data
from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.images.decode import to_depth
from uit_jax.inference import batched as inference
from uit_jax.nn.cluit import Encoder
from uit_jax.training.progress import Progress
from uit_jax.types import Array, Method, PyTree

STEPS = 1500
REFERENCES = 10
VIEWS = dict(
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
"""What the classifier's training images are shown as: the settings of `augment.strong_view`."""

PROTOCOL = (
    "small residual network (CLUIT's encoder of width {width}, {weights:,} weights, {size} px; not the paper's"
    " ResNet-50) trained on all {count} labelled training images of {spec} ({classes} classes) for {steps} steps of"
    " {batch_size} images, moved, cropped, recoloured and mirrored at random; Adam from {learning_rate:g} down a cosine"
    ", weight decay {weight_decay:g}, label smoothing {smoothing:g}; accuracy {accuracy:.4f} on {held_out} held-out"
    " images"
)
SCORE_PROTOCOL = (
    "{count} translations by the weights kept for inference: each of {images} labelled test images with {references} of"
    " another class, drawn at random from the same (seed {seed}; the same for every run on them); accuracy = share that"
    " the judge calls the reference's class, kept = share that it calls the content's; judge accuracy = on those test"
    " images themselves; unreadable images are left out"
)
_ABOUT = ("classes", "shape", "accuracy", "protocol", "width")
_CHUNK = 256
_BATCH = 16
_LOG_EVERY = 100


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
      params: its weights.
      apply: `(params, images float32 [B, S, S, C] in [-1, 1]) -> logits [B, K]`.
      classes: their names.
      shape: (S, S, C) of its images.
      accuracy: on the held-out images it was measured on when it was trained.
      protocol: how it was trained, in a sentence.
      width: of its narrowest layer.
    """

    params: PyTree
    apply: Callable[[PyTree, Array], Array]
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    accuracy: float
    protocol: str
    width: int

    @property
    def readouts(self) -> Mapping[str, Callable]:
        """What `inference.read` asks a method for."""
        return {"class": self.apply}

    @property
    def checksum(self) -> str:
        """Tell one classifier from another."""
        crc = 0
        for leaf in jax.tree.leaves(self.params):
            crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
        return f"{crc:08x}"

    def read(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image uint8 or uint16 [n, S, S, C]: int64 [n]."""
        return inference.read(self, "class", self.params, images, batch_size=64).argmax(-1)

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
    progress: Progress | None = None,
) -> Classifier:
    """Train a classifier on the labelled images of `source` and measure it on those of `test`.

    Widths double up to eight times `width`. `weight_decay` is decoupled, a share of the learning rate; `smoothing` is
    the share of every label that is spread over all classes; `progress` is told of the steps.

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
    init, apply = _network(source.shape, classes, width)
    tx = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps), weight_decay=weight_decay)

    @jax.jit
    def step(params, opt_state, key, images, labels):
        views = augment.strong_view(jax.random.split(key, len(images)), images, **VIEWS)
        targets = optax.smooth_labels(jax.nn.one_hot(labels, classes), smoothing)

        def loss_fn(params):
            return optax.softmax_cross_entropy(apply(params, views), targets).mean()

        loss, gradient = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    key = jax.random.key(seed)
    # From a generator that compiles in a fraction of the time.
    params = jax.jit(init)(jax.random.key(seed, impl="rbg"))
    opt_state, progress = tx.init(params), progress or Progress(steps, active=False)
    drawn = dict(batch_size=batch_size, seed=seed, steps=range(steps), stream="labelled", labelled_share=1.0)
    with data.batches(source, **drawn, max_unreadable_share=1.0) as loader:
        progress.begin(0)
        for number, batch in enumerate(loader):
            images = to_depth(batch["image"], 8)
            params, opt_state, loss = step(params, opt_state, jax.random.fold_in(key, number), images, batch["label"])
            progress.advance("judge", batch_size)
            if (number + 1) % _LOG_EVERY == 0:
                progress.lap(number + 1, {"loss": float(loss)})
    progress.close()
    trained = Classifier(jax.device_get(params), apply, source.classes, source.shape, 0.0, "", width)
    known, found = _read(test, np.flatnonzero(test.labels >= 0), "judge, held-out images", trained.read)
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


def score(
    method: Method,
    variables: PyTree,
    test: Source,
    classifier: Classifier,
    *,
    chosen: np.ndarray | None = None,
    references: int = REFERENCES,
    seed: int = 0,
) -> tuple[dict[str, float], str]:
    """Translate every labelled test image with references of other classes, and let a classifier name the results.

    Args:
      method: one whose translations take a style.
      chosen: which images of `test` to use; by default all.
      references: of each image; all there are, where they are fewer.
      seed: of their draw, which depends on nothing else but the images.

    Returns:
      Scores, and the protocol as a sentence. `judge_accuracy` is the classifier's own on the test images used;
      `translation_accuracy` the share of translations that it calls the reference's class, `translation_kept` the
      share that it calls the content's.

    Raises:
      UserError: the images are not of the classifier's classes or not as it reads them, or not of two classes.
    """
    classifier.check_fits(test, "the judge given")
    chosen = np.arange(len(test)) if chosen is None else np.asarray(chosen)
    check_labels(test, chosen)

    def style(images):
        return inference.read(method, "style", variables, images, batch_size=_BATCH)

    chosen, codes, found = _read(test, chosen[test.labels[chosen] >= 0], "judge, test images", style, classifier.read)
    check_labels(test, chosen)
    labels = test.labels[chosen]
    others = pairs(labels, references, seed)
    calls = []
    for rows in _chunks(len(chosen), _BATCH, "judge, translations"):
        contents = np.repeat(data.examples(test, chosen[rows]), others.shape[1], axis=0)
        drawn = inference.redraw(method, variables, contents, codes[others[rows].ravel()], batch_size=_BATCH)
        calls.append(classifier.read(drawn).reshape(-1, others.shape[1]))
    calls = np.concatenate(calls)
    scores = {
        "judge_accuracy": float((found == labels).mean()),
        "translation_accuracy": float((calls == labels[others]).mean()),
        "translation_kept": float((calls == labels[:, None]).mean()),
    }
    counts = dict(count=others.size, images=len(chosen), references=others.shape[1])
    return scores, SCORE_PROTOCOL.format(**counts, seed=seed)


def pairs(labels: np.ndarray, references: int, seed: int) -> np.ndarray:
    """Draw for each image different ones of other classes, a function of labels int [n] and seed: int64 [n, R].

    R is `references`, or the least number of images that are of another class than one is, where that is smaller.
    """
    rng = np.random.default_rng(seed)
    count = min(references, len(labels) - np.unique(labels, return_counts=True)[1].max())
    drawn = np.empty((len(labels), count), np.int64)
    for label in np.unique(labels):
        others = np.flatnonzero(labels != label)
        for row in np.flatnonzero(labels == label):
            drawn[row] = rng.choice(others, count, replace=False)
    return drawn


def check_labels(source: Source, chosen: np.ndarray | slice = slice(None)) -> None:
    """Raise a UserError where those of a source's images have no labels, or all the same one."""
    labels = source.labels[chosen]
    if not (labels >= 0).any():
        raise UserError(f"{source.spec}: its images have no labels to judge translations by (class folders give them)")
    if len(np.unique(labels[labels >= 0])) < 2:
        raise UserError(f"{source.spec}: its images are of one class, so there is nothing for a judge to tell apart")


def save(path: str | os.PathLike, classifier: Classifier) -> None:
    """Write a classifier to an .npz file, whole or not at all. Raises UserError."""
    about = {name: np.array(getattr(classifier, name)) for name in _ABOUT}
    convert.write(path, {"params": classifier.params, **about})


def load(path: str | os.PathLike) -> Classifier:
    """Read a classifier that `save` wrote. Raises UserError where the file is damaged or holds something else."""
    found = convert.read(path)
    try:
        about = {name: found.pop(name).tolist() for name in _ABOUT}
        about |= {"classes": tuple(about["classes"]), "shape": tuple(about["shape"])}
        init, apply = _network(about["shape"], len(about["classes"]), about["width"])
        wanted = jax.eval_shape(init, jax.random.key(0))

        def take(place, like):
            value = found.pop("params." + jax.tree_util.keystr(place, simple=True, separator="."))
            if (value.shape, value.dtype) != (like.shape, like.dtype):
                raise ValueError(place)
            return value

        params = jax.tree_util.tree_map_with_path(take, wanted)
        if found:
            raise ValueError(list(found))
    # Whatever is missing or of another kind, to a user it means one thing.
    except Exception as error:
        raise UserError(f"{path}: holds no judge that `uit evaluate --judge` wrote; name another file") from error
    return Classifier(params, apply, **about)


def _network(shape: tuple[int, int, int], classes: int, width: int) -> tuple[Callable, Callable]:
    """Return `key -> params` and `(params, images) -> logits` of a classifier of images (S, S, C)."""
    network = Encoder(shape[0], {"classes": classes}, width, 8 * width)

    def init(key):
        return network.init(key, jnp.zeros((1, *shape)))["params"]

    def apply(params, images):
        return network.apply({"params": params}, images)["classes"]

    return init, apply


def _read(source: Source, chosen: np.ndarray, what: str, *readers: Callable) -> tuple[np.ndarray, ...]:
    """Return which of the chosen images int [n] are readable, and what each reader makes of these."""
    parts: list[list] = [[] for _ in readers]
    for rows in _chunks(len(chosen), _CHUNK, what):
        images = data.examples(source, chosen[rows])
        for part, reader in zip(parts, readers, strict=True):
            part.append(reader(images))
    # What replaces an unreadable image is another one's double.
    readable = ~np.isin(chosen, list(source.unreadable))
    return chosen[readable], *(np.concatenate(part)[readable] for part in parts)


def _chunks(count: int, size: int, what: str) -> Iterator[slice]:
    """Yield slices of some rows, behind a progress bar."""
    for start in tqdm(range(0, count, size), desc=what, unit="batch", disable=None, leave=False):
        yield slice(start, start + size)


def _told(source: Source | Classifier) -> str:
    """Say which classes and images a source holds, or a classifier tells apart."""
    (height, width, channels), names = source.shape, source.classes
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} classes ({shown}) at {width} x {height} px in {channels} channels"
