"""CLUIT: Contrastive Learning for Unsupervised Image-to-Image Translation (arXiv:2105.03117).

    uit train --config=configs/cluit.py --config.data.source=PATH --workdir=runs/cluit
    uit search --workdir=runs/cluit --query=IMAGE
    uit translate --workdir=runs/cluit --content=IMAGES --reference=IMAGE --out=translated

No labels, no clusters: any folder of images. The paper's setting: 128 px, batch 32 (16 inputs, 16 references), 100,000
iterations. Its loss weights, R1 strengths, betas and learning rate were lost from the sources we have; ours and how
they were chosen are in docs/cluit.md. Expected: mFID 17.8 and accuracy 96.1 on AFHQ (Table 1).

Presets, several joined by commas:

    afhq, celeba    the paper's two data sets; afhq is the default
    256, 64         at 256 px with batch 16, at 64 px
    bf16            activations in bfloat16
    photos          64 px, narrow networks, 3,000 steps: for a processor without accelerator
    photos128       128 px, half the paper's width, bfloat16, 20,000 steps: for ten minutes of a GPU; not run yet
    world           32 px, the procedural world, 1,600 steps: the comparison of docs/cluit.md
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 32,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
}

SMALL = {**recipes.SMALL_CONTRASTIVE, "method.code_dim": 64}
PHOTOS = {**SMALL, **recipes.SMALL_PHOTOS, "method.cycle_weight": 5.0, "method.match_weight": 2.0}

PRESETS = {
    "afhq": {},
    "celeba": {},
    "256": {"data.image_size": 256, "batch_size": 16},
    "64": {"data.image_size": 64},
    "bf16": recipes.BF16,
    "photos": PHOTOS,
    "photos128": {**PHOTOS, **recipes.SMALL_PHOTOS_128, "method.code_dim": 128, "method.queue_size": 2048},
    "world": {
        **SMALL,
        "steps": 1_600,
        "data.image_size": 32,
        "method.view.hue": 0.2,
        "method.view.translate": 0.15,
        "method.cycle_weight": 1.0,
        "method.r1.weight": 0.05,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("cluit"), SETTINGS), preset, PRESETS)
