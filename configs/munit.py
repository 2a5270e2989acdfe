"""MUNIT: Multimodal Unsupervised Image-to-Image Translation (Huang et al., ECCV 2018).

    uit train --config=configs/munit.py:horse2zebra --config.data.source=PATH --workdir=runs/munit
    uit translate --workdir=runs/munit --content=IMAGES --reference=IMAGE --out=translated

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B; references are images of B.
256 px, 1,000,000 iterations, the rate halved every 100,000. Without a preset, the published settings for edges and
shoes. Expected: FID 133.8 on horse2zebra (Table 1 of CUT, arXiv:2007.15651).

Presets, several joined by commas:

    edges2shoes, edges2handbags, cat2dog
                            no cycle term: shapes may change
    horse2zebra, apple2orange, summer2winter, ginger2black
                            the cycle term, of weight 10: translations stay where they are, pixel by pixel
    cityscapes              the same, from B to A: the published folders have the photographs in trainA
    synthia2cityscape       the same, 512 px; the authors add the perceptual term, for which VGG-16's weights have to be
                            there: --config.method.vgg=vgg16.npz (docs/munit.md)
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
"""

from uit_jax import config, recipes

SETTINGS = {
    "steps": 1_000_000,
    "batch_size": 1,
    "log_every": 100,
    "image_every": 10_000,
    "checkpoint_every": 10_000,
}

CYCLE = {"method.cycle_weight": 10.0}
PRESETS = {
    "edges2shoes": {},
    "edges2handbags": {},
    **{name: changes if name == "cat2dog" else changes | CYCLE for name, changes in recipes.SETS.items()},
    "synthia2cityscape": {**CYCLE, "data.image_size": 512, "method.load_size": 512},
    "bf16": recipes.BF16,
    "photos": {
        **recipes.PHOTOS,
        "steps": recipes.PHOTOS_STEPS,
        "method.generator.width": 32,
        "method.generator.blocks": 2,
        "method.generator.mlp_width": 128,
        "method.discriminator.width": 32,
        "method.schedule.every": recipes.PHOTOS_STEPS // 2,
    },
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("munit"), SETTINGS), preset, PRESETS)
