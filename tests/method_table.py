"""Every method at a size that compiles in seconds, and every configuration of it that changes what is traced.

To add a method: its smallest hyper-parameters in `TINY`, and its configurations in `CONFIGURATIONS`, each with what
its phases train.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from uit_jax import methods, optimizers
from uit_jax.training import devices as parallel

PATCHES = dict(
    image_size=16,
    load_size=20,
    generator=dict(width=4, blocks=2),
    discriminator=dict(width=4, layers=1),
    init_gain=1.0,  # with the published 0.02 narrow networks give codes of length 1e-7 and gradients of 1e3
    patches=dict(layers=(0, 4, 12), count=5, dim=8),
    negatives=dict(queue_size=64),
    schedule=dict(constant_steps=2, decay_steps=4),
)
STYLED = dict(
    image_size=8,
    style_dim=4,
    width=4,
    max_width=8,
    bottleneck=4,
    blocks=1,
    queue_size=16,
    r1_weight=0.01,
    r1_every=2,
)
TINY = {
    "tunit": dict(
        image_size=8,
        domains=3,
        style_dim=4,
        guide=dict(width=4, stages=(1, 1)),
        generator=dict(width=4, bottleneck=4, blocks=1, mlp_width=16),
        discriminator=dict(width=4, blocks=1),
        labels=dict(steps=1, cycle_steps=4),
        queue_size=16,
        r1=dict(weight=0.01),
        guide_steps=2,
        average_start=3,
    ),
    "cluit": STYLED | dict(code_dim=8, patches=2, patch_range=(0.25, 1.0)),
    "embedding": STYLED,
    "cut": PATCHES,
    "fastcut": PATCHES,
    "sincut": dict(
        image_size=16,
        generator=dict(width=1),
        discriminator=dict(width=1),
        patches=dict(dim=8),
        negatives=dict(queue_size=32),
        crops=2,
        schedule=dict(constant_steps=2, decay_steps=4),
    ),
}


class Configuration(NamedTuple):
    """`trains` names the learners of which a joint phase changes the weights; "guide" phases train the guide."""

    hparams: dict
    trains: tuple[str, ...] = ("guide", "generator", "discriminator")


EXTERNAL = dict(kind="external", queue_size=64)
LAST = PATCHES["patches"] | dict(layers=(12,), count=0)
PATCHWISE = ("generator", "discriminator", "patches")
TRANSLATOR = ("generator", "discriminator")
CLUIT = ("generator", "encoder", "discriminator")
EMBEDDING = ("generator", "embedding", "discriminator")
CONFIGURATIONS = {
    "tunit": {
        "unsupervised": Configuration({}),
        "frozen": Configuration({"joint_training": "frozen"}, TRANSLATOR),
        "frozen_domains": Configuration({"joint_training": "frozen_domains"}),
        "no_feedback": Configuration({"adversarial_feedback": False}),
        "semi": Configuration({"labels": dict(share=0.5, steps=1, cycle_steps=4)}),
        "supervised": Configuration({"labels": dict(share=1.0)}),
        "heads": Configuration({"marginal_weights": (1.0, 2.0)}),
        "lazy": Configuration({"r1": dict(weight=0.01, every=4), "normalize_style": True}),
        "quirks": Configuration({"reference_quirks": True, "labels": dict(share=0.5, steps=1, cycle_steps=4)}),
        "local": Configuration({"sync_statistics": False, "precision": "bf16"}),
    },
    "cluit": {
        "patches": Configuration({}, CLUIT),
        "full_image": Configuration({"patches": 0}, CLUIT),
        "no_affine": Configuration({"degrees": 0.0, "translate": 0.0, "shear": 0.0, "precision": "bf16"}, CLUIT),
    },
    "embedding": {
        "projection": Configuration({}, EMBEDDING),
        "logit": Configuration({"conditioning": "logit"}, EMBEDDING),
        "labels": Configuration({"labelled_share": 0.5}, EMBEDDING),
        "bf16": Configuration({"precision": "bf16", "mismatch_weight": 0.0}, EMBEDDING),
    },
    "cut": {
        "internal": Configuration({}, PATCHWISE),
        "minibatch": Configuration({"negatives": dict(kind="minibatch"), "patches": LAST}, PATCHWISE),
        "external": Configuration({"negatives": EXTERNAL}, PATCHWISE),
        "both": Configuration({"negatives": EXTERNAL | dict(kind="both")}, PATCHWISE),
        "two_encoders": Configuration({"shared_encoder": False}, (*PATCHWISE, "output_generator", "output_patches")),
        "frozen_decoder": Configuration({"nce_trains_decoder": False, "adversarial_weight": 0.0}, PATCHWISE),
        "no_identity": Configuration({"identity": False, "average": 0.9}, PATCHWISE),
        "no_mlp": Configuration({"patches": PATCHES["patches"] | dict(mlp=False), "gan_loss": "vanilla"}, TRANSLATOR),
        "no_contrast": Configuration({"nce_weight": 0.0}, TRANSLATOR),
        "batch_norm": Configuration({"norm": "batch", "discriminator": dict(kind="pixel", width=4)}, PATCHWISE),
        "aliased": Configuration(
            {
                "generator": PATCHES["generator"] | dict(antialias=False, antialias_up=False),
                "patches": PATCHES["patches"] | dict(layers=(0, 10)),
            },
            PATCHWISE,
        ),
        "bf16": Configuration({"precision": "bf16", "sync_statistics": False}, PATCHWISE),
    },
    "fastcut": {
        "mirrored": Configuration({}, PATCHWISE),
        "all_patches": Configuration({"patches": LAST, "identity": True}, PATCHWISE),
        "external": Configuration({"negatives": EXTERNAL}, PATCHWISE),
    },
    "sincut": {
        "single": Configuration({}, PATCHWISE),
        "external": Configuration(
            {
                "negatives": EXTERNAL | dict(queue_size=32),
                "identity": False,
                "identity_l1_weight": 0.0,
                "r1": dict(every=2),
            },
            PATCHWISE,
        ),
    },
}
# The configurations that gather what the other devices have: a queue that they share.
SHARING = {
    "tunit": "unsupervised",
    "cluit": "patches",
    "embedding": "projection",
    "cut": "external",
    "fastcut": "external",
    "sincut": "external",
}
CASES = [(name, configuration) for name in CONFIGURATIONS for configuration in CONFIGURATIONS[name]]


@contextlib.contextmanager
def quick_compile():
    """Compile in half the time what runs for milliseconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def build(name: str, configuration: str = "", **hparams):
    """Build a tiny method."""
    chosen = CONFIGURATIONS[name][configuration].hparams if configuration else {}
    return methods.build(name, **{**TINY[name], **chosen, **hparams})


