"""Every method at a size that compiles in seconds, and every configuration of it that changes what is traced.

To add a method: its smallest hyper-parameters in `TINY`, and its configurations in `CONFIGURATIONS`, each with what
its phases train.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from tests.pieces import shapes_once
from uit_jax import methods
from uit_jax.method import Method, Phase, batch_shapes, load_size
from uit_jax.training import devices

PAIRS = dict(
    image_size=16,
    load_size=20,
    generator=dict(width=4, blocks=2),
    discriminator=dict(width=4, layers=1),
    schedule=dict(constant_steps=2, decay_steps=4),
)
PATCHES = PAIRS | dict(
    init_gain=1.0,  # with the published 0.02 narrow networks give codes of length 1e-7 and gradients of 1e3
    patches=dict(layers=(0, 4, 12), count=5, dim=8),
    negatives=dict(queue_size=64),
)
STYLED = dict(
    image_size=8,
    style_dim=4,
    width=4,
    max_width=8,
    bottleneck=4,
    blocks=1,
    queue_size=16,
    r1=dict(weight=0.01, every=2),
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
    "cluit": STYLED | dict(code_dim=8, patches=2, patch_sides=(0.25, 1.0)),
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
    "cyclegan": PAIRS | dict(pool_size=3),
    "gcgan": PAIRS | dict(pool_size=3),
    "distancegan": PAIRS | dict(pool_size=3, measuring_steps=2, measuring_reach=1),
    "selfdistance": PAIRS | dict(pool_size=3, measuring_steps=2, measuring_reach=1),
    "munit": dict(
        image_size=16,
        load_size=20,
        style_dim=4,
        generator=dict(width=4, downs=1, blocks=1, mlp_width=8),
        discriminator=dict(width=4, layers=1, scales=2),
    ),
    "drit": dict(
        image_size=16,
        load_size=20,
        style_dim=2,
        width=2,
        blocks=1,
        discriminator=dict(width=2, scales=2, layers=1),
        content_layers=0,
        schedule=dict(constant_steps=2, decay_steps=4),
    ),
    "funit": dict(
        image_size=16,
        load_size=20,
        domains=3,
        style_dim=4,
        generator=dict(width=4, downs=1, blocks=1, style_downs=2, mlp_width=8),
        discriminator=dict(width=4, stages=2),
    ),
    "semit": dict(
        image_size=16,
        load_size=20,
        domains=3,
        style_dim=4,
        generator=dict(width=2, blocks=1, mlp_width=8),
        discriminator=dict(width=4, stages=2),
        labels=dict(share=0.5, steps=0, naming_steps=1, batch_size=0, images=40, width=4, max_width=8),
    ),
    "starganv2": dict(
        image_size=8,
        domains=3,
        latent_dim=4,
        style_dim=4,
        mapping_width=8,
        width=4,
        max_width=8,
        bottleneck=4,
        blocks=1,
        style_weight=2.0,
        diversity_weight=3.0,
        diversity_steps=4,
        cycle_weight=5.0,
    ),
    "swapping_autoencoder": dict(
        image_size=8,
        structure_dim=2,
        texture_dim=4,
        encoder=dict(scale=0.125, downs=1, texture_downs=1),
        generator=dict(scale=0.03125, head_blocks=1),
        discriminator=dict(max_width=4),
        patch_discriminator=dict(scale=0.0625, max_width=4, pair_width=4),
        patches=dict(size=4, count=2, sides=(0.3, 0.9)),
        l1_weight=2.0,
        adversarial_weight=0.7,
        mix_weight=0.8,
        patch_weight=1.3,
        r1=dict(weight=0.4, every=1),
        patch_r1_weight=0.6,
        average=0.9,
    ),
}


class Configuration(NamedTuple):
    """`trains` names the learners of which a phase of translation changes the weights; other phases train `others`."""

    settings: Mapping[str, Any]
    trains: tuple[str, ...]
    others: tuple[str, ...] = ("guide",)


TRANSLATOR = ("generator", "discriminator")
GUIDED = ("guide", *TRANSLATOR)
PATCHWISE = (*TRANSLATOR, "patches")
CLUIT = (*TRANSLATOR, "encoder")
EMBEDDING = (*TRANSLATOR, "embedding")
BOTH_WAYS = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
TURNED = ("generator", "discriminator_b", "discriminator_turned")
TWO_DOMAINS = ("generator_a", "generator_b", "discriminator_a", "discriminator_b")
DOMAINED = (*TRANSLATOR, "mapping", "encoder")
SWAPPED = ("generator", "encoder"), ("discriminator", "patch_discriminator")
DISENTANGLED = (*TRANSLATOR, "content_encoder", "style_encoder", "random_discriminator", "content_discriminator")
EXTERNAL = dict(negatives=dict(kind="external"))
LAST = dict(layers=(12,), count=0)
CONFIGURATIONS = {
    "tunit": {
        "unsupervised": Configuration({}, GUIDED),
        "frozen": Configuration({"joint_training": "frozen"}, TRANSLATOR),
        "frozen_domains": Configuration({"joint_training": "frozen_domains"}, GUIDED),
        "no_feedback": Configuration({"adversarial_feedback": False}, GUIDED),
        "semi": Configuration({"labels": dict(share=0.5)}, GUIDED),
        "supervised": Configuration({"labels": dict(share=1.0)}, GUIDED),
        "heads": Configuration({"marginal_weights": (1.0, 2.0)}, GUIDED),
        "lazy": Configuration({"r1": dict(every=4), "normalize_style": True}, GUIDED),
        "quirks": Configuration({"reference_quirks": True, "labels": dict(share=0.5)}, GUIDED),
        "local": Configuration({"sync_statistics": False, "precision": "bf16"}, GUIDED),
    },
    "cluit": {
        "patches": Configuration({}, CLUIT),
        "full_image": Configuration({"patches": 0}, CLUIT),
        "no_affine": Configuration({"view": dict(degrees=0.0, translate=0.0, shear=0.0), "precision": "bf16"}, CLUIT),
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
        "external": Configuration(EXTERNAL, PATCHWISE),
        "both": Configuration({"negatives": dict(kind="both")}, PATCHWISE),
        "two_encoders": Configuration({"shared_encoder": False}, (*PATCHWISE, "output_generator", "output_patches")),
        "frozen_decoder": Configuration({"nce_trains_decoder": False, "adversarial_weight": 0.0}, PATCHWISE),
        "no_identity": Configuration({"identity": False, "average": 0.9}, PATCHWISE),
        "no_mlp": Configuration({"patches": dict(mlp=False), "gan_loss": "vanilla"}, TRANSLATOR),
        "no_contrast": Configuration({"nce_weight": 0.0}, TRANSLATOR),
        "batch_norm": Configuration({"norm": "batch", "discriminator": dict(kind="pixel")}, PATCHWISE),
        "aliased": Configuration(
            {"generator": dict(antialias=False, antialias_up=False), "patches": dict(layers=(0, 10))}, PATCHWISE
        ),
        "bf16": Configuration({"precision": "bf16", "sync_statistics": False}, PATCHWISE),
    },
    "fastcut": {
        "mirrored": Configuration({}, PATCHWISE),
        "all_patches": Configuration({"patches": LAST, "identity": True}, PATCHWISE),
        "external": Configuration(EXTERNAL, PATCHWISE),
    },
    "sincut": {
        "single": Configuration({}, PATCHWISE),
        "external": Configuration(
            EXTERNAL | {"identity": False, "identity_l1_weight": 0.0, "r1": dict(every=2)}, PATCHWISE
        ),
    },
    "cyclegan": {
        "pools": Configuration({}, BOTH_WAYS),
        "no_pool": Configuration({"pool_size": 0, "identity_weight": 0.0, "target_channels": 1}, BOTH_WAYS),
        "bf16": Configuration({"precision": "bf16", "gan_loss": "wasserstein"}, BOTH_WAYS),
    },
    "gcgan": {
        "shared": Configuration({}, TURNED),
        "apart": Configuration(
            {"shared": False, "turn": "flip", "identity_weight": 0.0, "target_channels": 1, "precision": "bf16"},
            (*TURNED, "generator_turned"),
        ),
    },
    "distancegan": {
        "both_ways": Configuration({"cycle_weight": 10.0}, BOTH_WAYS, others=()),
        "one_way": Configuration(
            {"both_ways": False, "normalize": False, "precision": "bf16"}, ("generator_ab", "discriminator_b")
        ),
    },
    "selfdistance": {"both_ways": Configuration({}, BOTH_WAYS, others=())},
    "munit": {
        "random": Configuration({}, TWO_DOMAINS),
        "cycle": Configuration({"precision": "bf16", "cycle_weight": 10.0, "gan_loss": "nonsaturating"}, TWO_DOMAINS),
    },
    "drit": {
        "concat": Configuration({}, DISENTANGLED, ("content_discriminator",)),
        "featurewise": Configuration(
            {
                "styling": "featurewise",
                "mode_seeking_weight": 0.0,
                "discriminator": dict(scales=1),
                "update_every": 1,
                "content_every": 20,
                "precision": "bf16",
            },
            DISENTANGLED,
        ),
    },
    "funit": {
        "in_place": Configuration({}, TRANSLATOR),
        "plain": Configuration(
            {"discriminator": dict(in_place=False), "r1_weight": 0.0, "precision": "bf16"}, TRANSLATOR
        ),
    },
    "semit": {
        "named": Configuration({}, TRANSLATOR, others=("classifier",)),
        "classified": Configuration({"labels": dict(steps=20)}, TRANSLATOR, others=("classifier",)),
        "given": Configuration({"labels": dict(share=1.0), "precision": "bf16"}, TRANSLATOR, others=()),
    },
    "starganv2": {
        "penalised": Configuration({}, DOMAINED),
        "unpenalised": Configuration({"r1": dict(weight=0.0), "precision": "bf16"}, DOMAINED),
    },
    "swapping_autoencoder": {
        "pooled": Configuration({}, *SWAPPED),
        "single": Configuration(
            {
                "patches": dict(pooled=False),
                "average": 0.0,
                "r1": dict(weight=0.0),
                "load_size": 10,
                "precision": "bf16",
            },
            *SWAPPED,
        ),
    },
}
# Of the methods with a memory, which all devices share, the configurations that gather what the others have.
SHARING = {
    "tunit": "unsupervised",
    "cluit": "patches",
    "embedding": "projection",
    "cut": "external",
    "fastcut": "external",
    "sincut": "external",
    "cyclegan": "pools",
    "gcgan": "shared",
    "distancegan": "both_ways",
    "selfdistance": "both_ways",
    "semit": "named",
}
CASES = [(name, configuration) for name in CONFIGURATIONS for configuration in CONFIGURATIONS[name]]


def build(name: str, configuration: str = "", **settings) -> Method:
    """Build a tiny method; settings of a group are merged into the group's. Equal methods are one, and compile once."""
    return one_of_equals(methods.build(name, values(name, configuration, **settings)))


