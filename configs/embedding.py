"""A contrastive embedding translator: our reconstruction after Hong, Feng and Jiang (ACCV 2022), not the authors' code.

    uit train --config=configs/embedding.py --config.data.source=PATH --workdir=runs/embedding
    uit translate --workdir=runs/embedding --content=IMAGES --reference=IMAGE --out=translated

Any folder of images; with --config.method.labelled_share=0.1, or as much as there is, also the labels that their class
folders give. Neither code nor settings nor numbers of the authors' are known: docs/embedding.md says what is published
and what is ours, and what was measured.

Presets, several joined by commas:

    256, 64     at 256 px with batch 16, at 64 px
    bf16        activations in bfloat16
    photos      64 px, narrow networks, 3,000 steps: for a processor without accelerator
    photos128   128 px, twice that width, bfloat16, 20,000 steps: for ten minutes of a GPU; not run yet
    world       32 px, the procedural world, 1,600 steps: the comparison of docs/embedding.md
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 32,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
}

PHOTOS = {
    **recipes.SMALL_CONTRASTIVE,
    **recipes.SMALL_PHOTOS,
    "method.reconstruction_weight": 5.0,
    "method.match_weight": 2.0,
}

PRESETS = {
    "256": {"data.image_size": 256, "batch_size": 16},
    "64": {"data.image_size": 64},
    "bf16": recipes.BF16,
    "photos": PHOTOS,
    "photos128": {**PHOTOS, **recipes.SMALL_PHOTOS_128, "method.queue_size": 2048},
    "world": {
        **recipes.SMALL_CONTRASTIVE,
        "steps": 1_600,
        "data.image_size": 32,
        "method.view.hue": 0.2,
        "method.view.translate": 0.15,
        "method.reconstruction_weight": 3.0,
        "method.r1.weight": 0.05,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("embedding"), SETTINGS), preset, PRESETS)
