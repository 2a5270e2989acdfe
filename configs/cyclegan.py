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

from uit_jax import config

# Images of the larger domain of each data set: the steps of an epoch.
EPOCHS = {
    "horse2zebra": 1_334,
    "cat2dog": 5_153,
    "cityscapes": 2_975,
    "apple2orange": 1_019,
    "summer2winter": 1_231,
    "ginger2black": 290,
}

SETTINGS = {
    "batch_size": 1,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
    "data.resample": "bicubic",
}

PRESETS = {
    "bf16": {"precision": "bf16"},
    "photos": {
        "log_every": 50,
        "image_every": 1_000,
        "checkpoint_every": 1_000,
        "data.image_size": 64,
        "method.load_size": 72,
        "method.generator.width": 32,
        "method.generator.blocks": 6,
        "method.discriminator.width": 32,
    },
}


def get_config(preset: str = ""):
    names = [name for name in preset.split(",") if name]
    chosen = config.update(config.defaults("cyclegan"), SETTINGS)
    epoch = next((EPOCHS[name] for name in names if name in EPOCHS), EPOCHS["horse2zebra"])
    config.update(chosen, _schedule(200 * epoch))
    lengths = dict.fromkeys(EPOCHS, {}) | {"cityscapes": {"data.direction": "BtoA"}}
    photos = {**PRESETS["photos"], **_schedule(12_000)}
    presets = {**lengths, "parity": {"method.decay_lead": epoch}, **PRESETS, "photos": photos}
    return config.preset(chosen, ",".join(names), presets)


def _schedule(steps: int) -> dict[str, int]:
    half = steps // 2
    return {"steps": steps, "method.schedule.constant_steps": half, "method.schedule.decay_steps": steps - half}
