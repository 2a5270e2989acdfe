"""Feature networks: what images are compared in, each with a name and a hash that every result carries.

    random_network(seed)        weights drawn at random: needs no file
    judge_network(file)         the classifier that `uit evaluate --judge` trains and keeps
    inception_network(file)     the Inception-v3 that the FID is defined by; its weights are given, never downloaded

A distance is called FID or KID in the last one's features alone.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.convert import inception as weights_file
from uit_jax.convert import lpips as lpips_file
from uit_jax.errors import UserError, shown
from uit_jax.evaluation import classifier
from uit_jax.images.decode import to_channels, to_depth
from uit_jax.images.resize import MODES, centred, resize
from uit_jax.inference import batched
from uit_jax.nn import random_features
from uit_jax.nn.inception import Inception
from uit_jax.nn.lpips import LPIPS
from uit_jax.paths import PathLike, as_path
from uit_jax.settings import nearest
from uit_jax.types import Array, PyTree

VARIABLE = "UIT_INCEPTION"
"""The environment variable that names the file of Inception's weights."""

BATCH = 16
"""Images a device: of more Inception's activations take gigabytes, and no time is won."""

_RANDOM_SIDE, _LPIPS_SIDE = 64, 224


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network with its weights, and how images are brought to what it reads.

    Attributes:
      kind: "random", "judge", "inception" or "lpips".
      name: of its features, in words: "random features, seed 0".
      weights: the file that they are from, or how they were drawn.
      sha256: of that file's bytes, or of the numbers drawn.
      side, channels: of the square images that it reads.
      resize: the mode, of `images.resize`, by which they are brought to that side.
      function: (variables, images float32 [B, S, S, C] in [-1, 1]) -> features [B, D].
      variables: its weights, on every device of this process.
    """

    kind: str
    name: str
    weights: str
    sha256: str
    side: int
    channels: int
    resize: str
    function: Callable[[PyTree, Array], Array] = dataclasses.field(repr=False)
    variables: PyTree = dataclasses.field(repr=False)

    @property
    def defines_fid(self) -> bool:
        """Whether distances in these features are called FID and KID."""
        return self.kind == "inception"

    @property
    def batch(self) -> int:
        """How many images are read at once."""
        return BATCH * len(jax.local_devices())

    @functools.cached_property
    def entries(self) -> int:
        """How many numbers it makes of an image."""
        image = jax.ShapeDtypeStruct((1, self.side, self.side, self.channels), np.float32)
        return jax.eval_shape(self.function, self.variables, image).shape[-1]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Bring an image uint8 or uint16 [H, W, C] to what the network reads: float32 [S, S, C], about [-1, 1]."""
        image = to_channels(to_depth(image, 8), self.channels)
        return centred(resize(image, self.side, self.resize), self.resize)

    def features(self, prepared: np.ndarray) -> np.ndarray:
        """Return the features of images [n, S, S, C] that `prepare` made: float32 [n, D]."""
        return batched.apply(_Exact(self.function), self.variables, prepared, batch_size=self.batch)

    def read(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Return the features of images uint8 or uint16, each [H, W, C] of any size: float32 [n, D]."""
        return self.features(np.stack([self.prepare(image) for image in images]))

    def record(self) -> dict[str, Any]:
        """Return all that tells it from another one, as a result has it."""
        names = ("kind", "name", "weights", "sha256", "side", "channels", "resize")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class _Exact:
    """A function in full float32 on any device, equal to that of an equal function."""

    function: Callable[[PyTree, Array], Array]

    def __call__(self, variables: PyTree, images: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            return self.function(variables, images).astype(np.float32)


def random_network(seed: int = 0, channels: int = 3) -> FeatureNetwork:
    """Return a small network of random weights, of 64 px images in RGB or of other channels."""
    kernels = random_features.draw(seed, channels)
    digest = hashlib.sha256(b"".join(kernel.tobytes() for kernel in kernels)).hexdigest()
    return FeatureNetwork(
        kind="random",
        name=f"random features, seed {seed}",
        weights=f"4 convolutions drawn at random by seed {seed}",
        sha256=digest,
        side=_RANDOM_SIDE,
        channels=channels,
        resize="pillow_bilinear",
        function=random_features.features,
        variables=batched.everywhere(kernels),
    )


def judge_network(path: PathLike) -> FeatureNetwork:
    """Return the classifier that `uit evaluate --judge` keeps in a file. Raises UserError."""
    found = classifier.load(path)
    return FeatureNetwork(
        kind="judge",
        name="the judge's features",
        weights=str(path),
        sha256=sha256(path),
        side=found.shape[0],
        channels=found.shape[2],
        resize="pillow_bilinear",
        function=batched.Readout(found.network, "features"),
        variables=batched.everywhere(found.params),
    )


def inception_network(path: PathLike, resize: str = "pytorch_fid") -> FeatureNetwork:
    """Return the FID's Inception-v3, its weights read from a file; features are the 2,048 inputs of its last layer.

    `resize` is a mode of `images.resize`, which tells after which tool the images are brought to 299 px.

    Raises:
      UserError: the file cannot be read or holds another network, or there is no such mode.
    """
    if resize not in MODES:
        raise UserError(f"--resize={resize}: no such mode{nearest(resize, MODES)}")
    variables = weights_file.read(path)
    return FeatureNetwork(
        kind="inception",
        name="Inception's features",
        weights=str(path),
        sha256=sha256(path),
        side=299,
        channels=3,
        resize=resize,
        function=_pooled,
        variables=batched.everywhere(variables),
    )


def lpips_network(kind: str, *paths: PathLike) -> FeatureNetwork:
    """Return what LPIPS looks with, AlexNet ("alex") or VGG-16 ("vgg"), its weights read from files.

    Features are the means over the image of the maps that LPIPS compares, side by side. Raises UserError.
    """
    return FeatureNetwork(
        kind="lpips",
        name=f"LPIPS' features ({kind})",
        weights=", ".join(map(str, paths)),
        sha256=" ".join(map(sha256, paths)),
        side=_LPIPS_SIDE,
        channels=3,
        resize="pillow_bilinear",
        function=functools.partial(_seen, kind),
        variables=batched.everywhere(lpips_file.read(kind, *paths)),
    )


def _seen(kind: str, variables: PyTree, images: Array) -> Array:
    maps = LPIPS(kind).apply(variables, images, method="features")
    return jnp.concatenate([each.mean((1, 2)) for each in maps], axis=-1)


def _pooled(variables: PyTree, images: Array) -> Array:
    return Inception().apply(variables, images)["2048"]


def choose(
    *,
    inception: PathLike | None = None,
    judge: PathLike | None = None,
    random: int | None = None,
    resize: str | None = None,
    channels: int = 3,
) -> FeatureNetwork:
    """Return the one network that is named; where none is, Inception if `UIT_INCEPTION` names a file, else random ones.

    Raises:
      UserError: two are named, a file is none of what it should be, or `resize` is given and it is not Inception.
    """
    given = {"--inception": inception, "--judge": judge, "--random_features": random}
    if len(named := [option for option, value in given.items() if value is not None]) > 1:
        raise UserError(f"{' and '.join(named)}: images are compared in the features of one network; name one")
    if not named and os.environ.get(VARIABLE):
        inception = os.environ[VARIABLE]
    if inception is not None:
        return inception_network(inception, resize or "pytorch_fid")
    if resize is not None:
        raise UserError(f"--resize={resize}: is how images are brought to Inception: give its weights by --inception")
    return judge_network(judge) if judge is not None else random_network(random or 0, channels)


def sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes. Raises UserError."""
    try:
        return hashlib.sha256(as_path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror}") from error
