"""The networks of CUT, FastCUT and SinCUT under the names and layouts of the published PyTorch code, both ways.

The published code keeps each network in a file of its own, NAME_net_G.pth, NAME_net_D.pth and NAME_net_F.pth (the patch
MLPs), a plain state_dict.
"""

from collections.abc import Mapping

import numpy as np

from uit_jax.convert import resnet, state_dicts, stylegan2
from uit_jax.convert.state_dicts import Named, Tensors
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"G": "generator", "D": "discriminator", "F": "patches"}
ROOTS = {"encoder": "G", "decoder": "G", "net": "D", "convs": "D", "final_conv": "D", "final_linear": "D"}


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "G", "D", "F" -> its state_dict.

    Takes the file of one network, told by the names in it, or one of several with `G.`, `net_G.` and so on before
    each name; the `module.` of distributed training is dropped.

    Raises:
      UserError: there is no network of CUT among them.
    """
    names = [name.removeprefix("module.") for name in tensors]
    # Generators and discriminators are both called "model"; generators alone have residual blocks.
    roots = {"model": "G" if any(".conv_block." in name for name in names) else "D"}
    roots |= {root: "F" for root in (name.split(".")[0] for name in names) if root.startswith("mlp_")}
    return state_dicts.sort("CUT", LEARNERS, tensors, ROOTS | roots)


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from the shapes of G, D and F, as far as they are there: nested.

    The layers that the patch loss compares are not in the files.

    Raises:
      UserError: a network is none of the published ones.
    """
    return state_dicts.read_settings("CUT", {"G": _generator, "D": _discriminator, "F": _patches}, found)


def _generator(tensors: Tensors) -> dict:
    styled = any(name.startswith("encoder.") for name in tensors)
    read = (stylegan2 if styled else resnet).read_generator(tensors)
    own = {name: read.pop(name) for name in ("width", "blocks", "antialias", "antialias_up") if name in read}
    return {"generator": own, **read}


def _discriminator(tensors: Tensors) -> dict:
    styled = any(name.startswith("convs.") for name in tensors)
    read = (stylegan2 if styled else resnet).read_discriminator(tensors)
    own = {name: read.pop(name) for name in ("kind", "width", "layers") if name in read}
    # One setting for both networks.
    shared = {"generator": {"antialias": read.pop("antialias")}} if "antialias" in read else {}
    return {"discriminator": own, "target_channels": read.pop("channels"), **shared, **read}


def _patches(tensors: Tensors) -> dict:
    return {"patches": {"dim": len(tensors["mlp_0.0.weight"])}}


def _names(network: str, variables: PyTree, antialias: bool) -> Named:
    """Yield every name of a network with the entry of `variables` it stands for, or the constant."""
    params = variables["params"]
    if network == "F":
        return resnet.patch_names(variables)
    if network == "G":
        styled = "stem" in params and "down" in params
        return stylegan2.generator_names(variables) if styled else resnet.generator_names(variables, antialias)
    styled = "dense" in params
    return stylegan2.discriminator_names(variables) if styled else resnet.discriminator_names(variables, antialias)


def import_network(network: str, tensors: Tensors, like: PyTree, *, antialias: bool = True) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Args:
      network: "G", "D" or "F".
      like: Flax variables or their shapes, which tell the kind of network, depth and widths.
      antialias: whether the network blurs before it halves, which shifts the names and leaves no trace in the shapes.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, _names(network, like, antialias), like)


def export_network(network: str, variables: PyTree, *, antialias: bool = True) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    return state_dicts.give(_names(network, variables, antialias), variables)


def import_state(tensors: Tensors, state: TrainState, *, antialias: bool = True) -> TrainState:
    """Put the networks of one or several files into a state; running averages start at them.

    Networks that the files lack and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, one does not fit, or one is there that the model has not.
    """
    learners = {}
    for network, given in networks(tensors).items():
        name = LEARNERS[network]
        if name not in state.learners:
            raise state_dicts.left_out(network)
        learner = state.learners[name]
        variables = import_network(network, given, learner.variables, antialias=antialias)
        learners[name] = state_dicts.started(learner, variables)
    return state.with_learners(learners)


def export_state(
    state: TrainState, *, antialias: bool = True, averaged: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks, "G", "D" and "F"; their running averages where `averaged`."""
    found = {}
    for network, name in LEARNERS.items():
        if learner := state.learners.get(name):
            chosen = learner.averaged if averaged and learner.ema is not None else learner.variables
            found[network] = export_network(network, chosen, antialias=antialias)
    return found
