"""Tables 1 to 3 of TUNIT (arXiv:2006.06500, ICCV 2021): each row's data, settings and published numbers."""

import dataclasses

from experiments.rows import DataSet, Metric, Paper, Relabel, Row, Table
from uit_jax.evaluation import KMeans, TunitClasses, Variance

CONFIG = "configs/tunit.py"
FUNIT = "configs/funit.py:tunit"
SEMIT = "configs/semit.py:10"

_ANIMALS = "n02088364 n02096437 n02099601 n02105162 n02107908 n02120079 n02123045 n02128757 n02129165 n02129604".split()
DATA_SETS = {
    "animalfaces10": DataSet(
        "AnimalFaces-10",
        10,
        tuple(_ANIMALS),
        note="ten classes of FUNIT's crop of ImageNet's carnivores; the last 50 files of each class, sorted by name,"
        " are the test split",
    ),
    "food10": DataSet("Food-10", 10, note="ten classes of Food-101; the authors have not said which"),
    "animalfaces149": DataSet("AnimalFaces-149", 149, note="all classes of FUNIT's crop of ImageNet's carnivores"),
    "food101": DataSet("Food-101", 101, note="all classes of Food-101"),
}

_FUNIT = "the paper does not say how long FUNIT was trained, nor in which batches: by its own recipe"
_FEW = "FUNIT learns from the labelled images alone; the paper does not say how it was trained: by its own recipe"
_NAMES = (
    "the paper does not say how SEMIT was trained: by its own recipe; how it names the images without labels was not"
    " published (docs/semit.md)"
)
_KMEANS = (
    "B on labels that k-means found on pixels at 128 px: the paper says nothing of sizes, starts and distances; the"
    " contrastive losses are as in B here, and the paper brings them in later: its C may have none"
)
_FEATURES = (
    "B on labels that k-means found on features. The paper's are of a ResNet-50 that learnt from ImageNet by MoCo v2,"
    " whose published checkpoint --features takes, renamed to end in .pth; of another file they are of another network,"
    " and if that is Inception, of one that saw ImageNet's labels; the contrastive losses as in C"
)
_GIVEN = "the labels are given: the paper's accuracy of 1.000 is no measurement"
_FOOD = "trained with a stronger augmentation whose code was not published; the default one is said to give mFID 69.5"
_CODES = "IOI is of style codes at the end of training; the paper does not say when, and of which, it is"
_IIC = "IIC alone finds the domains, which then stay"
_STYLES = (
    "has the losses of style codes as F and G do, which the paper brings in with F: its B and E seem to have none;"
    " --config.method.contrastive_weight=0 --config.method.style_weight=0 leaves them out"
)
_CLASSES = TunitClasses(resize="nearest_normalized_twice")


def _scores(mfid: float, density: float, coverage: float, accuracy: float | None = None) -> dict[str, float]:
    scores = {"mfid": mfid, "density": density, "coverage": coverage}
    return scores if accuracy is None else {**scores, "accuracy": accuracy}


