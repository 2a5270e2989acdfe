"""StarGAN v2 (arXiv:1912.01865): its two protocols, with the numbers that the authors give with their code."""

from experiments import cluit
from experiments.rows import DataSet, Metric, Paper, Row, Table
from uit_jax.evaluation import Guided

CONFIG = "configs/starganv2.py"

DATA_SETS = {
    "celebahq": DataSet(
        "CelebA-HQ",
        2,
        ("female", "male"),
        note="30,000 faces by gender; the authors' val images are the test split",
    ),
    "afhq": cluit.DATA_SETS["afhq"],
}

_FACES = "takes --config.method.landmarks=FILE, the weights of the network that finds the parts of a face"


def _synthesis() -> tuple[Row, ...]:
    names = ("latent_fid", "latent_lpips", "reference_fid", "reference_lpips")
    rows = {
        "celebahq": ("celeba", (13.73, 0.4515, 23.84, 0.3880), (_FACES,)),
        "afhq": ("afhq", (16.18, 0.4501, 19.78, 0.4315), ()),
    }
    return tuple(
        Row(data, DATA_SETS[data], dict(zip(names, numbers, strict=True)), f"{CONFIG}:{preset}", notes=notes)
        for data, (preset, numbers, notes) in rows.items()
    )


PAPER = Paper(
    title="StarGAN v2 (Choi et al., CVPR 2020, arXiv:1912.01865)",
    tables={
        "synthesis": Table(
            "By sampled styles, and by those of references", _synthesis(), timed=False, evaluators=(Guided(),)
        ),
    },
    metrics={
        "latent_fid": Metric("FID, latent", 2, "latent_fid", "latent_fid", needs="inception"),
        "latent_lpips": Metric("LPIPS, latent", 4, "latent_lpips", "latent_lpips", needs="lpips"),
        "reference_fid": Metric("FID, reference", 2, "reference_fid", "reference_fid", needs="inception"),
        "reference_lpips": Metric("LPIPS, reference", 4, "reference_lpips", "reference_lpips", needs="lpips"),
    },
    remark=(
        "The authors' numbers are those of their page, means over ten seeds of the evaluation. Their FID normalises"
        " images as no other does: ours is the usual one by their protocol, and not comparable. It takes the published"
        " Inception weights (--inception or $UIT_INCEPTION), LPIPS those of LPIPS ($UIT_LPIPS)."
    ),
)
