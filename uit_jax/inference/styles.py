"""Where the style of a translation comes from: references, a pseudo domain, or the line between two styles."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from uit_jax import checkpoint, data
from uit_jax.errors import UserError
from uit_jax.images import decode as decoding
from uit_jax.images import pictures
from uit_jax.inference import batched as inference
from uit_jax.types import Method, PyTree

_log = logging.getLogger(__name__)
_PORTRAIT = 64


class Trained(NamedTuple):
    """A trained run as inference sees it.

    Attributes:
      form: what its images are brought to: channels, depth (8 or 16 bits) and resample, as in `data.decode`.
      target_channels: those of its translations, which have as many bits.
      styled: whether it draws in a style, which has to come from somewhere.
      clustered: whether it was trained to sort images into pseudo domains.
    """

    workdir: Path
    config: Any
    method: Method
    variables: PyTree
    step: int

    @property
    def form(self) -> dict[str, Any]:
        wanted = self.config.data
        # A run of an earlier version tells neither depth nor filter.
        return {
            "channels": wanted.channels,
            "depth": getattr(wanted, "depth", 8),
            "resample": getattr(wanted, "resample", "bilinear"),
        }

    @property
    def target_channels(self) -> int:
        return getattr(self.config.data, "target_channels", 0) or self.config.data.channels

    @property
    def styled(self) -> bool:
        return "style" in self.method.readouts

    @property
    def clustered(self) -> bool:
        # Where all labels are given, they stand for the pseudo domains, and nothing trains these.
        labelled_share = getattr(getattr(self.config, "method", None), "labelled_share", 0)
        return "cluster" in self.method.readouts and labelled_share != 1


class Look(NamedTuple):
    """The styles to draw in.

    Attributes:
      codes: float32 [n, D].
      labels, images: a caption and a picture (or None) for each.
      title: of all.
      own: float32 [n], how much of the content's own style is to be added to each of the codes; None where a style is
        the same for every content.
    """

    codes: np.ndarray
    labels: list[str]
    images: list[np.ndarray | None]
    title: str
    own: np.ndarray | None = None

    def mixed(self, contents: np.ndarray) -> np.ndarray:
        """Add to the codes the contents' own [m, D], by how much each has of them: float32 [m, n, D]."""
        line = self.codes + self.own[:, None] * contents[:, None]
        return _project(line, line[:, [0, -1]])


class DomainStyles(NamedTuple):
    """What the pseudo domains of a model look like.

    Attributes:
      means: float32 [K, D], mean style codes; 0 where a domain is empty.
      counts: int64 [K], images of each.
      portraits: uint8 [K, 64, 64, 3], of each the four images whose codes lie nearest to its mean.
    """

    means: np.ndarray
    counts: np.ndarray
    portraits: np.ndarray


def open_run(workdir: str | os.PathLike, which: str = "latest") -> Trained:
    """Read a trained run back for inference."""
    config, method, state = checkpoint.restore_run(workdir, which)
    # Onto the device once, and not with every batch.
    return Trained(Path(workdir), config, method, jax.device_put(method.variables(state)), int(state.step))


def reference_look(run: Trained, paths: Sequence[Path]) -> Look:
    """Return the mean style of the reference images; unreadable ones are named in a warning and left out."""
    _, images = read_images(run, paths, "reference")
    codes = inference.read(run.method, "style", run.variables, images)
    label = paths[0].name if len(paths) == 1 else f"mean of {len(images)}"
    return Look(_project(codes.mean(0, keepdims=True), codes), [label], [pictures.mosaic(images)], f"step {run.step}")


def interpolation(run: Trained, ends: Sequence[Path | None], frames: int) -> Look:
    """Return `frames` styles on the straight line from one image's style to another's; None is the content itself."""
    if frames < 2:
        raise UserError(f"--frames={frames}: an interpolation has at least its two ends")
    shares = np.linspace(0, 1, frames, dtype=np.float32)
    names, shown = ["own style" if end is None else end.name for end in ends], [None] * frames
    line, own = np.float32(0), np.zeros(frames, np.float32)
    for end, weights, frame in zip(ends, (1 - shares, shares), (0, -1), strict=True):
        if end is None:
            own += weights
        else:
            _, images = read_images(run, [end], "reference")
            line = line + weights[:, None] * inference.read(run.method, "style", run.variables, images)
            shown[frame] = images[0]
    look = Look(line, [f"{share:.2f}" for share in shares], shown, f"{names[0]} to {names[1]}, step {run.step}", own)
    return look if None in ends else look._replace(codes=_project(line, line[[0, -1]]), own=None)


