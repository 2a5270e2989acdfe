"""CUT, FastCUT and SinCUT (arXiv:2007.15651, ECCV 2020): Table 1, the ablations of figure 4 and of appendix C.5.

Each row's data, settings and published numbers; and the data sets that the paper shows pictures of.
"""

from experiments.rows import DataSet, Metric, Paper, Row, Table
from uit_jax.evaluation import Likeness

CONFIG = "configs/cut.py"
SINGLE = "configs/sincut.py"
CYCLEGAN = "configs/cyclegan.py"
GCGAN = "configs/gcgan.py"
DISTANCEGAN = "configs/distancegan.py"
MUNIT = "configs/munit.py"
DRIT = "configs/drit.py"

_CYCLEGAN = "tfds:cycle_gan/{0}, or {0} of CycleGAN's data sets"
DATA_SETS = {
    "horse2zebra": DataSet("Horse→Zebra", pair=(1_067, 1_334), note=_CYCLEGAN.format("horse2zebra")),
    "cat2dog": DataSet(
        "Cat→Dog",
        pair=(5_153, 4_739),
        note="the cats and dogs of AFHQ's first version; its val images, 500 of each, are testA and testB",
    ),
    "cityscapes": DataSet(
        "Cityscapes",
        pair=(2_975, 2_975),
        note="cityscapes-dataset.com: photographs are trainA, coloured label maps trainB, both at 256 px, the val"
        " images testA and testB, as CUT's prepare_cityscapes_dataset.py leaves them; it is translated from B to A",
    ),
    "apple2orange": DataSet("Apple→Orange", pair=(995, 1_019), note=_CYCLEGAN.format("apple2orange")),
    "summer2winter": DataSet("Summer→Winter", pair=(1_231, 962), note=_CYCLEGAN.format("summer2winter_yosemite")),
    "monet2etretat": DataSet(
        "Monet's painting→photograph of Étretat",
        pair=(1, 1),
        note="datasets/single_image_monet_etretat of CUT's published code; nothing is held out",
    ),
}

_BEST = (
    "the authors' FID is held to be the best one over training: users of their code report 61.7 and 68 on horse2zebra"
    " at the last epoch"
)
_IDENTITY = (
    "the paper does not say whether CycleGAN was trained with the identity term: with it, as its published code has it"
    " by default; without would be --config.method.identity_weight=0"
)
_TURN = (
    "the paper tells neither turn nor generators: by 90 degrees, and as GcGAN's authors have it, a generator"
    " for each frame of horses and zebras, one for both elsewhere, Cityscapes at 128 px"
)
_DIRECTIONS = "the paper does not say whether both directions were trained; without cycles they share nothing"
_MUNIT = (
    "the paper does not say with which settings of MUNIT's published code it was trained: with its million iterations,"
    " and its cycle term but for cats and dogs; without would be --config.method.cycle_weight=0"
)
_OPTIONS = (
    "the paper does not say how DRIT was trained: by its published code's schedule, without mode seeking, which DRIT++"
    " added; with it would be --config.method.mode_seeking_weight=1"
)
_WEIGHT = (
    "the paper does not say what the contrastive loss weighs in this ablation: 10, as its Section 3 has it without"
    " identity; 1 would be --config.method.nce_weight=1"
)
_MAPS = "takes a network that segments streets: `uit evaluate --labels=TRUE --predicted=MAPS` scores its label maps"
_PICTURES = "the paper shows pictures and no number"
_CROPS = (
    "the paper says crops of 128 px, split into 64 px for the discriminator, of an image 384 to 1,024 px wide; as in"
    " the published code, they are of 64 px, each side shrunk by a factor of 1/3 to 1"
)


def _table1() -> tuple[Row, ...]:
    # mAP, pixAcc, classAcc and FID of Cityscapes; FID of Cat→Dog; FID, s/it and GB of Horse→Zebra.
    paper = {
        "CycleGAN": (20.4, 55.9, 25.4, 76.3, 85.9, 77.2, 0.40, 4.81),
        "MUNIT": (16.9, 56.5, 22.5, 91.4, 104.4, 133.8, 0.39, 3.84),
        "DRIT": (17.0, 58.7, 22.2, 155.3, 123.4, 140.0, 0.70, 4.85),
        "DistanceGAN": (8.4, 42.2, 12.6, 81.8, 155.3, 72.0, 0.15, 2.72),
        "SelfDistance": (15.3, 56.9, 20.6, 78.8, 144.4, 80.8, 0.16, 2.72),
        "GcGAN": (21.2, 63.2, 26.6, 105.2, 96.6, 86.7, 0.26, 2.67),
        "CUT": (24.7, 68.8, 30.7, 56.4, 76.2, 45.5, 0.24, 3.33),
        "FastCUT": (19.1, 59.9, 24.3, 68.8, 94.0, 73.4, 0.15, 2.25),
    }
    columns = {
        "cityscapes": dict(miou=0, pixel_accuracy=1, class_accuracy=2, fid=3),
        "cat2dog": dict(fid=4),
        "horse2zebra": dict(fid=5, seconds=6, gigabytes=7),
    }
    recipes = {"CUT": f"{CONFIG}:", "FastCUT": f"{CONFIG}:fastcut,", "CycleGAN": f"{CYCLEGAN}:", "GcGAN": f"{GCGAN}:"}
    recipes |= {"DistanceGAN": f"{DISTANCEGAN}:", "SelfDistance": f"{DISTANCEGAN}:self,", "MUNIT": f"{MUNIT}:"}
    recipes |= {"DRIT": f"{DRIT}:drit,"}
    notes = {"CUT": (_BEST,), "FastCUT": (_BEST,), "CycleGAN": (_IDENTITY,), "GcGAN": (_TURN,), "MUNIT": (_MUNIT,)}
    notes |= {"DRIT": (_OPTIONS,)}
    notes |= dict.fromkeys(("DistanceGAN", "SelfDistance"), (_DIRECTIONS,))
    return tuple(
        Row(
            f"{data}-{method.lower()}",
            DATA_SETS[data],
            {metric: numbers[column] for metric, column in columns[data].items()},
            f"{recipes[method]}{data}",
            seeds=(0, 1, 2),
            notes=notes.get(method, ()),
        )
        for data in columns
        for method, numbers in paper.items()
    )


