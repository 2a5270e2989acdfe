"""What `experiments.accelerator` measures and trains, as data: the papers' settings, and those of toys."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from uit_jax import config as config_module
from uit_jax.training import budget

RECIPES = {
    "tunit": "configs/tunit.py",
    "cut": "configs/cut.py",
    "fastcut": "configs/cut.py:fastcut",
    "cyclegan": "configs/cyclegan.py",
    "cluit": "configs/cluit.py",
    "embedding": "configs/embedding.py",
    "munit": "configs/munit.py",
    "drit": "configs/drit.py",
    "gcgan": "configs/gcgan.py",
    "distancegan": "configs/distancegan.py",
    "selfdistance": "configs/distancegan.py:self",
    "sincut": "configs/sincut.py",
    "funit": "configs/funit.py",
    "semit": "configs/semit.py",
    "starganv2": "configs/starganv2.py:afhq",
    "swapping_autoencoder": "configs/swapping_autoencoder.py",
}
"""The papers' settings, a method each."""


class Job(NamedTuple):
    """A step to be measured: its name, whose it is, what is changed of the paper's settings, whether it is profiled."""

    name: str
    method: str
    changes: Mapping[str, Any]
    profiled: bool = False


class Training(NamedTuple):
    """A run to be trained: its recipe, the job with its step, what is changed of it."""

    recipe: str
    job: str
    changes: Mapping[str, Any] = {}


_BF16, _BATCH = {"precision": "bf16"}, {"batch_size": 16}
_SAME_CROP = {"method.crop_in_decay": True}  # one program, where the decay has another
WANTED = (
    Job("tunit-bf16", "tunit", _BF16, profiled=True),
    Job("cut-batch16-bf16", "cut", _BF16 | _BATCH | _SAME_CROP, profiled=True),
    Job("cut-float32", "cut", _SAME_CROP),
    Job("tunit-float32", "tunit", {}),
    Job("cut-batch16-float32", "cut", _BATCH | _SAME_CROP),
    Job("cut-bf16", "cut", _BF16 | _SAME_CROP),
)
"""What is measured first."""

TRAININGS = {
    "tunit": Training("configs/tunit.py:bf16", "tunit-bf16"),
    "cut": Training("configs/cut.py", "cut-float32", _SAME_CROP),
}

TOY = {
    "tunit": {
        "data.image_size": 16,
        "batch_size": 4,
        "method.domains": 6,
        "method.style_dim": 4,
        "method.guide.width": 4,
        "method.guide.stages": (1, 1),
        "method.guide_batch_size": 4,
        "method.generator.width": 4,
        "method.generator.bottleneck": 4,
        "method.generator.blocks": 1,
        "method.generator.mlp_width": 16,
        "method.discriminator.width": 4,
        "method.discriminator.blocks": 1,
        "method.queue_size": 64,
    },
    "cut": {
        "data.image_size": 16,
        "batch_size": 1,
        "method.load_size": 20,
        "method.init_gain": 1.0,
        "method.generator.width": 4,
        "method.generator.blocks": 2,
        "method.discriminator.width": 4,
        "method.discriminator.layers": 1,
        "method.patches.layers": (0, 4, 12),
        "method.patches.count": 5,
        "method.patches.dim": 8,
    },
}
"""Settings with which a processor does in a second what is to be tried out; of other methods there are none."""

_EXPECTED = {"tunit": 150.0, "drit": 150.0, "distancegan": 150.0, "selfdistance": 150.0}
_EXPECTED_ELSE, _EXPECTED_TOY = 90.0, 15.0
_TOYS = 3  # jobs, the first


def expected(method: str, toy: bool) -> float:
    """Return the seconds that a method's measurement takes about, on a GPU for which no program is kept yet."""
    return _EXPECTED_TOY if toy else _EXPECTED.get(method, _EXPECTED_ELSE)


def wanted(parts: Sequence[str], toy: bool) -> list[Job]:
    """Return what is to be measured for parts of the command, the most wanted first; of toys some."""
    first = {(job.method, job.changes.get("precision", "float32")) for job in WANTED}
    kinds = [(method, precision) for precision in ("bf16", "float32") for method in RECIPES]
    cropped = {"fastcut": _SAME_CROP}
    rest = [
        Job(f"{method}-{precision}", method, {"precision": precision, **cropped.get(method, {})})
        for method, precision in kinds
        if (method, precision) not in first
    ]
    jobs = [job._replace(profiled=job.profiled and "profile" in parts) for job in (*WANTED, *rest)]
    jobs = jobs[:_TOYS] if toy else jobs
    trained = {training.job for training in TRAININGS.values() if "train" in parts}
    return [job for job in jobs if "bench" in parts or job.profiled or job.name in trained]


def configure(recipe: str, method: str, changes: Mapping[str, Any], toy: bool) -> ConfigDict:
    """Return a config for one device, of a toy with its settings."""
    config = config_module.update(config_module.resolve(recipe), {**changes, "devices": 1, "parallel": "jit"})
    return config_module.update(config, TOY[method]) if toy else config


def scaled(config: ConfigDict, steps: int) -> ConfigDict:
    """Return the config of a run of so many steps that is watched closely and keeps its last checkpoint alone."""
    often = {"log_every": max(1, steps // 50), "image_every": max(1, steps // 4)}
    never = {"checkpoint_every": 0, "evaluate_every": 0, "tensorboard": False, "keep_checkpoints": 1}
    return config_module.update(budget.scaled(config, steps), {**often, **never})
