"""Our own comparison of the methods on a few thousand photographs, in an hour of the device at hand."""

import functools

from experiments.rows import DataSet, Metric, Paper, Row, Table
from uit_jax import config
from uit_jax.evaluation import Judge, KMeans

DATA_SETS = {
    "flowers": DataSet(
        "five kinds of flowers",
        5,
        ("daisy", "dandelion", "rose", "sunflower", "tulip"),
        note="kaggle.com/datasets/alxmamaev/flowers-recognition, cut to squares: 450 training and 50 test images of"
        " each kind; `uit data pack PATH OUT --size=64` reads them once, 72 px for funit and semit, which crop",
    ),
    "clothes": DataSet(
        "ten kinds of clothes",
        10,
        ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"),
        note="github.com/alexeygrigorev/clothing-dataset-small (CC0), cut to squares: 2,541 training images, 506 test"
        " images",
    ),
    "cats": DataSet(
        "ginger and black cats",
        pair=(290, 290),
        note="of AFHQ's cats those whose coat is ginger, or brown, and those in black; 40 of each are held out",
    ),
}

_HOUR = {"hours": 1.0}
_LABELS = "learns from all labels, and is told the reference's"
_CHANGED = [f"method.view.{name}" for name in "hue brightness contrast saturation crop_scale crop_aspect".split()]
_VIEWS = {key: config.flatten(config.defaults("tunit"))[key] for key in _CHANGED}
"""Those of TUNIT's paper, but for what moves in from outside, which stays the edge."""


def _styled(name: str) -> tuple[Row, ...]:
    """Methods that take their styles from images of one set."""
    known = DATA_SETS[name]
    domains = {**_HOUR, "method.domains": known.classes}
    rows = {
        "cluit": ("configs/cluit.py:photos", _HOUR, ()),
        "tunit": ("configs/demo.py:photos", domains, ()),
        "embedding": ("configs/embedding.py:photos", _HOUR, ()),
        "swapping_autoencoder": ("configs/swapping_autoencoder.py:photos", _HOUR, ()),
        "starganv2": ("configs/starganv2.py:photos", domains, (_LABELS,)),
        "funit": ("configs/funit.py:photos", domains, (_LABELS,)),
        "semit": ("configs/semit.py:photos", domains, (_LABELS,)),
    }
    return tuple(
        Row(row, known, {}, recipe, overrides, seeds=(0, 1, 2), notes=notes)
        for row, (recipe, overrides, notes) in rows.items()
    )


def _pairs() -> tuple[Row, ...]:
    """Methods that translate from one folder to another."""
    recipes = {"cut": "cut.py:photos", "fastcut": "cut.py:fastcut,photos", "cyclegan": "cyclegan.py:photos"}
    return tuple(
        Row(name, DATA_SETS["cats"], {}, f"configs/{recipe}", _HOUR, seeds=(0, 1, 2))
        for name, recipe in recipes.items()
    )


def _views() -> tuple[Row, ...]:
    """TUNIT's guiding network alone, at 32 px: by the recipe's views and by the paper's."""
    found = []
    for name in ("flowers", "clothes"):
        alone = {
            "data.image_size": 32,
            "method.guide.stages": (1, 1, 1, 1),
            "method.guide_batch_size": 128,
            "steps": 750,
            "method.guide_steps": 750,
            "method.average_start": 750,
            "method.domains": DATA_SETS[name].classes,
        }
        for row, views in ((name, {}), (f"{name}-paper", _VIEWS)):
            found.append(Row(row, DATA_SETS[name], {}, "configs/demo.py:photos", alone | views, seeds=(0, 1, 2)))
    return tuple(found)


_judged = functools.partial(Metric, protocol="judged_translations", needs="judge")

PAPER = Paper(
    title="Photographs (ours)",
    tables={
        "flowers": Table("Five kinds of flowers", _styled("flowers"), timed=False, evaluators=(Judge(), KMeans())),
        "clothes": Table("Ten kinds of clothes", _styled("clothes"), timed=False, evaluators=(Judge(), KMeans())),
        "cats": Table("Ginger cats to black ones", _pairs(), timed=False, evaluators=(Judge(steps=400),)),
        "views": Table("The guiding network by its views", _views(), timed=False, evaluators=(KMeans(),)),
    },
    metrics={
        "accuracy": _judged("wanted class", 3, "translation_accuracy"),
        "kept": _judged("content's class", 3, "translation_kept"),
        "distance": _judged("Fréchet distance", 2, "translation_frechet"),
        "floor": _judged("of true images", 2, "translation_frechet_floor"),
        "untranslated": _judged("of the contents", 2, "translation_frechet_untranslated"),
        "coverage": _judged("coverage", 3, "translation_coverage"),
        "judge": Metric("judge right", 3, score="judge_accuracy", protocol="judge", needs="judge"),
        "domains": Metric("domains' accuracy", 3, score="cluster_accuracy", protocol="clusters"),
        "nmi": Metric("NMI", 3, score="cluster_nmi", protocol="clusters"),
        "pixels": Metric("k-means, pixels", 3, score="kmeans_accuracy", protocol="kmeans"),
        "styles": Metric("k-means, styles", 3, score="kmeans_style_accuracy", protocol="kmeans_style"),
        "retrieval": Metric("style retrieval", 3, score="style_retrieval", protocol="style_retrieval"),
    },
    remark=(
        "Nobody has published these numbers: all are ours. Rows of flowers, clothes and cats run for an hour of the"
        " device at hand, those of views for 750 iterations. The judge (--judge=FILE.npz, one for each set, trained"
        " where there is none) is a classifier of true images: how often it calls a translation the reference's class,"
        " or the wanted domain, and how often still the content's. Fréchet distances and coverage are in its features:"
        " of flowers and clothes means over the classes of references; beside them those of true test images and of"
        " contents as they are. Domains' accuracy, NMI: of pseudo domains, on test images; beside them k-means on"
        " pixels and on style codes. Style retrieval: share of the test images whose nearest other one, by style code,"
        " is of the same class."
    ),
    published=False,
)
