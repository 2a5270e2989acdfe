"""Swapping Autoencoder for Deep Image Manipulation (Park et al., NeurIPS 2020, arXiv:2007.00653).

    uit train --config=configs/swapping_autoencoder.py:church --config.data.source=PATH --workdir=runs/swapped
    uit translate --workdir=runs/swapped --content=IMAGES --reference=IMAGE --out=translated

PATH holds images of one kind, without labels. Without a preset, the settings of the published church weights: 256 px,
batch 32, 25 million images, of which every second batch teaches either side.

Presets, several joined by commas:

    church, bedroom   LSUN at 256 px, in batches of 32; bedrooms compare each crop with one other, not with a mean
    afhq              all three species together, 256 px, in batches of 32
    mountain          512 px, in batches of 16, with ten times the penalty on crops
    ffhq512           512 px, in batches of 16
    ffhq1024          crops of 768 of 1024 px, in batches of 16, narrower networks, a smaller structure
    paper             what the paper says where the published code differs; crops are seen at a quarter of the image
    bf16              activations in bfloat16
    photos            64 px, narrow networks, 6,000 steps: for a processor without accelerator
    world             32 px, the procedural world, 3,200 steps, of which every second teaches the generator
"""

import math

from uit_jax import config, recipes

IMAGES = 25_000_000


def of_batch(size):
    return {"batch_size": size, "steps": IMAGES // size}


SETTINGS = {
    **of_batch(32),
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
}

SMALL = {
    "batch_size": 16,
    **recipes.SHORT,
    "method.texture_dim": 64,
    "method.average": 0.99,
    "method.encoder.scale": 0.25,
    "method.generator.scale": 0.125,
    "method.discriminator.scale": 0.03125,
    "method.discriminator.max_width": 64,
    "method.patch_discriminator.scale": 0.25,
    "method.patch_discriminator.max_width": 64,
    "method.patch_discriminator.pair_width": 128,
    "method.patches.count": 4,
}

PRESETS = {
    "church": {},
    "bedroom": {"method.patches.pooled": False},
    "afhq": {},
    "mountain": {**of_batch(16), "data.image_size": 512, "method.patch_r1_weight": 10.0},
    "ffhq512": {**of_batch(16), "data.image_size": 512},
    "ffhq1024": {
        **of_batch(16),
        "data.image_size": 768,
        "method.load_size": 1024,
        "method.texture_dim": 1536,
        "method.encoder.scale": 0.4,
        "method.encoder.downs": 5,
        "method.generator.scale": 0.8,
        "method.patches.size": 256,
    },
    "paper": {"method.mix_weight": 0.5, "method.generator.head_blocks": 4},
    "bf16": recipes.BF16,
    "photos": {
        **SMALL,
        "steps": 6_000,
        "data.image_size": 64,
        "method.encoder.downs": 3,
        "method.patches.size": 16,
    },
    "world": {
        **SMALL,
        "steps": 3_200,
        "data.image_size": 32,
        "method.l1_weight": 5.0,
        "method.encoder.downs": 2,
        "method.patches.size": 16,
    },
}


def get_config(preset: str = ""):
    chosen = config.preset(config.update(config.defaults("swapping_autoencoder"), SETTINGS), preset, PRESETS)
    if "paper" in recipes.named(preset):
        config.update(chosen, {"method.patches.size": quarter(chosen.data.image_size)})
    return chosen


def quarter(side: int) -> int:
    """Return the power of two nearest to a quarter of a side, pixels; at least the 4 at which patches are read."""
    return max(4, 2 ** round(math.log2(side / 4)))
