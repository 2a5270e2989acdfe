"""TUNIT on the procedural world, in the time of a coffee on two processor cores: what `make demo` runs.

    uit train --config=configs/demo.py --workdir=demo

Six species of objects, unlabelled, at 32 px; 750 iterations of the guiding network alone, then 850 of all networks.
For photographs there is configs/tunit.py:photos, whose networks are as narrow. Three settings answer to the world:

- The second view turns hues further (0.2 for 0.125), for hue is not what images are to be sorted by.
- Six clustering heads of marginal weights 1 to 1.2 train side by side, and the one with the largest mutual information
  is kept. After 600 iterations a single head of weight 1 had merged two species on three seeds of four; of three
  seeds with five heads of weight 1 one still did, and of two with five heads of weight 1.2 one never left the start.
- Reconstruction weighs 3: with 1, the ground's colour, which no species owns, was slow to follow the reference.
"""

from uit_jax import config, recipes

SETTINGS = {
    **recipes.SMALL_GUIDED,
    "steps": 1_600,
    "data.image_size": 32,
    "method.domains": 6,
    "method.guide_steps": 750,
    "method.average_start": 750,
    "method.view.hue": 0.2,
    "method.view.translate": 0.15,
}


def get_config(preset: str = ""):
    return config.preset(config.update(config.defaults("tunit"), SETTINGS), preset, {})
