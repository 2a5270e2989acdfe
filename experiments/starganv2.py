"""Tables 1 and 2 of StarGAN v2 (arXiv:1912.01865): by sampled styles and by those of references, as its authors give them
with their code."""

from experiments.rows import DataSet, Metric, Paper, Row, Table

CONFIG = "configs/starganv2.py"

DATA_SETS = {
    "celebahq": DataSet(
        "CelebA-HQ",
        2,
        ("female", "male"),
        note="30,000 faces by gender, 1,000 of each the test split, as the authors' download has them",
    ),
}
