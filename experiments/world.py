"""Our own comparison of the methods on the procedural world, where it is known what every translation should be."""

import dataclasses

from experiments.rows import DataSet, Metric, Paper, Row, Table

TUNIT = "configs/demo.py"
CLUIT = "configs/cluit.py:world"
EMBEDDING = "configs/embedding.py:world"

WORLD = DataSet(
    "the procedural world",
    classes=6,
    source="procedural",
    note="the library draws it: 6 species at 32 px, 4,000 training and 600 test images, for each seed its own",
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


def _methods() -> tuple[Row, ...]:
    seeds = (0, 1, 2)
    return (
        Row("tunit", WORLD, {}, TUNIT, seeds=seeds),
        Row("cluit", WORLD, {}, CLUIT, seeds=seeds),
        Row("cluit-full", WORLD, {}, CLUIT, {"method.patches": 0}, seeds=seeds, notes=(_FULL,)),
        Row("embedding", WORLD, {}, EMBEDDING, seeds=seeds),
    )


def _labels() -> tuple[Row, ...]:
    """How much a share of the labels, in per cent, is worth."""
    semi = {"method.labels.share": 0.1, "method.labels.steps": 430, "method.labels.cycle_steps": 20}
    supervised = {"method.labels.share": 1.0, "steps": 850, "method.average_start": 0}
    return (
        _again("tunit", "tunit-0pct"),
        Row("tunit-10pct", WORLD, {}, TUNIT, semi, notes=(_SEMI,)),
        Row("tunit-100pct", WORLD, {}, TUNIT, supervised, notes=(_SUPERVISED,)),
        _again("embedding", "embedding-0pct"),
        Row("embedding-10pct", WORLD, {}, EMBEDDING, {"method.labelled_share": 0.1}),
        Row("embedding-100pct", WORLD, {}, EMBEDDING, {"method.labelled_share": 1.0}),
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
        "labels": Table("Shares of labels", _labels(), timed=False),
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
        "retrieval": Metric("style retrieval", 3, score="style_retrieval", protocol="style_retrieval"),
        "seconds": Metric("s/it", 3, score="seconds_per_iteration", protocol="cost"),
    },
    remark=(
        "Nobody has published these numbers: all are ours. Translation accuracy: share of the translations that show"
        " the reference's species. Style error: distance of their colours from the right ones (RGB, 0 to 1.73). Pose"
        " error: distance of the object from where it should be, in those of random pairs. Ground follows: share of"
        " the translations whose ground has a colour nearer to the reference's than to the content's. Style retrieval:"
        " share of the test images whose nearest other one, by style code, shows the same species."
    ),
    published=False,
)
