"""DRIT++ and DRIT: Diverse Image-to-Image Translation via Disentangled Representations (Lee et al., 2018 and 2020).

    uit train --config=configs/drit.py:horse2zebra --config.data.source=PATH --workdir=runs/drit
    uit translate --workdir=runs/drit --content=IMAGES --reference=IMAGE --out=translated

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B. Images are resized to 256 px,
cropped to 216; 1200 epochs of the larger domain, two images of each a step, the rate constant for the first half, then
falling to 0. At two of three steps the content discriminator learns alone, as in the published code. Expected: FID
140.0 on horse2zebra (Table 1 of CUT, arXiv:2007.15651, which does not say with which options).

Presets, several joined by commas:

    horse2zebra, cat2dog, cityscapes, apple2orange, summer2winter, ginger2black
                            the length of their epochs; horse2zebra is the default; cat2dog, whose shapes change, is
                            featurewise, as the authors advise; cityscapes, whose published folders have the photographs
                            in trainA, is translated from B to A
    drit                    without mode seeking: DRIT, as it was before DRIT++
    featurewise             styles change the features of the generator's blocks, where else they join the channels
    swapped                 the other way round: the content discriminator learns at every third step, all else at each
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
    epochs of other data    steps = 1200 max(|A|, |B|) / batch_size, half of them method.schedule.constant_steps
"""

from uit_jax import config, recipes

SETTINGS = {
    "batch_size": 2,
    "log_every": 120,
    "image_every": 15_000,
    "checkpoint_every": 15_000,
    "data.resample": "bicubic",
}

FEATUREWISE = {"method.styling": "featurewise"}
PRESETS = {
    **recipes.SETS,
    "cat2dog": FEATUREWISE,
    "drit": {"method.mode_seeking_weight": 0.0},
    "featurewise": FEATUREWISE,
    "swapped": {"method.update_every": 1, "method.content_every": 3},
    "bf16": recipes.BF16,
    "photos": {
        **recipes.PHOTOS,
        **recipes.halves(recipes.PHOTOS_STEPS),
        "log_every": 60,
        "image_every": 1_500,
        "checkpoint_every": 1_500,
        "method.width": 16,
        "method.discriminator.width": 16,
        "method.content_layers": 1,
    },
}


def get_config(preset: str = ""):
    epoch = recipes.IMAGES[recipes.set_of(recipes.named(preset))]
    chosen = config.update(config.defaults("drit"), SETTINGS | recipes.halves(1200 * epoch // 2))
    return config.preset(chosen, preset, PRESETS)
