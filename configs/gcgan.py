"""GcGAN: Geometry-Consistent GANs for One-Sided Unsupervised Domain Mapping (Fu et al., CVPR 2019).

    uit train --config=configs/gcgan.py:horse2zebra --config.data.source=PATH --workdir=runs/gcgan
    uit translate --workdir=runs/gcgan --content=IMAGES --out=translated

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B. Images are resized to 288 px,
cropped to 256; batches of 8; 200 epochs of the larger domain, the rate constant for the first half, then falling to 0.
Expected: FID 86.7 on horse2zebra (Table 1 of CUT, arXiv:2007.15651).

Presets, several joined by commas:

    horse2zebra, summer2winter
                            a generator for each frame, as the authors have it; horse2zebra is the default
    cityscapes              the authors' at 128 px, from B to A (the published folders have the photographs in trainA)
    cat2dog, apple2orange, ginger2black
                            one generator for both frames
    flip                    upside down, not by 90 degrees
    shared, apart           one generator for both frames, or one for each
    parity                  with the decay an epoch early, as in the published code, whose last epoch stands still
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
    epochs of other data    steps = 200 max(|A|, |B|) / batch_size, half of them method.schedule.constant_steps
"""

from uit_jax import config, recipes

SETTINGS = {
    "batch_size": 8,
    "log_every": 100,
    "image_every": 2_000,
    "checkpoint_every": 2_000,
    "data.resample": "bicubic",
}

OWN = {
    "horse2zebra": {"method.shared": False},
    "summer2winter": {"method.shared": False},
    "cityscapes": {
        "batch_size": 12,
        "data.image_size": 128,
        "method.load_size": 144,
        "method.generator.blocks": 6,
        "method.identity_weight": 3.0,
    },
}


def get_config(preset: str = ""):
    data = recipes.set_of(recipes.named(preset))
    chosen = config.update(config.defaults("gcgan"), SETTINGS | OWN.get(data, {}))
    epoch = recipes.IMAGES[data] // chosen.batch_size
    config.update(chosen, recipes.halves(200 * epoch))
    small = {"batch_size": 1, "method.shared": True}
    presets = {
        **recipes.SETS,
        "flip": {"method.turn": "flip"},
        "shared": {"method.shared": True},
        "apart": {"method.shared": False},
        "parity": {"method.decay_lead": epoch},
        "bf16": recipes.BF16,
        "photos": recipes.PHOTOS_RESNET | small | recipes.halves(recipes.PHOTOS_STEPS),
    }
    return config.preset(chosen, preset, presets)
