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

For a processor without accelerator there is configs/demo.py:photos.
"""

from uit_jax import config, recipes

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
}


def get_config(preset: str = ""):
    return config.preset(config.defaults("tunit"), preset, PRESETS)
