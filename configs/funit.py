"""FUNIT: Few-Shot Unsupervised Image-to-Image Translation (Liu et al., ICCV 2019, arXiv:1905.01723).

    uit train --config=configs/funit.py --config.data.source=PATH --workdir=runs/funit
    uit translate --workdir=runs/funit --content=IMAGES --reference=FOLDER --out=translated

PATH holds class folders; FOLDER a few images of a class, which need not be one of these. 128 px, batch 64, 100,000
iterations. Without a preset, the published settings for the 119 training classes of Animal Faces.

Presets, several joined by commas:

    animals, birds, flowers, food   the training classes of the paper's sets: 119, 444, 85, 224
    tunit                           10 classes, as in TUNIT's Table 1, A; what else that row changes is not known
    plain                           a discriminator whose activations do not overwrite their input
    bf16                            activations in bfloat16
    photos                          64 px, narrow networks, 3,000 steps, up to 10 classes: for a processor without
                                    accelerator; the gradient penalty is then every image's own
    world                           32 px, the procedural world's six species, 1,600 steps; the penalty likewise
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 64,
    "log_every": 100,
    "image_every": 2_500,
    "checkpoint_every": 5_000,
}

# Weights are those by which, on the procedural world, species follow the reference and the place stays.
SMALL = {
    "batch_size": 8,
    "method.style_dim": 32,
    "method.generator.downs": 2,
    "method.generator.width": 16,
    "method.generator.mlp_width": 128,
    "method.discriminator.width": 16,
    "method.discriminator.max_width": 128,
    "method.discriminator.stages": 3,
    "method.r1_of_mean": False,
    "method.reconstruction_weight": 6.0,
    "method.r1_weight": 1.0,
    "method.average": 0.995,
}

PRESETS = {
    "animals": {"method.domains": 119},
    "birds": {"method.domains": 444},
    "flowers": {"method.domains": 85},
    "food": {"method.domains": 224},
    "tunit": {"method.domains": 10},
    "plain": {"method.discriminator.in_place": False},
    "bf16": recipes.BF16,
    "photos": {
        **SMALL,
        **recipes.PHOTOS,
        "steps": 3_000,
        "method.domains": 10,
        # At 1e-3 with four stages the first steps, of 0.01 a weight, ruined both networks.
        "method.rmsprop.learning_rate": 3e-4,
        "method.discriminator_rate": 3e-4,
    },
    "world": {
        **SMALL,
        "steps": 1_600,
        **recipes.SHORT,
        "data.image_size": 32,
        "method.load_size": 36,
        "method.domains": 6,
        "method.generator.style_downs": 3,
        "method.rmsprop.learning_rate": 1e-3,
        "method.discriminator_rate": 1e-3,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("funit"), SETTINGS), preset, PRESETS)
