"""StarGAN v2: Diverse Image Synthesis for Multiple Domains (Choi et al., CVPR 2020, arXiv:1912.01865).

    uit train --config=configs/starganv2.py:afhq --config.data.source=PATH --workdir=runs/starganv2
    uit translate --workdir=runs/starganv2 --content=IMAGES --reference=IMAGE --out=translated
    uit translate --workdir=runs/starganv2 --content=IMAGES --styles=10 --domain=1 --out=sampled

PATH holds a folder of images for each domain, as many as --config.method.domains says. 256 px, batch 8, 100,000
iterations. Expected on AFHQ: FID 16.2 and LPIPS 0.450 with sampled styles, 19.8 and 0.432 with those of references
(Tables 1 and 2 and the authors' page).

Presets, several joined by commas:

    afhq            cats, dogs and wild animals: three domains
    celeba          female and male faces, half the weight of diversity; skips keep the parts of a face, by
                    --config.method.landmarks=FILE (docs/starganv2.md)
    128, 64         other sizes
    bf16            activations in bfloat16
    photos          64 px, narrow networks, 3,000 steps: for a processor without accelerator
    world           32 px, the procedural world's six species, 1,600 steps
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 100_000,
    "batch_size": 8,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
}

# The weight of diversity is that by which runs of these presets were made.
SMALL = {
    **recipes.SMALL,
    "method.mapping_width": 128,
    "method.mapping_rate": 1e-5,
    "method.diversity_weight": 1.0,
}

PRESETS = {
    "afhq": {"method.domains": 3},
    "celeba": {"method.high_pass": 1.0, "method.bottleneck": 8, "method.diversity_weight": 1.0},
    "128": {"data.image_size": 128},
    "64": {"data.image_size": 64},
    "bf16": recipes.BF16,
    "photos": {**SMALL, **recipes.SMALL_PHOTOS, "method.diversity_steps": 3_000},
    "world": {
        **SMALL,
        "steps": 1_600,
        "data.image_size": 32,
        "method.domains": 6,
        "method.diversity_steps": 1_600,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("starganv2"), SETTINGS), preset, PRESETS)