def build_with_sgd(name: str, configuration: str = "", **settings) -> Method:
    """Build a tiny method that moves weights by their gradients alone, in proportion: no decay, no normalisation."""
    plain = build(name, configuration, **settings)
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    return one_of_equals(with_sgd(type(plain))(**fields))


def values(name: str, configuration: str = "", **settings) -> dict:
    """Return the nested settings of a tiny method."""
    chosen = CONFIGURATIONS[name][configuration].settings if configuration else {}
    return merged(merged(TINY[name], chosen), settings)


def merged(settings: Mapping, changes: Mapping) -> dict:
    """Return nested settings with some changed."""
    groups = {name for name, value in changes.items() if isinstance(value, Mapping)}
    return {**settings, **{n: merged(settings.get(n, {}), v) if n in groups else v for n, v in changes.items()}}


@functools.cache
def one_of_equals(method: Method) -> Method:
    """Return always the same of methods that are equal: what JAX compiled of a bound method goes by its identity."""
    return method


@functools.cache
def with_sgd(kind: type[Method]) -> type[Method]:
    """Return a method's class whose optimisers are all SGD; another class, as methods of one class share caches."""

    class Plain(kind):
        @functools.cached_property
        def networks(self):
            return {name: network._replace(optimizer=optax.sgd(RATE)) for name, network in super().networks.items()}

    return Plain


