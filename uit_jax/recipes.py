"""What recipes share: the sets of the papers, schedules, and sizes for a processor or for ten minutes of a GPU.

The recipes themselves, one a method, are the files in `configs/`.
"""

from collections.abc import Iterable

IMAGES = {
    "horse2zebra": 1_334,
    "cat2dog": 5_153,
    "cityscapes": 2_975,
    "apple2orange": 1_019,
    "summer2winter": 1_231,
    "ginger2black": 290,
}
"""Training images of the larger domain of each set: an epoch of them. ginger2black are AFHQ's cats of two colours."""

SETS = {name: {"data.direction": "BtoA"} if name == "cityscapes" else {} for name in IMAGES}
"""Presets that name a set: of Cityscapes, whose published folders have the photographs in trainA, B becomes A."""

BF16 = {"precision": "bf16"}

PHOTOS = {
    "log_every": 50,
    "image_every": 1_000,
    "checkpoint_every": 1_000,
    "data.image_size": 64,
    "method.load_size": 72,
}
PHOTOS_RESNET = {
    **PHOTOS,
    "method.generator.width": 32,
    "method.generator.blocks": 6,
    "method.discriminator.width": 32,
}
"""A processor without accelerator: small images, and narrow networks as CycleGAN has them."""
PHOTOS_STEPS = 12_000

PHOTOS_128 = {
    **PHOTOS,
    **BF16,
    "log_every": 200,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
    "data.image_size": 128,
    "method.load_size": 144,
}
"""One GPU, ten minutes, not run yet: larger images, and the papers' networks."""
PHOTOS_128_STEPS = 60_000

SHORT = {"log_every": 25, "image_every": 400, "checkpoint_every": 400, "keep_checkpoints": 1}
"""A run of a few thousand steps."""

SMALL = {
    **SHORT,
    "method.style_dim": 32,
    "method.width": 16,
    "method.max_width": 64,
    "method.bottleneck": 8,
    "method.blocks": 1,
    "method.average": 0.995,
    "method.adam.learning_rate": 1e-3,
}
SMALL_CONTRASTIVE = {
    **SMALL,
    "batch_size": 16,
    "method.queue_size": 1024,
    "method.key_average": 0.99,
    "method.adam.b1": 0.5,
    "method.view.fill": "edge",
}
"""A processor without accelerator, a few thousand steps: StarGAN v2's networks, and what their contrast remembers."""


SMALL_PHOTOS = {
    "steps": 3_000,
    "data.image_size": 64,
    "method.max_width": 128,
    "method.bottleneck": 16,
    "method.blocks": 2,
    "method.upsampling": "bilinear",
}
"""The same networks for photographs, with twice the blocks and, where images are small, twice the channels. Repeated
pixels leave a grid of squares in what so short a training draws."""

SMALL_PHOTOS_128 = {
    **BF16,
    "steps": 20_000,
    "log_every": 100,
    "image_every": 2_000,
    "checkpoint_every": 2_000,
    "data.image_size": 128,
    "method.style_dim": 64,
    "method.width": 32,
    "method.max_width": 256,
    "method.average": 0.999,
    "method.adam.learning_rate": 5e-4,
}
"""One GPU, ten minutes, not run yet: twice the width, on images of twice the side."""

SMALL_GUIDED = {
    **SHORT,
    "batch_size": 16,
    "evaluate_every": 250,
    "method.style_dim": 32,
    "method.guide.width": 16,
    "method.guide.stages": (1, 1, 1, 1),
    "method.marginal_weights": (1.0, 1.0, 1.1, 1.1, 1.2, 1.2),
    "method.generator.width": 16,
    "method.generator.bottleneck": 8,
    "method.generator.blocks": 1,
    "method.generator.mlp_width": 128,
    "method.discriminator.width": 16,
    "method.discriminator.max_width": 128,
    "method.discriminator.blocks": 1,
    "method.guide_batch_size": 64,
    "method.guide_adam.learning_rate": 2e-3,
    "method.joint_guide_rate": 1e-3,
    "method.guide_adam.weight_decay": 1e-4,
    "method.joint_guide_weight": 1.0,
    "method.normalize_style": True,
    "method.key_average": 0.99,
    "method.generator_average": 0.995,
    "method.optimizer": "adam",
    "method.adam.learning_rate": 1e-3,
    "method.adam.weight_decay": 0.0,
    "method.r1.weight": 1.0,
    "method.r1.every": 4,
    "method.reconstruction_weight": 3.0,
    "method.style_weight": 0.1,
    "method.view.fill": "edge",
}
"""A processor without accelerator, a few thousand steps: narrow networks of TUNIT, with Adam and short averages in
place of the paper's. Six clustering heads train side by side; that with the largest mutual information is kept."""


def named(presets: str) -> list[str]:
    """Return the names in "a,b"."""
    return [name for name in presets.split(",") if name]


def set_of(names: Iterable[str]) -> str:
    """Return the first of the names that is a set's, horse2zebra where none is."""
    return next((name for name in names if name in IMAGES), "horse2zebra")


def linear(constant: int, decay: int, before: int = 0) -> dict[str, int]:
    """Return the settings of so many steps at a constant rate and so many in which it falls; some come before."""
    steps = {"method.schedule.constant_steps": constant, "method.schedule.decay_steps": decay}
    return {"steps": before + constant + decay, **steps}


def halves(steps: int) -> dict[str, int]:
    """Return the settings of a rate that falls in the second half of the steps."""
    return linear(steps // 2, steps - steps // 2)
