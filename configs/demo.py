"""TUNIT on the procedural world, in the time of a coffee on two processor cores: what `make demo` runs.

    uit train --config=configs/demo.py --workdir=demo

Six species of objects, unlabelled, at 32 px; 600 iterations of the guiding network alone, then 1,100 of all networks.
Narrow networks, Adam and short averages in place of the paper's, and two changes of settings that the world needs:
the second view turns hues further (0.2 for 0.125), for six hues must not be what images are sorted by, and
five clustering heads train side by side, of which the one with the largest mutual information is kept (IIC's
remedy for its local optima: with one head, three seeds of four merged two species).
"""

from uit_jax import config

SETTINGS = {
    "steps": 1_700,
    "batch_size": 16,
    "log_every": 50,
    "image_every": 500,
    "checkpoint_every": 500,
    "evaluate_every": 300,
    "keep_checkpoints": 1,
    "data.image_size": 32,
    "method.domains": 6,
    "method.style_dim": 32,
    "method.guide_width": 16,
    "method.guide_stages": (1, 1, 1, 1),
    "method.cluster_heads": 5,
    "method.generator_width": 16,
    "method.bottleneck": 8,
    "method.generator_blocks": 1,
    "method.mlp_width": 128,
    "method.discriminator_width": 16,
    "method.discriminator_max_width": 128,
    "method.discriminator_blocks": 1,
    "method.guide_steps": 600,
    "method.guide_batch_size": 64,
    "method.average_start": 600,
    "method.guide_learning_rate": 2e-3,
    "method.guide_joint_learning_rate": 1e-3,
    "method.guide_weight_decay": 1e-4,
    "method.joint_guide_weight": 1.0,
    "method.normalize_style": True,
    "method.key_average": 0.99,
    "method.generator_average": 0.99,
    "method.optimizer": "adam",
    "method.learning_rate": 1e-3,
    "method.weight_decay": 0.0,
    "method.r1_weight": 1.0,
    "method.r1_every": 4,
    "method.reconstruction_weight": 3.0,
    "method.style_weight": 0.1,
    "method.hue": 0.2,
    "method.translate": 0.15,
    "method.fill": "edge",
}


def get_config(preset: str = ""):
    return config.preset(config.defaults("tunit"), ",".join(filter(None, ["demo", preset])), {"demo": SETTINGS})