def _table1() -> tuple[Row, ...]:
    presets = {"b": "b", "c": "b", "d": "b", "e": "e", "f": "f", "g": "g", "no-feedback": "nofeedback"}
    relabels = {"c": Relabel("kmeans-pixels", side=128), "d": Relabel("kmeans-features")}
    notes = {
        "a": (_GIVEN, _FUNIT),
        "b": (_GIVEN, _STYLES),
        "c": (_KMEANS,),
        "d": (_FEATURES,),
        "e": (_IIC, _STYLES),
        "no-feedback": ("Section 4.1, outside the table",),
    }
    paper = {
        "animalfaces10": {
            "a": _scores(74.0, 0.749, 0.671),
            "b": _scores(46.2, 0.896, 0.732),
            "c": _scores(110.7, 0.822, 0.615, 0.215),
            "d": _scores(76.2, 0.770, 0.597, 0.428),
            "e": _scores(73.5, 0.940, 0.588, 0.680),
            "f": _scores(46.0, 1.060, 0.789, 0.850),
            "g": _scores(47.7, 1.039, 0.805, 0.841),
            "no-feedback": {"mfid": 63.0},
        },
        "food10": {
            "a": _scores(68.4, 0.989, 0.782),
            "b": _scores(57.6, 1.284, 0.857),
            "c": _scores(90.7, 0.849, 0.648, 0.201),
            "d": _scores(64.6, 0.968, 0.808, 0.331),
            "e": _scores(64.2, 1.038, 0.819, 0.542),
            "f": _scores(61.1, 0.908, 0.777, 0.860),
            "g": _scores(52.2, 1.079, 0.875, 0.848),
        },
    }
    return tuple(
        Row(
            f"{data}-{letter}",
            DATA_SETS[data],
            scores,
            FUNIT if letter == "a" else f"{CONFIG}:{presets[letter]}",
            seeds=(0, 1, 2),
            notes=notes.get(letter, ()) + ((_FOOD,) if data == "food10" and letter != "a" else ()),
            relabel=relabels.get(letter),
        )
        for data, rows in paper.items()
        for letter, scores in rows.items()
    )


def _table2() -> tuple[Row, ...]:
    """The number of pseudo domains."""
    paper = {
        1: (_scores(129.6, 0.561, 0.512), _scores(95.1, 1.113, 0.771)),
        4: (_scores(77.7, 0.879, 0.738), _scores(67.4, 0.851, 0.785)),
        7: (_scores(62.7, 1.016, 0.729), _scores(52.7, 1.024, 0.846)),
        10: (_scores(47.7, 1.039, 0.805), _scores(52.2, 1.079, 0.875)),
        13: (_scores(56.8, 0.993, 0.720), _scores(54.8, 0.970, 0.845)),
        16: (_scores(54.1, 1.093, 0.782), _scores(54.8, 1.029, 0.857)),
        20: (_scores(55.4, 1.019, 0.778), _scores(57.7, 0.937, 0.846)),
        50: (_scores(63.8, 0.858, 0.701), _scores(60.8, 1.067, 0.837)),
        500: (_scores(67.2, 0.921, 0.694), _scores(63.2, 0.986, 0.826)),
        1000: (_scores(66.9, 0.908, 0.707), _scores(60.7, 0.945, 0.845)),
    }
    return tuple(
        Row(
            f"{data}-{domains}",
            DATA_SETS[data],
            scores[column],
            f"{CONFIG}:g",
            {"method.domains": domains},
            notes=(_FOOD,) if data == "food10" else (),
        )
        for column, data in enumerate(("animalfaces10", "food10"))
        for domains, scores in paper.items()
    )


_SHARES = (1, 2, 4, 8, 20, 40, 60, 80)
_REPEATED = "the paper prints its first four numbers again at 20 to 80 %, perhaps by a slip of copying"


