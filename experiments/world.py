"""Our own comparison of the methods on the procedural world, where it is known what every translation should be."""

import dataclasses

from experiments.rows import DataSet, Metric, Paper, Relabel, Row, Table
from uit_jax.evaluation import Shots

TUNIT = "configs/demo.py"
CLUIT = "configs/cluit.py:world"
EMBEDDING = "configs/embedding.py:world"
FUNIT = "configs/funit.py:world"
STARGAN = "configs/starganv2.py:world"
SEMIT = "configs/semit.py:world"
SWAPPED = "configs/swapping_autoencoder.py:world"
WORLD = DataSet(
    "the procedural world",
    classes=6,
    source="procedural",
    note="the library draws it: 6 species at 32 px, 4,000 training and 600 test images, for each seed its own",
)

FIVE = dataclasses.replace(
    WORLD,
    title="five species of the procedural world",
    classes=5,
    source="procedural:species=5",
    note="4,000 training images of all its species but the cross; the 600 test images are of all six",
)

EIGHTY = dataclasses.replace(
    WORLD,
    title="eighty images of the procedural world",
    source="procedural:count=80",
    note="as many as 2 % of its 4,000 training images; the 600 test images are the same",
)

DISKS = DataSet(
    "disks and squares of the procedural world",
    classes=6,
    source="procedural",
    note="the first two species of the same images, some 670 of each to learn from: disks are drawn as squares",
)

_FULL = "the style match compares whole images, as in CLUIT's Table 3"
_ALONE = "without real images under another image's embedding among what the discriminator is to reject"
_SEMI = (
    "labels alone for the first 430 of the 750 iterations of the guiding network, then for 2 of every 20: the"
    " proportions of configs/tunit.py:semi"
)
_SUPERVISED = (
    "as many iterations of the generator as the other shares have, 850; there are no others where all labels are"
    " given, so that the guiding network too has 850 and not 1,600"
)
_HELD_OUT = {"data.test_source": "procedural"}
_LABELLED = {"method.labels.share": 1.0, "steps": 850, "method.average_start": 0}
_ALONE_LABELLED = "learns from the labelled images alone"
_TURNS = "each of 3,200 iterations teaches either the discriminators or the generator: 1,600 of either"
_NAMED = "the first 400 of the iterations are the classifier's, which names the images without labels"
_FEWER = "of the 1,600 iterations 1,200 are the translator's, which has 1,600 where all labels are given"
_UNSEEN = "learns from five species, and draws the sixth by references alone"
_GIVEN = "learns from all labels"
_PIXELS = "C of TUNIT's Table 1: learns from the labels of k-means on pixels"
_CODES = (
    "D of TUNIT's Table 1: learns from the labels of k-means on features, here the style codes of CLUIT's run of the"
    " same seed, which learnt them by contrast, without labels"
)

_MEASURED = "behind 100 iterations that measure the distances in both domains, in which nothing learns"
_STYLES = "styles are those of images of the second species"
_SWAPPED = (
    "everything learns at every iteration, the content discriminator at each third; the default is the other way round"
)


def _methods() -> tuple[Row, ...]:
    seeds = (0, 1, 2)
    pixels, codes = Relabel("kmeans-pixels"), Relabel("kmeans-features", run="world/methods/cluit")
    return (
        Row("tunit", WORLD, {}, TUNIT, seeds=seeds),
        Row("cluit", WORLD, {}, CLUIT, seeds=seeds),
        Row("cluit-full", WORLD, {}, CLUIT, {"method.patches": 0}, seeds=seeds, notes=(_FULL,)),
        Row("embedding", WORLD, {}, EMBEDDING, seeds=seeds),
        Row("tunit-c", WORLD, {}, TUNIT, _LABELLED, seeds, (_PIXELS, _SUPERVISED), relabel=pixels),
        Row("tunit-d", WORLD, {}, TUNIT, _LABELLED, seeds, (_CODES, _SUPERVISED), relabel=codes),
        Row("funit", WORLD, {}, FUNIT, seeds=seeds, notes=(_GIVEN,)),
        Row("semit", WORLD, {}, SEMIT, seeds=seeds, notes=(_GIVEN,)),
        Row("starganv2", WORLD, {}, STARGAN, seeds=seeds, notes=(_GIVEN,)),
        Row("swapping_autoencoder", WORLD, {}, SWAPPED, seeds=seeds, notes=(_TURNS,)),
    )


