"""Where the style of a translation comes from: references, a pseudo domain, chance, or a line between two styles."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from uit_jax.errors import UserError
from uit_jax.images import pictures
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.method import Method
from uit_jax.types import PyTree

MOST = 1000
"""Of the styles that one image is drawn in: its translations are in memory together."""

_PORTRAIT = 64

DOMAIN_IMAGES = 5_000
"""Images that pseudo domains are the mean of, at most and by default."""


class Look(NamedTuple):
    """The styles to draw in.

    Attributes:
      codes: float32 [n, D]; or [m, n, D], those of each of m contents.
      labels, images: a caption and a picture (or None) for each of the n.
      title: of all.
      own: float32 [n], how much of the content's own style is to be added to each of the codes; None where a style is
        the same for every content.
    """

    codes: np.ndarray
    labels: list[str]
    images: list[np.ndarray | None]
    title: str = ""
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


def whole(value: Any, name: str, low: int = 1, high: int | None = None) -> None:
    """Raise a UserError where an option is not a whole number in a range."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise UserError(f"--{name}={value} is not a whole number of at least {low}")
    if high is not None and value > high:
        raise UserError(f"--{name}={value} must be {high} at most")


def given_look(codes: np.ndarray, contents: int, width: int) -> Look:
    """Take codes of `width` numbers: [D], one for all contents, or [m, D], one for each of m. Raises UserError."""
    try:
        codes = np.asarray(codes, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"style: {type(codes).__name__} holds no codes; give those that encode() returns") from None
    if codes.ndim == 1:
        codes = codes[None]
    if codes.ndim != 2 or codes.shape[-1] != width or len(codes) not in (1, contents) or not np.isfinite(codes).all():
        many = f" or [{contents}, {width}]" * (contents > 1)
        raise UserError(
            f"style: an array of {list(codes.shape)}; give finite codes [{width}]{many}, as encode() returns them"
        )
    return Look(codes if len(codes) == 1 else codes[:, None], ["style"], [None])


def sampled_look(codes: np.ndarray, seed: int, domain: int | None = None) -> Look:
    """Return sampled styles [n, D], of one domain or of any."""
    labels = [f"style {number}" for number in range(1, len(codes) + 1)]
    many = f"{len(codes)} sampled style{'s' * (len(codes) != 1)}"
    of = "" if domain is None else f" of domain {domain}"
    return Look(codes, labels, [None] * len(codes), f"{many}{of}, seed {seed}")


def reference_look(codes: np.ndarray, images: np.ndarray, names: Sequence[str]) -> Look:
    """Return the mean style of reference images [m, H, W, C] with codes [m, D]."""
    label = names[0] if len(names) == 1 else f"mean of {len(images)}"
    return Look(_project(codes.mean(0, keepdims=True), codes), [label], [pictures.mosaic(images)])


def interpolation(ends: Sequence[Look | None], frames: int) -> Look:
    """Return `frames` styles on the straight line from one look's first to another's; None is the content's own style.

    Raises:
      UserError: there are fewer than the two ends, or both are the content itself.
    """
    whole(frames, "frames", high=MOST)
    if frames < 2:
        raise UserError(f"--frames={frames}: an interpolation has at least its two ends")
    if not any(ends):
        raise UserError("--interpolate=own,own: one of the two ends is an image")
    shares = np.linspace(0, 1, frames, dtype=np.float32)
    shown: list[np.ndarray | None] = [None] * frames
    line, own = np.float32(0), np.zeros(frames, np.float32)
    for end, weights, frame in zip(ends, (1 - shares, shares), (0, -1), strict=True):
        if end is None:
            own += weights
        else:
            line = line + weights[:, None] * end.codes[0]
            shown[frame] = end.images[0]
    title = " to ".join("own style" if end is None else end.labels[0] for end in ends)
    look = Look(line, [f"{share:.2f}" for share in shares], shown, title, own)
    return look if None in ends else look._replace(codes=_project(line, line[[0, -1]]), own=None)


def between(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return the style a share, in [0, 1], of the way from one code [D] to another: float32 [D]."""
    ends = np.stack([one, other])
    return _project(np.float32([1 - share, share]) @ ends, ends)


def domain_look(found: DomainStyles, domain: int) -> Look:
    """Return the mean style of a pseudo domain. Raises UserError where there is no such one, or no image in it."""
    counts = found.counts
    if not isinstance(domain, Integral) or isinstance(domain, bool):
        raise UserError(f"--domain={domain}: give the number of a pseudo domain")
    if not 0 <= domain < len(counts):
        raise UserError(f"--domain={domain}: the model has {len(counts)} pseudo domains, 0 to {len(counts) - 1}")
    if counts[domain] == 0:
        filled = ", ".join(str(k) for k in np.flatnonzero(counts)[:20])
        raise UserError(f"--domain={domain} holds none of the {counts.sum()} images; those with images: {filled}")
    title = f"pseudo domain {domain}, mean style of {counts[domain]} images"
    return Look(found.means[domain : domain + 1], [f"domain {domain}"], [found.portraits[domain]], title)


def domain_styles(
    method: Method, variables: PyTree, images: Callable[[Sequence[int]], np.ndarray], count: int, *, limit: int
) -> DomainStyles:
    """Sort images into the pseudo domains and average their styles.

    Args:
      images: returns those of some indices, uint8 or uint16 [n, S, S, C].
      count, limit: of how many there are; of more than `limit`, that many are read, evenly spread.
    """
    chosen = pick_evenly(count, limit)
    size = min(64, len(chosen))
    clusters, codes = [], []
    for start in tqdm(range(0, len(chosen), size), desc="pseudo domains", unit="batch", disable=None):
        batch = images(chosen[start : start + size])
        clusters.append(batched.read(method, "cluster", variables, batch, batch_size=size))
        codes.append(batched.read(method, "style", variables, batch, batch_size=size))
    clusters, codes = np.concatenate(clusters), np.concatenate(codes)
    members = np.eye(clusters.shape[-1], dtype=np.float32)[clusters.argmax(-1)]
    counts = members.sum(0)
    means = _project(members.T @ codes / np.maximum(counts, 1)[:, None], codes)
    portraits = np.full((len(means), _PORTRAIT, _PORTRAIT, 3), 255, np.uint8)
    for domain in np.flatnonzero(counts):
        own = np.flatnonzero(members[:, domain])
        typical = own[np.linalg.norm(codes[own] - means[domain], axis=-1).argsort()[:4]]
        portraits[domain] = pictures.mosaic(images(chosen[typical]), _PORTRAIT)
    return DomainStyles(means, counts.astype(np.int64), portraits)


def checked(found: DomainStyles, domains: int, width: int) -> DomainStyles:
    """Return what was read of a file, if it is of so many pseudo domains and codes. Raises ValueError."""
    like = DomainStyles(
        np.zeros((domains, width), np.float32),
        np.zeros(domains, np.int64),
        np.zeros((domains, _PORTRAIT, _PORTRAIT, 3), np.uint8),
    )
    if any(one.shape != other.shape or one.dtype != other.dtype for one, other in zip(found, like, strict=True)):
        raise ValueError("other arrays than those of the pseudo domains")
    if not (np.isfinite(found.means).all() and found.counts.min() >= 0 and found.counts.any()):
        raise ValueError("no images, or no finite codes")
    return found


def _project(codes: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Move codes [..., D] to the unit sphere where a method keeps all its codes, such as `like` [..., D], there."""
    if not np.allclose(np.linalg.norm(like, axis=-1), 1, atol=1e-3):
        return codes
    return codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-6)
