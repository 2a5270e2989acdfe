"""The pictures that a training run draws of what it has learnt, by what its method offers."""

import itertools
from collections.abc import Mapping

import numpy as np

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.images import pictures
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.method import Method
from uit_jax.training.symptoms import Drawn
from uit_jax.types import PyTree

_PICTURED = 8
_SAMPLED = 4  # of these, where styles are sampled too
_MEMBERS = 64


def render(
    method: Method, variables: PyTree, sources: Mapping[str, Source], step: int, *, told: bool = True
) -> Drawn:
    """Draw some images of a method's sides and their translations after a step.

    `told` says whether the images' labels are those it learns from, which it is then told of the references.
    """
    source, *others = sources.values()
    if "style" not in method.readouts:
        # A side with other channels than the first is no input of the translator.
        shown = {name: each for name, each in sources.items() if each.channels == source.channels}
        sides = {name: data.examples(each, pick_evenly(len(each), _PICTURED)) for name, each in shown.items()}
        shares = [f"{len(images)} of {len(shown[name])} images of {name.upper()}" for name, images in sides.items()]
        return side_grids(method, variables, sides, f"step {step}: {', '.join(shares)}")
    sampled = 0 if method.style_prior is None else _SAMPLED
    chosen = pick_evenly(len(source), _MEMBERS)
    members = data.examples(source, chosen)
    # Of a source sorted by class, neighbours in `members` are alike; these lie far apart.
    pictured, above = (pick_evenly(len(members), _PICTURED + more) for more in (0, 1))
    rows, columns, labels = members[pictured], members[above], source.labels[chosen[above]]
    for target in others:
        # Of two domains, styles are those of the second.
        chosen = pick_evenly(len(target), _PICTURED - sampled)
        columns, labels = data.examples(target, chosen), target.labels[chosen]
    also = f" and in {sampled} sampled ones" * bool(sampled)
    titles = (
        f"step {step}: {len(rows)} of {len(source)} images, each in the styles of those above{also}",
        f"step {step}: {len(members)} of {len(source)} images by pseudo domain",
    )
    return style_grids(method, variables, rows, columns, members, titles, labels=labels if told else None)


def style_grids(
    method: Method,
    variables: PyTree,
    contents: np.ndarray,
    references: np.ndarray,
    members: np.ndarray,
    titles: tuple[str, str] = ("", ""),
    *,
    labels: np.ndarray | None = None,
) -> Drawn:
    """Draw contents in the styles of references and in sampled ones, and members of pseudo domains, as there are any.

    Args:
      variables: of `method`, on any devices.
      contents, references: uint8 or uint16 [m, S, S, C] and [n, S, S, C].
      members: [k, S, S, C], sorted into pseudo domains.
      titles: of the picture of translations, and of that of the domains.
      labels: int [n], the references' classes, which methods whose styles are of classes are told; -1 unknown.
    """
    variables = batched.local(variables)
    styles = batched.styles(method, variables, references, labels, batch_size=None)
    above = list(references)
    if method.style_prior is not None:
        sampled = batched.sample(method, variables, _SAMPLED)
        styles, above = np.concatenate([styles, sampled]), [*above, *[None] * _SAMPLED]
    translations = batched.translate_all(method, variables, contents, styles)
    grids = {"translations": pictures.reference_grid(contents, above, translations, title=titles[0])}
    domains = None
    if "cluster" in method.readouts:
        probabilities = batched.read(method, "cluster", variables, members)
        found = probabilities.argmax(-1), probabilities.shape[-1]
        grids["domains"] = pictures.domain_grid(members, *found, title=titles[1])
        # What other methods sort images into is told by labels, and does not collapse.
        domains = found if "clusters" in method.followed else None
    return Drawn(grids, contents, np.asarray(translations), references, domains)


def side_grids(
    method: Method, variables: PyTree, sides: Mapping[str, np.ndarray], title: str = ""
) -> Drawn:
    """Draw a table of images and the translations from them, in each row one of every side.

    Those of the side that a method translates to should stay themselves.

    Args:
      variables: of `method`, on any devices.
      sides: [n, H, W, C] by the method's sides, of any size, uint8 or uint16, as many of each or not.
      title: one line above the picture.
    """
    variables = batched.local(variables)
    columns, labels = [], []
    for name, images in sides.items():
        columns += [images, batched.translate_any(method, variables, images)]
        labels += [name.upper(), f"from {name.upper()}"]
    rows = itertools.zip_longest(*columns)
    grids = {"translations": pictures.table(list(rows), title=title, column_labels=labels)}
    return Drawn(grids, columns[0], np.asarray(columns[1]))