def _figure4() -> tuple[Row, ...]:
    """CUT with parts left out or changed, 400 epochs each."""
    # The FID of Horse→Zebra, then FID and mAP of Cityscapes.
    no_identity = {"method.identity": False, "method.nce_weight": 10.0}
    few, last = {"method.patches.count": 16}, {"method.patches.layers": (16,)}
    external = {"method.negatives.kind": "external"}
    rows = {
        "cut": ({}, (45.5, 56.4, 24.7)),
        "no-id": (no_identity, (39.3, 68.5, 22.0)),
        "no-id-15neg": ({**no_identity, **few}, (44.1, 59.7, 23.1)),
        "no-id-15neg-last": ({**no_identity, **few, **last}, (38.1, 114.1, 16.0)),
        "last": (last, (441.7, 141.1, 14.9)),
        "int-ext": ({"method.negatives.kind": "both"}, (56.4, 64.4, 20.0)),
        "ext": (external, (53.0, 110.3, 16.5)),
        "ext-last": ({**external, **last}, (60.1, 389.1, 5.6)),
    }
    return tuple(
        Row(
            f"{data}-{name}",
            DATA_SETS[data],
            {"fid": numbers[0]} if data == "horse2zebra" else {"fid": numbers[1], "miou": numbers[2]},
            f"{CONFIG}:{data}",
            overrides,
            notes=(_WEIGHT,) if name.startswith("no-id") else (),
        )
        for data in ("horse2zebra", "cityscapes")
        for name, (overrides, numbers) in rows.items()
    )


def _appendix_c5() -> tuple[Row, ...]:
    data, recipe = DATA_SETS["horse2zebra"], f"{CONFIG}:horse2zebra"
    again = "the default once more: figure 4 and Table 1 have 45.5"
    return (
        Row("cut", data, {"fid": 46.6}, recipe, notes=(again,)),
        Row("two-encoders", data, {"fid": 50.5}, recipe, {"method.shared_encoder": False}),
        Row("no-decoder-gradient", data, {"fid": 444.2}, recipe, {"method.nce_trains_decoder": False}),
    )


def _pictures() -> tuple[Row, ...]:
    return (
        *(
            Row(f"{data}-cut", DATA_SETS[data], {}, f"{CONFIG}:{data}", notes=(_PICTURES,))
            for data in ("apple2orange", "summer2winter")
        ),
        Row("monet2etretat-sincut", DATA_SETS["monet2etretat"], {}, SINGLE, notes=(_PICTURES, _CROPS)),
    )


PAPER = Paper(
    title="CUT (Park et al., ECCV 2020, arXiv:2007.15651)",
    tables={
        "table1": Table("Table 1: comparison with baselines", _table1(), evaluators=(Likeness(),)),
        "figure4": Table("Figure 4: ablations", _figure4(), evaluators=(Likeness(),)),
        "c5": Table("Appendix C.5: additional ablations", _appendix_c5(), evaluators=(Likeness(),)),
        "pictures": Table("Figures 9 and 11: pictures", _pictures()),
    },
    metrics={
        "miou": Metric("mAP", 1, absent=_MAPS),
        "pixel_accuracy": Metric("pixAcc", 1, absent=_MAPS),
        "class_accuracy": Metric("classAcc", 1, absent=_MAPS),
        "fid": Metric("FID", 1, score="fid", protocol="fid", needs="inception"),
        "seconds": Metric("s/it", 2, score="seconds_per_iteration", protocol="cost"),
        "gigabytes": Metric("GB", 2, score="gigabytes", protocol="cost"),
    },
    remark=(
        "FID takes the published Inception weights (--inception or $UIT_INCEPTION). mAP (mean intersection over union),"
        " pixAcc and classAcc take the authors' segmentation network, which is not here: of label maps that one has"
        " made by such a network they are computed by `uit evaluate`. s/it and GB of the authors are those of a GTX"
        " 1080 Ti at batch size 1."
    ),
)
