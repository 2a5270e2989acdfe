"""DistanceGAN and SelfDistance: One-Sided Unsupervised Domain Mapping (Benaim and Wolf, NeurIPS 2017).

    uit train --config=configs/distancegan.py:horse2zebra --config.data.source=PATH --workdir=runs/distancegan
    uit train --config=configs/distancegan.py:self,horse2zebra --config.data.source=PATH --workdir=runs/selfdistance
    uit translate --workdir=runs/distancegan --content=IMAGES --out=translated

PATH holds trainA and trainB, or is domain A with --config.data.target=PATH for domain B. Images are resized to 286 px,
cropped to 256; batches of 2. The distances in both domains are measured first, in 900 batches or as many as there are;
then 200 epochs of the larger domain, the rate constant through the 101st, then falling. Expected: FID 72.0 on
horse2zebra, SelfDistance 80.8 (Table 1 of CUT, arXiv:2007.15651).

Presets, several joined by commas:

    self                    SelfDistance: distances between the halves of an image
    horse2zebra, cat2dog, cityscapes, apple2orange, summer2winter, ginger2black
                            the length of their epochs; horse2zebra is the default; cityscapes, whose published folders
                            have the photographs in trainA, is translated from B to A
    one_way                 A to B alone, which is what the other way does nothing to
    cycles                  with the cycles of CycleGAN, of weight 10
    bf16                    activations in bfloat16
    photos                  64 px, narrow networks, 12,000 steps: for a processor without accelerator
    epochs of other data    steps = method.measuring_steps + 200 max(|A|, |B|) / batch_size; of the 200 epochs,
                            method.schedule.constant_steps has 101 and decay_steps 99
"""

from uit_jax import config, recipes

MEASURED = 900  # batches at most from which the published code takes the distances of a domain

SETTINGS = {
    "batch_size": 2,
    "log_every": 100,
    "image_every": 5_000,
    "checkpoint_every": 5_000,
}


def get_config(preset: str = ""):
    names = recipes.named(preset)
    chosen = config.update(config.defaults("selfdistance" if "self" in names else "distancegan"), SETTINGS)
    epoch = recipes.IMAGES[recipes.set_of(names)] // chosen.batch_size
    config.update(chosen, _schedule(min(MEASURED, epoch), 101 * epoch, 99 * epoch))
    presets = {
        "self": {},
        **recipes.SETS,
        "one_way": {"method.both_ways": False},
        "cycles": {"method.cycle_weight": 10.0},
        "bf16": recipes.BF16,
        "photos": recipes.PHOTOS_RESNET | _schedule(300, 5_900, 5_800),
    }
    return config.preset(chosen, preset, presets)


def _schedule(measured: int, constant: int, decay: int) -> dict[str, int]:
    return recipes.linear(constant, decay, before=measured) | {"method.measuring_steps": measured}
