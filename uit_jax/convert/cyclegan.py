"""CycleGAN's networks under the names and layouts of the published PyTorch code, both ways.

The published code keeps each network in a file of its own, NAME_net_G_A.pth, and so on, a plain state_dict. G_A
translates A to B and D_A discriminates B; G_B and D_B are those of the other direction.
"""

import functools
from collections.abc import Mapping

import numpy as np

from uit_jax.convert import resnet, state_dicts
from uit_jax.convert.state_dicts import Named, Tensors
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"G_A": "generator_ab", "G_B": "generator_ba", "D_A": "discriminator_b", "D_B": "discriminator_a"}


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort tensors by network: "G_A", "G_B", "D_A", "D_B" -> its state_dict.

    The name of its network stands before each tensor's, `G_A.` or `net_G_A.`: the two directions' networks have the
    same names, so that a published file does not tell which one it is.

    Raises:
      UserError: there is no network of CycleGAN among them.
    """
    return state_dicts.sort("CycleGAN", LEARNERS, tensors, {})


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    return state_dicts.read_settings("CycleGAN", READERS, found)


def _generator(tensors: Tensors, inputs: str, outputs: str) -> dict:
    read = resnet.read_generator(tensors)
    shape = {name: read[name] for name in ("width", "blocks")}
    return {"generator": shape, inputs: read["channels"], outputs: read["target_channels"]}


def _discriminator(tensors: Tensors, images: str) -> dict:
    read = resnet.read_discriminator(tensors)
    return {"discriminator": {name: read[name] for name in ("width", "layers")}, images: read["channels"]}


READERS = {
    "G_A": functools.partial(_generator, inputs="channels", outputs="target_channels"),
    "G_B": functools.partial(_generator, inputs="target_channels", outputs="channels"),
    "D_A": functools.partial(_discriminator, images="target_channels"),
    "D_B": functools.partial(_discriminator, images="channels"),
}


def _names(network: str, variables: PyTree) -> Named:
    named = resnet.generator_names if network.startswith("G") else resnet.discriminator_names
    return named(variables, antialias=False)


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Statistics of instance norms, which files of old versions hold and nothing reads, are left out.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, _names(network, like), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict."""
    return state_dicts.give(_names(network, variables), variables)


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state; the others and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    learners = {}
    for network, given in networks(tensors).items():
        learner = state.learners[LEARNERS[network]]
        variables = import_network(network, given, learner.variables)
        learners[LEARNERS[network]] = state_dicts.started(learner, variables)
    return state.with_learners(learners)


def export_state(state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks: "G_A", "G_B", "D_A" and "D_B"."""
    return {network: export_network(network, state.learners[name].variables) for network, name in LEARNERS.items()}