def phases(method, steps: int = 12) -> tuple[str, ...]:
    """Return the phases of a run's first steps, each once."""
    return tuple(dict.fromkeys(method.phase(step) for step in range(steps)))


def batch(size: int = 8, side: int = 8) -> dict:
    """Return one global batch as the data pipeline yields it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, side, side, 3)).astype(np.uint8)
    return {"image": images, "label": (np.arange(size) % 3).astype(np.int32)}


def batch_of(method, size: int = 8, phase: str = "") -> dict:
    """Return one global batch of the layout and sizes that a method's phase, by default the first, is fed with."""
    if method.layout == "single":
        return batch(size)
    side = method.load_size(phase or method.phase(0))
    shapes = {"a": (side, side), "b": (side, side)} if side else {"a": (24, 40), "b": (36, 20)}
    rng = np.random.default_rng(0)
    return {k: rng.integers(0, 256, (size, *shape, 3)).astype(np.uint8) for k, shape in shapes.items()}


def first(name: str) -> str:
    """Return the name of a method's first configuration."""
    return next(iter(CONFIGURATIONS[name]))


def shapes(method, size: int = 8):
    """Return the shapes of a fresh state."""
    return jax.eval_shape(method.init, jax.random.PRNGKey(0), batch_of(method, size))


def start(method, size: int = 8):
    """Return a fresh state; its weights come from a generator that compiles quicker than JAX's own."""
    state = jax.jit(method.init)(jax.random.key(0, impl="rbg"), batch_of(method, size))
    return state.replace(key=jax.random.PRNGKey(0))


def snapshot(state):
    """Copy a state to numpy, as the next step may overwrite it."""
    return jax.tree.map(np.array, state)


def update_over_devices(method, phase: str, axis_name: str = "data"):
    """Return the update over a leading device axis of the views, which refuses results that differ by device."""
    update = functools.partial(method.update, phase=phase, axis_name=axis_name)
    return jax.vmap(update, in_axes=(None, 0), out_axes=None, axis_name=axis_name)


def build_with_sgd(name: str, configuration: str = "", **hparams):
    """Build a tiny method that moves weights by their gradients alone, in proportion: no decay, no normalisation."""
    with pytest.MonkeyPatch.context() as patch:
        for optimizer in ("adam", "rmsprop"):
            patch.setattr(optimizers, optimizer, lambda *_, **__: optax.sgd(1e-2))
        return build(name, configuration, **hparams)


class Run(NamedTuple):
    """Some steps of a method: `states` before, between and after them, as numpy; `traces` counts those per phase."""

    method: Any
    views: dict
    lifted: parallel.Lifted
    states: list
    metrics: list
    traces: dict

    def again(self, state, phase: str):
        """Do one more step from a snapshot and return the new state's snapshot."""
        return snapshot(self.lifted.step(self.lifted.put_state(state), self.views, phase=phase)[0])


@functools.cache
def run(name: str, configuration: str, phases: tuple[str, ...]) -> Run:
    """Train a tiny method for one step of each of `phases`, on the same views each time."""
    method = build_with_sgd(name, configuration)
    traces = dict.fromkeys(phases, 0)

    def update(state, views, *, phase, axis_name):
        traces[phase] += 1
        return method.update(state, views, phase=phase, axis_name=axis_name)

    lifted = parallel.lift(update, "jit", parallel.devices_for(1))
    views = jax.jit(method.views)(jax.random.key(1), batch_of(method))
    state = lifted.put_state(start(method))
    states, metrics = [snapshot(state)], []
    for phase in phases:
        state, terms = lifted.step(state, views, phase=phase)
        states.append(snapshot(state))
        metrics.append(jax.device_get(terms))
    return Run(method, views, lifted, states, metrics, traces)


def changed(before, after) -> bool:
    """Say whether any leaf of two trees differs."""
    leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any((one != other).any() for one, other in leaves)
