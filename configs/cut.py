"""CUT and FastCUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al., ECCV 2020).

    uit train --config=configs/cut.py:horse2zebra --config.data.source=PATH --workdir=runs/cut
    uit train --config=configs/cut.py:fastcut,horse2zebra --config.data.source=PATH --workdir=runs/fastcut

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B. Images are resized to 286 px,
cropped to 256; 400 epochs of the larger domain (FastCUT 200), the rate constant for the first half (three quarters),
then falling to 0. Expected: FID 45.5 on horse2zebra, the best of training (Table 1; FastCUT 73.4).

Presets, several joined by commas:

    cut                     the default
    fastcut                 no identity term, contrastive weight 10, mirrored inputs
    horse2zebra, cat2dog, cityscapes, apple2orange, summer2winter, ginger2black
                            the length of their epochs; cityscapes, whose published folders have the photographs in
                            trainA, is translated from B to A; ginger2black are AFHQ's ginger and black cats
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator; here and
                            below FastCUT's contrastive weight is 4
    photos128               128 px, bfloat16, 60,000 steps: for ten minutes of a GPU; not run yet
    epochs of other data    steps = 400 max(|A|, |B|) / batch_size, half of them method.schedule.constant_steps
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
    names = recipes.named(preset)
    fast = "fastcut" in names
    constant, decay = (150, 50) if fast else (200, 200)
    epoch = recipes.IMAGES[recipes.set_of(names)]
    chosen = config.defaults("fastcut" if fast else "cut")
    config.update(chosen, SETTINGS | recipes.linear(constant * epoch, decay * epoch))

    def shared_out(steps: int) -> dict[str, int]:
        before = steps * constant // (constant + decay)
        return recipes.linear(before, steps - before)

    # With the paper's, 10, FastCUT's discriminator is always right in so short a training (docs/photographs.md).
    weight = {"method.nce_weight": 4.0} if fast else {}

    presets = {
        "cut": {},
        "fastcut": {},
        **recipes.SETS,
        "bf16": recipes.BF16,
        "photos": recipes.PHOTOS_RESNET | weight | shared_out(recipes.PHOTOS_STEPS),
        "photos128": recipes.PHOTOS_128 | weight | shared_out(recipes.PHOTOS_128_STEPS),
    }
    return config.preset(chosen, preset, presets)
