"""Label maps that a segmentation model of anyone's predicted of translations, against the true ones: files in.

What Cityscapes' translations are scored by in CycleGAN's and CUT's tables (FCN scores; CUT asks a DRN-D-22).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from uit_jax.errors import UserError
from uit_jax.evaluation import manifest
from uit_jax.images.opening import MAX_PIXELS, Unreadable, loaded, opened
from uit_jax.listing import find_images
from uit_jax.metrics import segmentation
from uit_jax.paths import PathLike, as_path

CLASSES, IGNORED = 19, 255
"""Those of Cityscapes, by their training numbers."""

PROTOCOL = (
    "{count} label maps against true ones of the same names, {classes} classes, pixels whose true label is {ignored}"
    " left out; mean IoU (the mAP of CycleGAN's and CUT's tables) is over the classes that are there, of all maps'"
    " pixels together"
)
CAPTIONS = {
    "pixel_accuracy": "pixel accuracy",
    "class_accuracy": "class accuracy",
    "mean_iou": 'mean IoU ("mAP")',
}


def compare_labels(
    true: PathLike, predicted: PathLike, *, classes: int = CLASSES, ignored: int = IGNORED, bar: bool = True
) -> dict[str, Any]:
    """Compare two folders of label maps, files of one channel that hold class numbers, paired by their names.

    Names are paths below the folder without their endings. Return a JSON-able record.

    Raises:
      UserError: a map is missing, unreadable, of another size than its pair, of several channels, or of other numbers.
    """
    first, second = _named(true), _named(predicted)
    if missing := sorted(first.keys() ^ second.keys()):
        folder = predicted if missing[0] in first else true
        raise UserError(f"{folder}: holds no map called {missing[0]}, which the other folder has: pairs have one name")
    counts = np.zeros((classes, classes), np.int64)
    for name in tqdm(sorted(first), desc="label maps", unit="map", disable=None if bar else True, leave=False):
        try:
            counts += segmentation.confusion(_read(first[name]), _read(second[name]), classes, ignored)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{first[name]} and {second[name]}: {error}") from None
    try:
        scores = segmentation.scores(counts)
    except ValueError as error:
        raise UserError(f"{true}: {error}") from None
    told = [None if np.isnan(value) else float(value) for value in segmentation.ious(counts)]
    return {
        "scores": scores,
        "class_ious": told,
        "protocol": {"segmentation": PROTOCOL.format(count=len(first), classes=classes, ignored=ignored)},
        "true": str(true),
        "predicted": str(predicted),
        "maps": len(first),
        "versions": manifest.versions(),
    }


def table(record: Mapping[str, Any]) -> str:
    """Lay a record of `compare_labels` out for a terminal."""
    rows = [("label maps", str(record["maps"]))]
    rows += [(CAPTIONS[name], f"{value:.4f}") for name, value in record["scores"].items()]
    rows += [
        (f"  IoU of class {index}", f"{value:.4f}")
        for index, value in enumerate(record["class_ious"])
        if value is not None
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _named(folder: PathLike) -> dict[str, Path]:
    """Return the files of a folder by their paths below it without endings. Raises UserError where two are alike."""
    root, found = as_path(folder), {}
    for path in find_images(root):
        name = path.relative_to(root).with_suffix("").as_posix() if path != root else path.stem
        if name in found:
            raise UserError(f"{path}: {found[name].name} has the same name but for its ending; remove one")
        found[name] = path
    return found


def _read(path: Path) -> np.ndarray:
    """Read a label map [H, W], of palettes the numbers. Raises UserError."""
    try:
        image = loaded(opened(path.read_bytes(), MAX_PIXELS))
    except (Unreadable, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    labels = np.asarray(image)
    if labels.ndim != 2:
        raise UserError(f"{path}: is a picture of {labels.shape[-1]} channels; a label map has one, of class numbers")
    return labels.astype(np.int64)
