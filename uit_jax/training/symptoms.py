"""What goes wrong with a run, said in words while it can still be changed: by the pictures it draws, and its losses.

Nothing is computed for it but means of images that are drawn anyway.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from uit_jax import settings
from uit_jax.method import Method

_FAINT = 1 / 255  # beside less there is nothing to compare with
_DOMAINS_OF = 10  # images, at least: of fewer one in another domain is more than the limit
_SIDE = 16  # squares along a side, over which images are averaged: finer differences answer no content and no style


class Drawn(NamedTuple):
    """What a run has drawn, images uint8 or uint16 of one size each.

    Attributes:
      pictures: name -> uint8 [H, W, 3], what is shown of it.
      contents: [m, H, W, C].
      translations: with styles [m, n, H, W, C'], of which the first are in those of the references; else [m, H, W, C'].
      references: [r, H, W, C'], r <= n; None where there are no styles.
      pseudo_domains: int [k], those of some images, and how many domains there are; None where the method finds none.
    """

    pictures: Mapping[str, np.ndarray]
    contents: np.ndarray
    translations: np.ndarray
    references: np.ndarray | None = None
    pseudo_domains: tuple[np.ndarray, int] | None = None


class Symptom(NamedTuple):
    """What is wrong where a measure lies below a limit, in words, and settings that may help.

    `looks` is how often in a row it must be wrong before that is said; `more` and `less` are settings, of whichever
    method has them.
    """

    measure: str
    limit: float
    told: str
    more: str = ""
    less: str = ""
    looks: int = 2


SYMPTOMS = (
    Symptom(
        "signs/free_domains",
        0.1,
        "one pseudo domain holds {share:.0%} of the images: the clusters have collapsed",
        more="guide_steps guide_batch_size marginal_weights",
    ),
    Symptom(
        "signs/content_follows",
        0.1,
        "translations of different images are alike, {value:.1%} as different as the images: content is lost",
        more="reconstruction_weight cycle_weight nce_weight consistency_weight image_weight self_weight cross_weight"
        " distance_weight l1_weight",
    ),
    Symptom(
        "signs/style_follows",
        0.1,
        "translations in different styles are alike, {value:.1%} as different as the references: style is ignored",
        more="style_weight match_weight latent_weight diversity_weight feature_weight patch_weight adversarial_weight",
    ),
    Symptom(
        "signs/changed",
        0.2,
        "translations are what they are made from, {value:.1%} of the difference of images away: nothing is translated",
        more="adversarial_weight discriminator.width",
        less="nce_weight cycle_weight identity_weight identity_l1_weight",
    ),
    Symptom(
        "signs/undecided",
        0.05,
        "the discriminator is always right, its losses sum to {value:.3f}: translations learn nothing more from it",
        more="augmentation.kinds r1.weight r1_weight",
        less="discriminator.width discriminator_rate",
        looks=5,
    ),
    Symptom(
        "signs/bounded",
        0.01,
        "the discriminator's losses sum to {inverse:.3g}: training has diverged",
        less="adam.learning_rate rmsprop.learning_rate discriminator_rate",
        looks=5,
    ),
)

_DRAWN = ("fake", "own", "mix")
"""What methods call the images that a discriminator tells from real ones."""


def signs(drawn: Drawn) -> dict[str, float]:
    """Measure what has been drawn.

    Returns:
      Shares of 0 to 1 or a little more, by name: "free_domains", of images outside the largest pseudo domain;
      "content_follows", how much translations differ from content to content, in one style, beside how much contents
      do; "style_follows", the same of styles; "changed", without styles, how far translations lie from their images,
      pixel by pixel, beside how much images differ so. All begin with "signs/". One image alone tells of neither of
      those that compare images, and fewer than ten tell nothing of domains.
    """
    found = {}
    if drawn.pseudo_domains is not None and drawn.pseudo_domains[1] > 1 and len(drawn.pseudo_domains[0]) >= _DOMAINS_OF:
        counts = Counter(drawn.pseudo_domains[0].tolist())
        found["signs/free_domains"] = 1 - max(counts.values()) / counts.total()
    contents, translations = _coarse(drawn.contents), _coarse(drawn.translations)
    if (apart := _spread(contents, 0)) > _FAINT:
        found["signs/content_follows"] = _spread(translations, 0) / apart
    if drawn.references is not None:
        if (between := _spread(_coarse(drawn.references), 0)) > _FAINT:
            found["signs/style_follows"] = _spread(translations[:, : len(drawn.references)], 1) / between
    elif apart > _FAINT and drawn.contents.shape == drawn.translations.shape:
        # Of a change of texture the squares know nothing.
        before, after = _whole(drawn.contents), _whole(drawn.translations)
        found["signs/changed"] = math.sqrt(np.square(before - after).mean()) / _spread(before, 0)
    return found


def of_losses(record: Mapping[str, float], method: Method) -> dict[str, float]:
    """Measure the sums of the discriminators' losses on real and drawn images.

    Returns:
      "signs/undecided", the least sum: 0 is a discriminator that is always right; and "signs/bounded", 1 over the
      largest, or 1 where that is less. This holds for every objective of `losses.adversarial` but Wasserstein's, of
      which nothing is said.

    Args:
      record: metrics by "learner/term". Terms are "real", "real_X" and "X_real"; beside each stands the same of what is
        drawn. Of several kinds of drawn images that counts which is told least well.
    """
    if getattr(method, "gan_loss", "") == "wasserstein":
        return {}
    sums = []
    for name, real in record.items():
        judge, _, term = name.partition("/")
        words = term.split("_")
        if "discriminator" in judge and "real" in words:
            beside = ["_".join(kind if word == "real" else word for word in words) for kind in _DRAWN]
            losses = [record[f"{judge}/{each}"] for each in beside if f"{judge}/{each}" in record]
            sums += [real + max(losses)] if losses else []
    if not sums or min(sums) < 0:
        return {}
    return {"signs/undecided": min(sums), "signs/bounded": 1 / max(1, *sums)}


class Watch:
    """Says a symptom once, when it has been there for several looks in a row.

    Attributes:
      seen: for how many each measure has been wrong; a run that goes on goes on with these.
    """

    def __init__(self, method: Method):
        self._settings = {told.key: told for told in settings.describe(method, "method")}
        self.seen: Counter[str] = Counter()

    def look(self, found: Mapping[str, float], *, translates: bool) -> Iterator[str]:
        """Yield what is to be said of measures; `translates` tells whether the translator has begun to learn.

        A look without a measure, as one at pictures is without losses, neither adds to its looks in a row nor ends
        them.
        """
        for each in SYMPTOMS:
            if each.measure not in found or not (translates or each.measure == "signs/free_domains"):
                continue
            value = found[each.measure]
            self.seen[each.measure] = self.seen[each.measure] + 1 if value < each.limit else 0
            if self.seen[each.measure] == each.looks:
                inverse = 1 / value if value else math.inf
                yield each.told.format(value=value, share=1 - value, inverse=inverse) + self._advice(each)

    def _advice(self, symptom: Symptom) -> str:
        """Name the settings that may help, with their values, of those that the method has."""
        told = []
        for direction, names in (("more", symptom.more), ("less", symptom.less)):
            had = [each for name in names.split() if (each := self._settings.get(f"method.{name}"))]
            moving = [_named(each) for each in had if _moves(each, direction)]
            told += [f"{direction} than {', '.join(moving)}"] if moving else []
        return f"; try {', or '.join(told)}" if told else ""


def _named(setting: settings.Described) -> str:
    """Name a setting with its value, and behind that of a list what there is to choose from."""
    has = isinstance(setting.default, tuple) and setting.limits.choices
    choices = f" (of {', '.join(setting.limits.choices)})" if has else ""
    return f"{setting.key}={setting.default!r}{choices}"


def _moves(setting: settings.Described, direction: str) -> bool:
    """Say whether there can be less, or more, than the value of a setting: a number, or a list of some choices.

    A whole number that is 0 stands for another.
    """
    if direction == "less" or type(setting.default) is int:
        return setting.default > 0
    return not isinstance(setting.default, tuple) or len(setting.default) != len(setting.limits.choices)


def _coarse(images: np.ndarray) -> np.ndarray:
    """Average images [..., H, W, C] over squares, a side of `_SIDE` at most: float64 [..., h, w, C] in [0, 1]."""
    *some, height, width, channels = images.shape
    rows, columns = (max(1, side // _SIDE) for side in (height, width))
    cut = _whole(images[..., : height // rows * rows, : width // columns * columns, :])
    squares = cut.reshape(*some, height // rows, rows, width // columns, columns, channels)
    return squares.mean((-4, -2))


def _whole(images: np.ndarray) -> np.ndarray:
    """Return images as float64 in [0, 1]."""
    return images / np.iinfo(images.dtype).max


def _spread(images: np.ndarray, axis: int) -> float:
    """Return how much images differ along an axis: the root of the mean variance of their pixels."""
    return math.sqrt(images.var(axis).mean())
