"""TUNIT: Rethinking the Truly Unsupervised Image-to-Image Translation (Baek et al., ICCV 2021, arXiv:2006.06500).

    uit train --config=configs/tunit.py --config.data.source=PATH --workdir=runs/tunit

The paper's unsupervised setting: 128 px, batch 32, 10 pseudo domains, 65,000 iterations of the guiding network
alone and 135,000 of all networks. Expected: mFID 47.7 on AnimalFaces-10 (Table 1, G).

Presets, several joined by commas, as in configs/tunit.py:256,f :

    b, e, f, g, nofeedback    configurations of Table 1; g is the default
    semi                      a fifth of the labels (Section 4.2)
    parity                    with what the published code does by mistake
    256                       256 px, batch 16: summer2winter, AFHQ and FFHQ
    64                        64 px
    bf16                      activations in bfloat16
    small                     32 px and narrow networks, for a processor without accelerator
"""

from uit_jax import config

PRESETS = {
    "b": {"method.labelled_share": 1.0, "method.average_start": 1_000},
    "e": {"method.joint_training": "frozen_domains"},
    "f": {"method.joint_training": "frozen"},
    "g": {},
    "nofeedback": {"method.adversarial_feedback": False},
    "semi": {
        "method.labelled_share": 0.2,
        "method.guide_steps": 35_000,
        "method.labelled_steps": 20_000,
        "method.average_start": 36_000,
    },
    "parity": {"method.reference_quirks": True},
    "256": {"data.image_size": 256, "batch_size": 16},
    "64": {"data.image_size": 64},
    "bf16": {"precision": "bf16"},
    "small": {
        "steps": 6_000,
        "batch_size": 16,
        "log_every": 50,
        "image_every": 500,
        "checkpoint_every": 500,
        "evaluate_every": 500,
        "data.image_size": 32,
        "method.guide_steps": 2_000,
        "method.average_start": 2_050,
        "method.guide_width": 16,
        "method.style_dim": 32,
        "method.generator_width": 16,
        "method.bottleneck": 8,
        "method.mlp_width": 64,
        "method.discriminator_width": 16,
        "method.discriminator_max_width": 64,
        "method.discriminator_blocks": 1,
        "method.guide_learning_rate": 1e-3,
        "method.optimizer": "adam",
        "method.learning_rate": 1e-3,
        "method.guide_joint_learning_rate": 3e-4,
        "method.generator_average": 0.99,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.defaults("tunit"), preset, PRESETS)
