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
    photos                    64 px, narrow networks, 3,000 steps: for a processor without accelerator; views leave
                              colours nearly as they are, for what they change images are not sorted by, and the
                              content's code is as large as the paper's (docs/photographs.md)
    photos128                 128 px, twice the width, bfloat16, 20,000 steps: for ten minutes of a GPU; not run yet
"""

from uit_jax import config, recipes

PHOTOS = {
    **recipes.SMALL_GUIDED,
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

PRESETS = {
    "b": {"method.labels.share": 1.0, "method.average_start": 1_000},
    "e": {"method.joint_training": "frozen_domains"},
    "f": {"method.joint_training": "frozen"},
    "g": {},
    "nofeedback": {"method.adversarial_feedback": False},
    "semi": {
        "method.labels.share": 0.2,
        "method.guide_steps": 35_000,
        "method.labels.steps": 20_000,
        "method.average_start": 36_000,
    },
    "parity": {"method.reference_quirks": True},
    "256": {"data.image_size": 256, "batch_size": 16},
    "64": {"data.image_size": 64},
    "bf16": recipes.BF16,
    "photos": PHOTOS,
    "photos128": PHOTOS | PHOTOS_128,
}


def get_config(preset: str = ""):
    return config.preset(config.defaults("tunit"), preset, PRESETS)
