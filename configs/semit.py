"""SEMIT: Semi-supervised Learning for Few-shot Image-to-Image Translation (Wang et al., CVPR 2020, arXiv:2003.13853).

    uit train --config=configs/semit.py:animals,10 --config.data.source=PATH --workdir=runs/semit
    uit translate --workdir=runs/semit --content=IMAGES --reference=FOLDER --out=translated

PATH holds class folders; of the labels these give, the share that is not 1 alone is read, and the other images are
named. FOLDER holds a few images of a class, which need not be one of these. 128 px, batch 128, 100,000 iterations of
the translator, behind those of the classifier where there is one. Without a preset, the published settings for the
119 training classes of Animal Faces, all labels given.

Presets, several joined by commas:

    animals, birds, flowers, food   the training classes of the paper's sets: 119, 444 (batch 64), 85, 224
    10, 20                          labels for so many per cent of each class
    bf16                            activations in bfloat16
    photos                          64 px, narrow networks, 3,000 steps, up to 10 classes: for a processor without
                                    accelerator; the gradient penalty is then every image's own
    world                           32 px, the procedural world's six species, 1,600 steps
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 128,
    "log_every": 100,
    "image_every": 2_500,
    "checkpoint_every": 5_000,
}

# 100,000 of these are the translator's.
NAMED = {"steps": 130_000, "method.labels.steps": 20_000, "method.labels.naming_steps": 10_000}

# Weights are those by which, on the procedural world, species follow the reference and the place stays.
SMALL = {
    "batch_size": 8,
    "method.style_dim": 32,
    "method.generator.width": 16,
    "method.generator.blocks": 2,
    "method.generator.mlp_width": 128,
    "method.discriminator.width": 16,
    "method.discriminator.max_width": 128,
    "method.discriminator.stages": 3,
    "method.r1_of_mean": False,
    "method.reconstruction_weight": 6.0,
    "method.cycle_weight": 2.0,
    "method.feature_weight": 1.0,
    "method.r1_weight": 5.0,
    "method.average": 0.995,
    "method.labels.batch_size": 64,
    "method.labels.righting": 20.0,
}

SHARES = {
    "10": {**NAMED, "method.labels.share": 0.1},
    "20": {**NAMED, "method.labels.share": 0.2},
}

PRESETS = {
    "animals": {"method.domains": 119},
    "birds": {"method.domains": 444, "batch_size": 64},
    "flowers": {"method.domains": 85},
    "food": {"method.domains": 224},
    **SHARES,
    "bf16": recipes.BF16,
    "photos": {
        **SMALL,
        **recipes.PHOTOS,
        "steps": 3_000,
        "method.domains": 10,
        # At 1e-3 with four stages the first steps, of 0.01 a weight, ruined both networks.
        "method.rmsprop.learning_rate": 3e-4,
        "method.discriminator_rate": 3e-4,
        "method.labels.steps": 400,
        "method.labels.naming_steps": 400,
        "method.labels.images": 10_000,
        "method.labels.width": 32,
        "method.labels.max_width": 128,
    },
    "world": {
        **SMALL,
        "steps": 1_600,
        **recipes.SHORT,
        "data.image_size": 32,
        "method.load_size": 36,
        "method.domains": 6,
        "method.rmsprop.learning_rate": 1e-3,
        "method.discriminator_rate": 1e-3,
        "method.labels.steps": 200,
        "method.labels.naming_steps": 200,
        "method.labels.images": 4_000,
        "method.labels.width": 16,
        "method.labels.max_width": 64,
        "method.labels.adam.learning_rate": 1e-3,
    },
}


def get_config(preset: str = ""):
    # Shares of labels first, so that the steps are those of the size that is named with them, before or behind.
    names = sorted(recipes.named(preset), key=lambda name: name not in SHARES)
    return config.preset(config.update(config.defaults("semit"), SETTINGS), ",".join(names), PRESETS)
