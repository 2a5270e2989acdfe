"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al., ICCV 2017).

    uit train --config=configs/cyclegan.py:horse2zebra --config.data.source=PATH --workdir=runs/cyclegan
    uit translate --workdir=runs/cyclegan --content=IMAGES --out=translated

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B. Images are resized to 286 px,
cropped to 256; 200 epochs of the larger domain, the rate constant for the first half, then falling to 0. Expected: FID
77.2 on horse2zebra (Table 1 of CUT, arXiv:2007.15651).

Presets, several joined by commas:

    horse2zebra, cat2dog, cityscapes, apple2orange, summer2winter, ginger2black
                            the length of their epochs; horse2zebra is the default; cityscapes, whose published folders
                            have the photographs in trainA, is translated from B to A
    parity                  with the decay an epoch early, as in the published code, whose last epoch stands still
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
    epochs of other data    steps = 200 max(|A|, |B|) / batch_size, half of them method.schedule.constant_steps
"""

from uit_jax import config, recipes

SETTINGS = {
    "batch_size": 1,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
    "data.resample": "bicubic",
}


def get_config(preset: str = ""):
    epoch = recipes.IMAGES[recipes.set_of(recipes.named(preset))]
    chosen = config.update(config.defaults("cyclegan"), SETTINGS | recipes.halves(200 * epoch))
    presets = {
        **recipes.SETS,
        "parity": {"method.decay_lead": epoch},
        "bf16": recipes.BF16,
        "photos": recipes.PHOTOS_RESNET | recipes.halves(recipes.PHOTOS_STEPS),
    }
    return config.preset(chosen, preset, presets)