def domain_look(run: Trained, domain: int, *, references: str | None = None, limit: int = 5000) -> Look:
    """Return the mean style of a pseudo domain's images in `references`, by default the training source.

    Raises:
      UserError: the method knows none, there is no such one, or it has no images.
    """
    if not run.clustered:
        raise UserError(f"--domain={domain}: this run knows no pseudo domains; give a --reference")
    if references is None:
        found = cached_domain_styles(run, limit=limit)
    else:
        found = domain_styles(run, references, limit=limit)
    counts = found.counts
    if not 0 <= domain < len(counts):
        raise UserError(f"--domain={domain}: the model has {len(counts)} pseudo domains, 0 to {len(counts) - 1}")
    if counts[domain] == 0:
        filled = ", ".join(str(k) for k in np.flatnonzero(counts)[:20])
        raise UserError(f"--domain={domain} holds none of the {counts.sum()} images; those with images: {filled}")
    title = f"pseudo domain {domain}, mean style of {counts[domain]} images, step {run.step}"
    return Look(found.means[domain : domain + 1], [f"domain {domain}"], [found.portraits[domain]], title)


def domain_styles(run: Trained, spec: str, *, limit: int) -> DomainStyles:
    """Sort the images of a source into the pseudo domains and average their styles.

    Of a source with more than `limit` images, that many are read, evenly spread.
    """
    source = data.open_source(spec, split="train", size=run.config.data.image_size, seed=run.config.seed, **run.form)
    chosen = np.linspace(0, len(source) - 1, min(limit, len(source))).astype(int)
    size = min(64, len(chosen))
    clusters, codes = [], []
    for start in tqdm(range(0, len(chosen), size), desc="pseudo domains", unit="batch", disable=None):
        images = data.examples(source, chosen[start : start + size])
        clusters.append(inference.read(run.method, "cluster", run.variables, images, batch_size=size))
        codes.append(inference.read(run.method, "style", run.variables, images, batch_size=size))
    clusters, codes = np.concatenate(clusters), np.concatenate(codes)
    members = np.eye(clusters.shape[-1], dtype=np.float32)[clusters.argmax(-1)]
    counts = members.sum(0)
    means = _project(members.T @ codes / np.maximum(counts, 1)[:, None], codes)
    portraits = np.full((len(means), _PORTRAIT, _PORTRAIT, 3), 255, np.uint8)
    for domain in np.flatnonzero(counts):
        own = np.flatnonzero(members[:, domain])
        typical = own[np.linalg.norm(codes[own] - means[domain], axis=-1).argsort()[:4]]
        portraits[domain] = pictures.mosaic(data.examples(source, chosen[typical]), _PORTRAIT)
    return DomainStyles(means, counts.astype(np.int64), portraits)


def cached_domain_styles(run: Trained, *, limit: int) -> DomainStyles:
    """Return `domain_styles` of the training source, kept in the workdir for this step."""
    path = run.workdir / f"domain_styles_{run.step}_{limit}.npz"
    if path.exists():
        with np.load(path) as kept:
            return DomainStyles(**kept)
    found = domain_styles(run, run.config.data.source, limit=limit)
    partial = path.with_name(f".{path.name}")
    try:
        np.savez_compressed(partial, **found._asdict())
        os.replace(partial, path)
    except OSError:
        # A run may be read from a place where nothing can be kept; the next call computes them again.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return found


def find_images(path: str | os.PathLike) -> list[Path]:
    """Return a file itself, or a folder's images, those of its subfolders included, sorted.

    Raises:
      UserError: there is no such path, or no image in it.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    files = [p for p in path.rglob("*") if p.is_file()]
    shown = [p for p in files if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    # As a data source does: arrays lie beside images as masks or depth, and are read where they stand alone.
    for suffixes in (decoding.SUFFIXES, decoding.ARRAYS):
        if images := sorted(p for p in shown if p.suffix.lower() in suffixes):
            return images
    looked_for = " ".join(sorted(decoding.SUFFIXES | decoding.ARRAYS))
    raise UserError(f"{path}: no images in this folder (looked for {looked_for})")


def read_images(run: Trained, paths: Sequence[Path], what: str) -> tuple[list[Path], np.ndarray]:
    """Read image files at the model's size: which could be read, and uint8 or uint16 [n, S, S, C]; others are named.

    Raises:
      UserError: none is readable; `what` says in messages what the images are.
    """
    kept, images, reason = [], [], ""
    for path in paths:
        try:
            images.append(data.decode(path.read_bytes(), size=run.config.data.image_size, **run.form))
            kept.append(path)
        except (data.Unreadable, decoding.WrongChannels, OSError) as error:
            reason = reason or f"{path} cannot be read: {error}"
            _log.warning("%s %s is left out: %s", what, path, error)
    if not images:
        raise UserError(f"{what} {reason}")
    return kept, np.stack(images)


def _project(codes: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Move codes [..., D] to the unit sphere where a method keeps all its codes, such as `like` [..., D], there."""
    if not np.allclose(np.linalg.norm(like, axis=-1), 1, atol=1e-3):
        return codes
    return codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-6)
