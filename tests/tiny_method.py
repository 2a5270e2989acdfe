"""A method that trains in milliseconds: everything a method has, and nothing of a paper.

It fits images by their mean colour through one matrix; the second phase adds noise. Run as a script, it is the
`uit` command with this method registered, for the tests that need a process of its own.
"""

import dataclasses
import os
import sys

import jax
import jax.numpy as jnp
import optax

from uit_jax import augment, collectives
from uit_jax.memory import key_queue
from uit_jax.state import Learner, TrainState, descend
from uit_jax.types import Method

CONFIG = """
from uit_jax import config

def get_config(preset=""):
    c = config.defaults("tiny")
    return config.update(c, {
        "steps": 12, "batch_size": 4, "devices": 2, "tensorboard": False,
        "log_every": 2, "image_every": 0, "checkpoint_every": 4, "evaluate_every": 0,
        "data.source": "procedural:count=24", "data.image_size": 16,
    })
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """`poison` makes a term NaN at that step, `poison_weights` the weights alone."""

    image_size: int = 16
    channels: int = 3
    precision: str = "float32"
    sync_statistics: bool = True
    domains: int = 6
    width: int = 4
    guide_steps: int = 5
    rate: float = 0.1
    stages: tuple[int, ...] = (1, 2)
    poison: int = -1
    poison_weights: int = -1


def build(settings: Settings) -> Method:
    s = settings
    txs = {"model": optax.adam(s.rate)}

    def init(key, batch) -> TrainState:
        key, weights_key, queue_key = jax.random.split(key, 3)
        params = {
            "mix": jax.random.normal(weights_key, (s.channels, s.width)),
            "heads": jnp.ones((s.width, s.domains)) * jnp.arange(s.domains)[None],
        }
        learner = Learner.create({"params": params, "stats": {"seen": jnp.zeros(())}}, txs["model"], averaged=True)
        return TrainState(jnp.int32(0), key, {"model": learner}, key_queue.create(queue_key, 8, s.width))

    def views(key, batch, axis_name=None):
        images = augment.normalize(batch["image"])
        keys = collectives.example_keys(key, images.shape[0], axis_name)
        noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
        return {"x": images, "noisy": images + 0.1 * noise}

    def code(params, images):
        return images.mean((1, 2)) @ params["mix"]

    def update(state, batch, *, phase, axis_name=None):
        x = batch["noisy" if phase == "second" else "x"]

        def loss_fn(params):
            codes = code(params["model"], x)
            terms = {
                "fit": jnp.square(codes.mean(-1, keepdims=True) - x.mean((1, 2))).mean(),
                "heads": jnp.square(codes @ params["model"]["heads"]).mean(),
            }
            if phase == "second":
                terms["second"] = jnp.square(codes - key_queue.negatives(state.memory).mean(0, keepdims=True)).mean()
            stats = {"stats": {"seen": state.learners["model"].stats["stats"]["seen"] + terms["fit"]}}
            return sum(terms.values()), ((terms, codes), {"model": stats})

        learners, (terms, codes) = descend(state.learners, txs, loss_fn, axis_name=axis_name)
        step = state.step + 1
        terms["fit"] = jnp.where(step == s.poison, jnp.nan, terms["fit"])
        model = learners["model"].average(0.9)
        spoilt = jax.tree.map(lambda p: jnp.where(step == s.poison_weights, jnp.inf, p), model.params)
        learners = {"model": model.replace(params=spoilt)}
        memory = key_queue.push(state.memory, codes, axis_name)
        return state.replace(step=step, learners=learners, memory=memory), collectives.mean(terms, axis_name)

    def variables(state):
        return {"params": state.learners["model"].ema}

    def style(variables, images):
        return code(variables["params"], images)

    def cluster(variables, images):
        return jax.nn.softmax(style(variables, images) @ variables["params"]["heads"])

    def translate(variables, inputs):
        codes = inputs["style"] if "style" in inputs else style(variables, inputs["reference"])
        return jnp.clip(inputs["content"] + codes.mean(-1)[:, None, None, None], -1, 1)

    return Method(
        init=init,
        phase=lambda step: "first" if step < s.guide_steps else "second",
        stream=lambda phase: "all",
        batch_size=lambda phase, size: size,
        views=views,
        update=update,
        variables=variables,
        translate=translate,
        readouts={"cluster": cluster, "style": style},
    )


def registered(argv: list[str]) -> int:
    """Run the `uit` command with this method registered.

    UIT_TEST_SIGNAL=NUMBER:STEP sends the process that signal at the beginning of that step.
    """
    from uit_jax import main, methods
    from uit_jax.training import loop as run

    methods.METHODS["tiny"] = (Settings, build)
    number, _, at = os.environ.get("UIT_TEST_SIGNAL", "0:0").partition(":")
    advance = run.Run.advance

    def interrupted(self, state, step):
        if step == int(at):
            os.kill(os.getpid(), int(number))
        return advance(self, state, step)

    run.Run.advance = interrupted
    return main.main(argv)


if __name__ == "__main__":
    sys.exit(registered(sys.argv[1:]))
