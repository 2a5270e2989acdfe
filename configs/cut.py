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
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
    epochs of other data    steps = 400 max(|A|, |B|) / batch_size, half of them method.schedule.constant_steps
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
        "steps": 12_000,
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
    fast = "fastcut" in names
    chosen = config.defaults("fastcut" if fast else "cut")
    config.update(chosen, SETTINGS)
    epochs = (150, 50) if fast else (200, 200)
    lengths = {name: _schedule(steps, *epochs) for name, steps in EPOCHS.items()}
    config.update(chosen, lengths["horse2zebra"])
    lengths["cityscapes"]["data.direction"] = "BtoA"
    photos = {**PRESETS["photos"], **_shares(PRESETS["photos"]["steps"], *epochs)}
    return config.preset(chosen, ",".join(names), {"cut": {}, "fastcut": {}, **lengths, **PRESETS, "photos": photos})


def _shares(steps: int, constant: int, decay: int) -> dict[str, int]:
    """Divide steps as epochs are divided."""
    constant = steps * constant // (constant + decay)
    return {"method.schedule.constant_steps": constant, "method.schedule.decay_steps": steps - constant}


def _schedule(epoch: int, constant: int, decay: int) -> dict[str, int]:
    return {
        "steps": epoch * (constant + decay),
        "method.schedule.constant_steps": epoch * constant,
        "method.schedule.decay_steps": epoch * decay,
    }
