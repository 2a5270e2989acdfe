"""A method that trains in milliseconds: everything a method has, and nothing of a paper.

It fits images by their mean colour through one matrix; the second phase adds noise. Run as a script, it is the
`uit` command with this method registered, for the tests that need a process of its own.
"""

import dataclasses
import functools
import os
import sys
import time
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from uit_jax import augment, collectives
from uit_jax.memory import key_queue
from uit_jax.method import Method, Network, Phase, Side
from uit_jax.settings import changed, setting
from uit_jax.state import descend

CONFIG = """
from uit_jax import config

def get_config(preset=""):
    c = config.defaults("tiny")
    return config.update(c, {
        "steps": 12, "batch_size": 4, "devices": 2, "tensorboard": False,
        "log_every": 2, "image_every": 0, "checkpoint_every": 4, "evaluate_every": 0, "report": False,
        "data.source": "procedural:count=24", "data.image_size": 16,
    })
"""


class Matrices:
    """What stands in for a Flax module: weights of given shapes."""

    def __init__(self, channels: int, width: int, domains: int):
        self.channels, self.width, self.domains = channels, width, domains

    def init(self, key, *_):
        params = {
            "mix": jax.random.normal(key, (self.channels, self.width)),
            "heads": jnp.ones((self.width, self.domains)) * jnp.arange(self.domains)[None],
        }
        return {"params": params, "stats": {"seen": jnp.zeros(())}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(Method):
    """`poison` makes a term NaN at that step, `poison_weights` the weights alone."""

    followed: ClassVar[tuple[str, ...]] = ("clusters",)
    best_metric: ClassVar[str] = "cluster_accuracy"

    image_size: int = changed(Method, "image_size", 16)
    domains: int = setting(6, "pseudo domains", low=1)
    width: int = setting(4, "entries of a code", low=1)
    guide_steps: int = setting(5, "steps of the first phase", low=0, follows="steps")
    rate: float = setting(0.1, "learning rate", above=0)
    layers: tuple[int, ...] = setting((1, 2), "a list", low=0)
    poison: int = setting(-1, "a step")
    poison_weights: int = setting(-1, "a step")
    optimizer: ClassVar[Any] = staticmethod(optax.adam)  # tests put another in its place

    @property
    def sides(self):
        return (Side("image", self.channels, labelled=True),)

    @property
    def classes(self):
        return self.domains

    def phase(self, step):
        return FIRST if step < self.guide_steps else SECOND

    @functools.cached_property
    def networks(self):
        module = Matrices(self.channels, self.width, self.domains)
        return {"model": Network(module, self.optimizer(self.rate), (), averaged=True)}

    def memory(self, key, batch_size):
        return key_queue.create(key, 8, self.width)

    def views(self, key, batch, axis_name=None):
        images = augment.normalize(batch["image"])
        keys = collectives.example_keys(key, images.shape[0], axis_name)
        noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
        return {"x": images, "noisy": images + 0.1 * noise}

    def code(self, params, images):
        return images.mean((1, 2)) @ params["mix"]

    def update(self, state, views, *, phase, axis_name=None):
        second = phase == SECOND
        x = views["noisy" if second else "x"]

        def loss_fn(params):
            codes = self.code(params["model"], x)
            terms = {
                "fit": jnp.square(codes.mean(-1, keepdims=True) - x.mean((1, 2))).mean(),
                "heads": jnp.square(codes @ params["model"]["heads"]).mean(),
            }
            if second:
                terms["second"] = jnp.square(codes - key_queue.negatives(state.memory).mean(0, keepdims=True)).mean()
            stats = {"stats": {"seen": state.learners["model"].stats["stats"]["seen"] + terms["fit"]}}
            return sum(terms.values()), ((terms, codes), {"model": stats})

        learners, (terms, codes) = descend(state.learners, self.optimizers, loss_fn, axis_name=axis_name)
        step = state.step + 1
        terms["fit"] = jnp.where(step == self.poison, jnp.nan, terms["fit"])
        model = learners["model"].average(0.9)
        spoilt = jax.tree.map(lambda p: jnp.where(step == self.poison_weights, jnp.inf, p), model.params)
        learners = {"model": model.replace(params=spoilt)}
        memory = key_queue.push(state.memory, codes, axis_name)
        return state.replace(step=step, learners=learners, memory=memory), collectives.mean(terms, axis_name)

    def variables(self, state):
        return {"params": state.learners["model"].ema}

    def read_style(self, variables, images):
        return self.code(variables["params"], images)

    def read_cluster(self, variables, images):
        return jax.nn.softmax(self.read_style(variables, images) @ variables["params"]["heads"])

    @property
    def readouts(self):
        return {"cluster": self.read_cluster, "style": self.read_style}

    def translate(self, variables, inputs):
        codes = inputs["style"] if "style" in inputs else self.read_style(variables, inputs["reference"])
        return jnp.clip(inputs["content"] + codes.mean(-1)[:, None, None, None], -1, 1)


FIRST, SECOND = Phase("first"), Phase("second")


def registered(argv: list[str]) -> int:
    """Run the `uit` command with this method registered.

    UIT_TEST_SIGNAL=NUMBER:STEP sends the process that signal at the beginning of that step; UIT_TEST_PACE is how many
    seconds each step takes at least.
    """
    from uit_jax import main, methods
    from uit_jax.training import loop

    methods.METHODS["tiny"] = Tiny
    number, _, at = os.environ.get("UIT_TEST_SIGNAL", "0:0").partition(":")
    advance = loop.Run.advance

    def interrupted(self, state, steps):
        time.sleep(float(os.environ.get("UIT_TEST_PACE", "0")))
        if int(at) - 1 in steps:
            os.kill(os.getpid(), int(number))
        return advance(self, state, steps)

    loop.Run.advance = interrupted
    return main.command(argv)


if __name__ == "__main__":
    sys.exit(registered(sys.argv[1:]))
