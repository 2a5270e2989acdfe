"""SinCUT: a painting and a photograph are enough (Park et al., ECCV 2020, Section 4.3).

    uit train --config=configs/sincut.py --config.data.source=PAINTING --config.data.target=PHOTO --workdir=runs/sincut
    uit translate --workdir=runs/sincut --content=PAINTING --out=photo.png

16 crops of 64 px of the one image of each domain a step, 100,000 steps; the generator is then applied to the whole
image, of any size. The source may also be one folder with trainA and trainB, an image in each.

Presets, several joined by commas:

    bf16       activations in bfloat16
    quick      narrow networks, 4 crops a step with 8 patches each, 3,000 steps: for a processor without accelerator
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 1,
    "log_every": 100,
    "image_every": 6_250,
    "checkpoint_every": 6_250,
}

PRESETS = {
    "bf16": recipes.BF16,
    "quick": {
        "steps": 3_000,
        "log_every": 50,
        "image_every": 500,
        "checkpoint_every": 500,
        "method.schedule.constant_steps": 1_500,
        "method.schedule.decay_steps": 1_500,
        "method.generator.width": 3,
        "method.discriminator.width": 3,
        "method.crops": 4,
        "method.patches.count": 8,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("sincut"), SETTINGS), preset, PRESETS)
