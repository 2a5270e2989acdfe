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

from uit_jax import config

# Images of the larger domain of each data set.
EPOCHS = {
    "horse2zebra": 1_334,
    "cat2dog": 5_153,
    "cityscapes": 2_975,
    "apple2orange": 1_019,
    "summer2winter": 1_231,
    "ginger2black": 290,
}

SETTINGS = {
    "batch_size": 2,
    "log_every": 120,
    "image_every": 15_000,
    "checkpoint_every": 15_000,
    "data.resample": "bicubic",
}

FEATUREWISE = {"method.styling": "featurewise"}
PRESETS = {
    "drit": {"method.mode_seeking_weight": 0.0},
    "featurewise": FEATUREWISE,
    "swapped": {"method.update_every": 1, "method.content_every": 3},
    "bf16": {"precision": "bf16"},
    "photos": {
        "log_every": 60,
        "image_every": 1_500,
        "checkpoint_every": 1_500,
        "data.image_size": 64,
        "method.load_size": 72,
        "method.width": 16,
        "method.discriminator.width": 16,
        "method.content_layers": 1,
    },
}


def get_config(preset: str = ""):
    names = [name for name in preset.split(",") if name]
    chosen = config.update(config.defaults("drit"), SETTINGS)
    epoch = next((EPOCHS[name] for name in names if name in EPOCHS), EPOCHS["horse2zebra"])
    config.update(chosen, _schedule(600 * epoch))
    own = {"cat2dog": FEATUREWISE, "cityscapes": {"data.direction": "BtoA"}}
    presets = dict.fromkeys(EPOCHS, {}) | own | PRESETS
    return config.preset(chosen, ",".join(names), presets | {"photos": {**PRESETS["photos"], **_schedule(12_000)}})


def _schedule(steps: int) -> dict[str, int]:
    half = steps // 2
    return {"steps": steps, "method.schedule.constant_steps": half, "method.schedule.decay_steps": steps - half}
