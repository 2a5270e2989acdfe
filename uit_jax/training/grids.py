"""The pictures that a training run draws of what it has learnt, by what its method offers."""

import itertools
from collections.abc import Mapping

import numpy as np

from uit_jax import data
from uit_jax.data.sources.base import Source
from uit_jax.files import pick_evenly
from uit_jax.images import pictures
from uit_jax.inference import batched
from uit_jax.method import Method
from uit_jax.types import PyTree

_PICTURED = 8
_MEMBERS = 64


def render(method: Method, variables: PyTree, sources: Mapping[str, Source]) -> dict[str, np.ndarray]:
    """Draw some images of a method's sides and their translations: name -> uint8 [H, W, 3]."""
    source, *_, wanted = *sources.values(), *sources.values()
    if "style" not in method.readouts:
        # A side with other channels than the first is no input of the translator.
        shown = {name: each for name, each in sources.items() if each.channels == source.channels}
        sides = {name: data.examples(each, pick_evenly(len(each), _PICTURED)) for name, each in shown.items()}
        return side_grids(method, variables, sides)
    members, looks = (data.examples(each, pick_evenly(len(each), _MEMBERS)) for each in (source, wanted))
    # Of a source sorted by class, neighbours in `members` are alike; these lie far apart.
    rows, columns = members[pick_evenly(len(members), _PICTURED)], looks[pick_evenly(len(looks), _PICTURED + 1)]
    return style_grids(method, variables, rows, columns, members)


def style_grids(
    method: Method, variables: PyTree, contents: np.ndarray, references: np.ndarray, members: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw contents in the styles of references, and members of the pseudo domains if there are any.

    Args:
      variables: of `method`, on any devices.
      contents, references: uint8 or uint16 [m, S, S, C] and [n, S, S, C].
      members: [k, S, S, C], sorted into pseudo domains.
    """
    variables = batched.local(variables)
    styles = batched.read(method, "style", variables, references)
    translations = batched.translate_all(method, variables, contents, styles)
    grids = {"translations": pictures.reference_grid(contents, references, translations)}
    if "cluster" in method.readouts:
        probabilities = batched.read(method, "cluster", variables, members)
        grids["domains"] = pictures.domain_grid(members, probabilities.argmax(-1), probabilities.shape[-1])
    return grids


def side_grids(method: Method, variables: PyTree, sides: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draw a table of images and their translations, in each row one of every side.

    Those of the side that a method translates to should stay themselves.

    Args:
      variables: of `method`, on any devices.
      sides: [n, H, W, C] by the method's sides, of any size, uint8 or uint16, as many of each or not.
    """
    variables = batched.local(variables)
    columns, labels = [], []
    for name, images in sides.items():
        columns += [images, batched.translate_any(method, variables, images)]
        labels += [name.upper(), f"translation of {name.upper()}"]
    rows = itertools.zip_longest(*columns)
    return {"translations": pictures.table(list(rows), column_labels=labels)}