def _pairs() -> tuple[Row, ...]:
    """CUT's Table 1 in small: one species drawn as another, 1,200 iterations of 2 images, a quarter of the widths."""
    half = 600
    common = {"steps": 2 * half, "batch_size": 2, "data.image_size": 32, "method.load_size": 32}
    common |= {"log_every": 50, "checkpoint_every": 500, "image_every": 1_000}
    linear = {"method.schedule.constant_steps": half, "method.schedule.decay_steps": half}
    judge = {"method.discriminator.width": 16, "method.discriminator.layers": 2}
    resnet = {**common, **linear, **judge, "method.generator.width": 16, "method.generator.blocks": 3}
    measured = {"method.measuring_steps": 100, "steps": 2 * half + 100}
    scales = {**judge, "method.discriminator.scales": 2}
    munit = {**common, **scales, "method.generator.width": 16, "method.generator.mlp_width": 64}
    munit |= {"method.schedule.every": half, "method.cycle_weight": 10.0}
    drit = {**common, **linear, **scales, "method.width": 16, "method.content_layers": 0}
    rows = {
        "cut": ("configs/cut.py:photos", resnet, ()),
        "fastcut": ("configs/cut.py:fastcut,photos", {**resnet, "method.nce_weight": 10.0}, ()),
        "cyclegan": ("configs/cyclegan.py:photos", resnet, ()),
        "gcgan": ("configs/gcgan.py:photos", resnet, ()),
        "distancegan": ("configs/distancegan.py:photos", {**resnet, **measured}, (_MEASURED,)),
        "selfdistance": ("configs/distancegan.py:self,photos", {**resnet, **measured}, (_MEASURED,)),
        "munit": ("configs/munit.py:photos", munit, (_STYLES,)),
        "drit": ("configs/drit.py:swapped,photos", drit, (_STYLES, _SWAPPED)),
    }
    return tuple(
        Row(name, DISKS, {}, recipe, overrides, seeds=(0, 1, 2), notes=notes)
        for name, (recipe, overrides, notes) in rows.items()
    )


def _labels() -> tuple[Row, ...]:
    """How much a share of the labels, in per cent, is worth."""
    semi = {"method.labels.share": 0.1, "method.labels.steps": 430, "method.labels.cycle_steps": 20}
    return (
        _again("tunit", "tunit-0pct"),
        Row("tunit-10pct", WORLD, {}, TUNIT, semi, notes=(_SEMI,)),
        Row("tunit-100pct", WORLD, {}, TUNIT, _LABELLED, notes=(_SUPERVISED,)),
        _again("embedding", "embedding-0pct"),
        Row("embedding-10pct", WORLD, {}, EMBEDDING, {"method.labelled_share": 0.1}),
        Row("embedding-100pct", WORLD, {}, EMBEDDING, {"method.labelled_share": 1.0}),
        Row("funit-10pct", WORLD, {}, FUNIT, {"method.labelled_share": 0.1}, notes=(_ALONE_LABELLED,)),
        _again("funit", "funit-100pct"),
        Row("semit-10pct", WORLD, {}, SEMIT, {"method.labels.share": 0.1}, notes=(_NAMED, _FEWER)),
        _again("semit", "semit-100pct"),
        Row("funit-2pct", WORLD, {}, FUNIT, {"method.labelled_share": 0.02}, notes=(_ALONE_LABELLED,)),
        Row("semit-2pct", WORLD, {}, SEMIT, {"method.labels.share": 0.02, "steps": 2_000}, notes=(_NAMED,)),
        Row("semit-2pct-alone", EIGHTY, {}, SEMIT, _HELD_OUT, notes=(_ALONE_LABELLED,)),
    )