RATE = 1e-2
"""The step of `build_with_sgd`."""


def phases(method: Method, steps: int = 12) -> tuple[Phase, ...]:
    """Return the phases of a run's first steps, each once."""
    return tuple(dict.fromkeys(method.phase(step) for step in range(steps)))


def trained_by(name: str, configuration: str, phase: Phase) -> set[str]:
    """Return the learners that a phase trains."""
    chosen = CONFIGURATIONS[name][configuration]
    return set(chosen.trains if getattr(phase, "translates", True) else chosen.others)


def batch(size: int = 8, side: int = 8) -> dict:
    """Return one global batch of labelled images as the data pipeline yields it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, side, side, 3)).astype(np.uint8)
    return {"image": images, "label": (np.arange(size) % 3).astype(np.int32)}


def batch_of(method: Method, size: int = 8, phase: Phase | None = None) -> dict:
    """Return one global batch of the sides and sizes that a method's phase, by default the first, is fed with."""
    phase, rng, found = phase or method.phase(0), np.random.default_rng(0), {}
    own = {"a": (24, 40), "b": (36, 20)}
    for name, like in batch_shapes(method, phase, size).items():
        if len(like.shape) == 1:
            found[name] = (np.arange(like.shape[0]) % (3 if name == "label" else size)).astype(np.int32)
            continue
        sides = like.shape[1:3] if load_size(method, phase) else own[name]
        found[name] = rng.integers(0, 256, (like.shape[0], *sides, like.shape[3])).astype(like.dtype)
    return found