def _table3() -> tuple[Row, ...]:
    """Few labels: mFID by the share of labelled images, in per cent."""
    paper = {
        "animalfaces10": {
            "funit": (179.8, 174.3, 154.3, 144.0, 124.4, 106.4, 96.0, 79.6),
            "semit": (68.9, 63.0, 63.5, 60.3, 57.3, 64.3, 66.1, 62.8),
            "tunit": (42.0, 42.6, 43.9, 46.2, 42.0, 42.6, 43.9, 46.2),
        },
        "food10": {
            "funit": (195.7, 159.2, 141.2, 135.2, 111.4, 85.8, 74.8, 70.3),
            "semit": (70.7, 66.7, 65.3, 65.1, 65.2, 62.8, 61.6, 64.1),
            "tunit": (53.6, 56.2, 52.8, 53.4, 53.6, 56.2, 52.8, 53.4),
        },
        "animalfaces149": {
            "funit": (147.3, 133.6, 116.9, 101.7, 102.7, 112.4, 102.9, 100.3),
            "semit": (137.9, 123.1, 134.0, 120.3, 113.5, 114.5, 116.9, 116.6),
            "tunit": (104.9, 99.9, 96.8, 87.5, 84.0, 79.9, 80.1, 78.4),
        },
        "food101": {
            "funit": (136.8, 94.9, 80.9, 72.6, 67.6, 66.5, 66.4, 67.4),
            "semit": (74.7, 81.7, 71.2, 72.5, 68.4, 68.7, 69.8, 69.5),
            "tunit": (75.0, 74.4, 74.9, 75.2, 64.7, 64.0, 68.2, 66.8),
        },
    }
    recipes = {"funit": FUNIT, "semit": SEMIT, "tunit": f"{CONFIG}:semi"}
    keys = {"funit": "method.labelled_share", "semit": "method.labels.share", "tunit": "method.labels.share"}
    more = {"semit": {"method.labels.images": 120_000}}  # of AnimalFaces-149 there are more than its recipe remembers
    return tuple(
        Row(
            f"{data}-{method}-{share}pct",
            DATA_SETS[data],
            {"mfid": mfid},
            recipes[method],
            {keys[method]: share / 100, "method.domains": DATA_SETS[data].classes, **more.get(method, {})},
            notes={"funit": (_FEW,), "semit": (_NAMES,), "tunit": _table3_notes(data)}[method],
        )
        for data, methods in paper.items()
        for method, numbers in methods.items()
        for share, mfid in zip(_SHARES, numbers, strict=True)
    )


def _table3_notes(data: str) -> tuple[str, ...]:
    food = (_FOOD,) if data.startswith("food") else ()
    return food + ((_REPEATED,) if DATA_SETS[data].classes == 10 else ())


def _ioi() -> tuple[Row, ...]:
    """What the contrastive loss does for the guiding network: Section 4.1 calls these IIC, and IIC with Eq. 2."""
    paper = {
        "animalfaces10": {"e": (2.05, 0.680), "f": (3.04, 0.850)},
        "food10": {"e": (1.34, 0.542), "f": (2.50, 0.860)},
    }
    first = {row.name: row for row in _table1()}
    return tuple(
        dataclasses.replace(
            first[f"{data}-{letter}"],
            name=f"{data}-iic{'-contrast' * (letter == 'f')}",
            paper={"ioi": ioi, "accuracy": accuracy},
            notes=(*first[f"{data}-{letter}"].notes, _CODES),
            same_as=f"tunit/table1/{data}-{letter}",
        )
        for data, rows in paper.items()
        for letter, (ioi, accuracy) in rows.items()
    )


PAPER = Paper(
    title="TUNIT (Baek et al., ICCV 2021, arXiv:2006.06500)",
    tables={
        "table1": Table("Table 1: configurations", _table1(), evaluators=(KMeans(), Variance(), _CLASSES)),
        "table2": Table("Table 2: number of pseudo domains", _table2(), evaluators=(_CLASSES,)),
        "table3": Table("Table 3: few labels", _table3(), evaluators=(_CLASSES,)),
        "ioi": Table("Section 4.1: inter- over intra-variance of style codes", _ioi()),
    },
    metrics={
        "mfid": Metric("mFID", 1, score="mean_class_fid_tunit", protocol="tunit_classes", needs="inception"),
        "density": Metric(
            "density", 3, score="mean_class_density_tunit", protocol="tunit_classes", needs="inception"
        ),
        "coverage": Metric(
            "coverage", 3, score="mean_class_coverage_tunit", protocol="tunit_classes", needs="inception"
        ),
        "accuracy": Metric("accuracy", 3, score="cluster_accuracy", protocol="clusters"),
        "ioi": Metric("IOI", 2, score="ioi_domains", protocol="ioi_domains"),
    },
    remark=(
        "mFID, density and coverage take the published Inception weights (--inception or $UIT_INCEPTION), and are by"
        " the authors' protocol, at the last step; the authors' mFID is the mean of the five best of a run. Accuracy is"
        " that of pseudo domains; of C and D that of the labels, whose centres held-out images are nearest to. The"
        " paper has no formula of IOI."
    ),
)