def _unseen() -> tuple[Row, ...]:
    """Crosses drawn by references: by what has seen none, and by what has learnt from some."""
    seeds = (0, 1, 2)
    return (
        Row("funit", FIVE, {}, FUNIT, {**_HELD_OUT, "method.domains": 5}, seeds, (_UNSEEN, _GIVEN)),
        Row("cluit", FIVE, {}, CLUIT, _HELD_OUT, seeds, (_UNSEEN,)),
        Row("funit-seen", WORLD, {}, FUNIT, seeds=seeds, notes=(_GIVEN,)),
    )


def _conditioning() -> tuple[Row, ...]:
    """How the discriminator is told the reference's embedding."""
    seeds = (0, 1)
    return (
        _again("embedding", "projection", seeds=seeds),
        Row("projection-alone", WORLD, {}, EMBEDDING, {"method.mismatch_weight": 0.0}, seeds=seeds, notes=(_ALONE,)),
        Row("logit", WORLD, {}, EMBEDDING, {"method.conditioning": "logit"}, seeds=seeds),
    )


def _again(method: str, name: str, seeds: tuple[int, ...] = (0,)) -> Row:
    """Return a method's row for a table of some of its seeds."""
    row = next(row for row in _methods() if row.name == method)
    return dataclasses.replace(row, name=name, seeds=seeds, same_as=f"world/methods/{method}")


PAPER = Paper(
    title="The procedural world (ours)",
    tables={
        "methods": Table("Methods", _methods()),
        "pairs": Table("From one species to another", _pairs()),
        "labels": Table("Shares of labels", _labels(), timed=False),
        "unseen": Table(
            "A species that training saw nothing of", _unseen(), timed=False, evaluators=(Shots(of="cross"),)
        ),
        "conditioning": Table(
            "How the discriminator knows the reference's embedding", _conditioning(), timed=False
        ),
    },
    metrics={
        "accuracy": Metric("translation accuracy", 3, score="translation_species", protocol="translations"),
        "style": Metric("style error", 3, score="translation_color", protocol="translations"),
        "pose": Metric("pose error", 3, score="translation_position", protocol="translations"),
        "ground": Metric(
            "ground follows", 3, score="translation_ground_follows_reference", protocol="translations"
        ),
        "labels": Metric("clusters' accuracy", 3, score="cluster_accuracy", protocol="clusters"),
        "retrieval": Metric("style retrieval", 3, score="style_retrieval", protocol="style_retrieval"),
        "one": Metric("crosses, 1 reference", 3, score="one_reference_species", protocol="shots"),
        "one_pose": Metric("pose error, 1", 3, score="one_reference_position", protocol="shots"),
        "one_style": Metric("style error, 1", 3, score="one_reference_color", protocol="shots"),
        "several": Metric("crosses, 5 references", 3, score="several_references_species", protocol="shots"),
        "several_pose": Metric("pose error, 5", 3, score="several_references_position", protocol="shots"),
        "several_style": Metric("style error, 5", 3, score="several_references_color", protocol="shots"),
        "parameters": Metric("million parameters", 3, score="million_parameters", protocol="cost"),
        "seconds": Metric("s/it", 3, score="seconds_per_iteration", protocol="cost"),
    },
    remark=(
        "Nobody has published these numbers: all are ours. Translation accuracy: share of the translations that show"
        " the reference's species. Style error: distance of their colours from the right ones (RGB, 0 to 1.73). Pose"
        " error: distance of the object from where it should be, in those of random pairs. Ground follows: share of"
        " the translations whose ground has a colour nearer to the reference's than to the content's. Clusters'"
        " accuracy: of pseudo domains, or of the labels that k-means found, on test images. Style retrieval:"
        " share of the test images whose nearest other one, by style code, shows the same species."
    ),
    published=False,
)