def first(name: str) -> str:
    """Return the name of a method's first configuration."""
    return next(iter(CONFIGURATIONS[name]))


@functools.cache
def shapes(method: Method, size: int = 8):
    """Return the shapes of a fresh state."""
    with shapes_once():
        return jax.eval_shape(lambda key: method.init(key, size), jax.random.PRNGKey(0))


def start(method: Method, size: int = 8):
    """Return a fresh state; its weights come from a generator that compiles quicker than JAX's own."""
    state = jax.jit(method.init, static_argnums=1)(jax.random.key(0, impl="rbg"), size)
    return state.replace(key=jax.random.PRNGKey(0))


def snapshot(state):
    """Copy a state to numpy, as the next step may overwrite it."""
    return jax.tree.map(np.array, state)


class Run(NamedTuple):
    """Some steps of a method: `states` before, between and after them, as numpy; `traces` counts those per phase."""

    method: Method
    views: dict
    lifted: devices.Lifted
    states: list
    metrics: list
    traces: Mapping[Phase, int]

    def again(self, state, phase: Phase):
        """Do one more step from a snapshot and return the new state's snapshot."""
        return snapshot(self.lifted.step(self.lifted.put_state(state), self.views, phase=phase)[0])


def lift(method: Method) -> tuple[devices.Lifted, Mapping[Phase, int]]:
    """Return a method's update on one device, given its views, and how often it was traced for a phase.

    Whoever updates by it has the program that others compiled.
    """
    traces = collections.Counter()

    def update(state, views, *, phase, axis_name):
        traces[phase] += 1
        return method.update(state, views, phase=phase, axis_name=axis_name)

    return devices.lift(update, "jit", devices.devices_for(1)), traces


@functools.cache
def run(name: str, configuration: str, phases: tuple[Phase, ...]) -> Run:
    """Train a tiny method for one step of each of `phases`, on the same views each time."""
    method = build_with_sgd(name, configuration)
    lifted, traces = lift(method)
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
