"""Runs of the tiny method and of kinds of it that offer more or less, without a training or a checkpoint."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from tests.tiny_method import Tiny
from uit_jax import config as configs
from uit_jax import methods
from uit_jax.runs import Trained

SIZE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling(Tiny):
    """Its styles may also be sampled, of a class or of any."""

    sampled_by_class = True

    def style_prior(self, variables, keys, domains=None):
        low = 0 if domains is None else domains[:, None]
        return low + jax.vmap(lambda key: jax.random.uniform(key, (self.width,)))(keys)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unstyled(Tiny):
    """Inverts images of any size, and knows no styles."""

    multiple = 4
    readouts = {}

    def translate(self, variables, inputs):
        return -inputs["content"]


def trained(monkeypatch, workdir, kind=Tiny, **settings) -> Trained:
    """Return a run of a kind of the tiny method, with random weights and 24 labelled images of its own."""
    monkeypatch.setitem(methods.METHODS, "tiny", kind)
    own = {"data.source": "procedural:count=24", "data.image_size": SIZE, "steps": 1, "batch_size": 4}
    config = configs.update(configs.defaults("tiny"), own | settings)
    method = configs.method_of(config)
    workdir.mkdir(parents=True, exist_ok=True)
    variables = method.variables(method.init(jax.random.key(0), 4))
    return Trained(workdir, config, method, jax.tree.map(jnp.asarray, variables), 1)


def picture(path, value=None, size=(SIZE, SIZE)):
    """Write an image of noise, or of one colour, and return its path."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise if value is None else np.full_like(noise, value)).save(path)
    return path
