"""TUNIT on the procedural world, in the time of a coffee on two processor cores: what `make demo` runs.

    uit train --config=configs/demo.py --workdir=demo
    uit train --config=configs/demo.py:photos --config.data.source=PATH --config.method.domains=K --workdir=runs/mine

The second command is for real images on such a machine, at 64 px; its views leave colours nearly as they are, for
what they change images are not sorted by, and the content's code is as large as the paper's (docs/photographs.md).
photos128 in its place is for ten minutes of a GPU: 128 px, twice the width, bfloat16, 20,000 steps; not run yet. The
first:

Six species of objects, unlabelled, at 32 px; 750 iterations of the guiding network alone, then 850 of all networks.
The networks are narrow, with Adam and short averages in place of the paper's. Three settings answer to the world:

- The second view turns hues further (0.2 for 0.125), for hue is not what images are to be sorted by.
- Six clustering heads of marginal weights 1 to 1.2 train side by side, and the one with the largest mutual information
  is kept. After 600 iterations a single head of weight 1 had merged two species on three seeds of four; of three
  seeds with five heads of weight 1 one still did, and of two with five heads of weight 1.2 one never left the start.
- Reconstruction weighs 3: with 1, the ground's colour, which no species owns, was slow to follow the reference.
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 1_600,
    "batch_size": 16,
    "log_every": 25,
    "image_every": 400,
    "checkpoint_every": 400,
    "evaluate_every": 250,
    "keep_checkpoints": 1,
    "data.image_size": 32,
    "method.domains": 6,
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
    "method.guide_steps": 750,
    "method.guide_batch_size": 64,
    "method.average_start": 750,
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
    "method.view.hue": 0.2,
    "method.view.translate": 0.15,
    "method.view.fill": "edge",
}

PHOTOS = {
    "steps": 3_000,
    "data.image_size": 64,
    "method.generator.bottleneck": 16,
    "method.guide.stages": (1, 1, 1, 1, 1),
    "method.guide_steps": 1_000,
    "method.average_start": 1_000,
    "method.view.hue": 0.03,
    "method.view.brightness": 0.2,
    "method.view.contrast": 0.2,
    "method.view.saturation": 0.2,
    "method.view.crop_scale": (0.3, 1.0),
    "method.view.crop_aspect": (0.75, 1.33),
    "method.view.translate": 0.1,
}

PHOTOS_128 = {
    **recipes.BF16,
    "steps": 20_000,
    "log_every": 100,
    "image_every": 2_000,
    "checkpoint_every": 2_000,
    "evaluate_every": 2_000,
    "data.image_size": 128,
    "method.style_dim": 64,
    "method.guide.width": 32,
    "method.guide.stages": (1, 1, 2, 2, 2),
    "method.generator.width": 32,
    "method.generator.blocks": 2,
    "method.generator.mlp_width": 256,
    "method.discriminator.width": 32,
    "method.discriminator.max_width": 256,
    "method.guide_steps": 5_000,
    "method.average_start": 5_000,
    "method.guide_adam.learning_rate": 1e-3,
    "method.joint_guide_rate": 5e-4,
    "method.generator_average": 0.999,
    "method.adam.learning_rate": 5e-4,
}

PRESETS = {"photos": PHOTOS, "photos128": PHOTOS | PHOTOS_128}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("tunit"), SETTINGS), preset, PRESETS)
