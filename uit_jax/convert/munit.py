"""MUNIT's networks under the names and layouts of the published PyTorch code, both ways.

The published code keeps both domains' generators in one file, gen_NUMBER.pt, as {"a": state_dict, "b": state_dict},
and both domains' discriminators in another, dis_NUMBER.pt. In them are statistics of adaptive norms that nothing reads:
they are left out on the way in, and written as the zeros and ones that they are on the way out.
"""

import re
from collections.abc import Mapping

import numpy as np

from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import LINEAR, SAME, Entry, Named, Tensors, at, layer, numbered, places
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {
    "gen_a": "generator_a",
    "gen_b": "generator_b",
    "dis_a": "discriminator_a",
    "dis_b": "discriminator_b",
}
KINDS = {"enc_style": "gen", "enc_content": "gen", "dec": "gen", "mlp": "gen", "cnns": "dis"}


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort tensors by network: "gen_a", "gen_b", "dis_a", "dis_b" -> its state_dict.

    Takes those of a published file, `a.` or `b.` before each name, of both files together, or with whole names of
    networks, `gen_a.`.

    Raises:
      UserError: there is no network of MUNIT among them.
    """
    return state_dicts.sort("MUNIT", LEARNERS, {_whole(name): value for name, value in tensors.items()}, {})


def _whole(name: str) -> str:
    """Put the kind of its network before the name of a published file's tensor."""
    match = re.fullmatch(r"[ab]\.(?:module\.)?(\w+)\..+", name)
    return f"{KINDS[match[1]]}_{name}" if match and match[1] in KINDS else name


# --- what the shapes tell ---


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    return state_dicts.read_settings("MUNIT", READERS, found)


def _generator(tensors: Tensors) -> dict:
    width, channels = tensors["enc_content.model.0.conv.weight"].shape[:2]
    mlp_width, style_dim = tensors["mlp.model.0.fc.weight"].shape
    shape = {
        "width": width,
        "downs": len(places(tensors, r"enc_content\.model\.(\d+)\.conv\.weight")) - 1,
        "blocks": len(places(tensors, r"enc_content\.model\.\d+\.model\.(\d+)\.model\.0\.conv\.weight")),
        "mlp_width": mlp_width,
    }
    return {"channels": channels, "style_dim": style_dim, "generator": shape}


def _discriminator(tensors: Tensors) -> dict:
    width, channels = tensors["cnns.0.0.conv.weight"].shape[:2]
    shape = {
        "width": width,
        "layers": len(places(tensors, r"cnns\.0\.(\d+)\.conv\.weight")),
        "scales": len(places(tensors, r"cnns\.(\d+)\.0\.conv\.weight")),
    }
    return {"channels": channels, "discriminator": shape}


READERS = {"gen_a": _generator, "gen_b": _generator, "dis_a": _discriminator, "dis_b": _discriminator}


# --- the names ---


def encoder_names(variables: PyTree, theirs: str, ours: str = "encoder") -> Named:
    """Yield the names of a content encoder, which is FUNIT's and TUNIT's too."""
    params = variables["params"][ours]
    downs, blocks = numbered(params, "down_"), numbered(params, "block_")
    yield from layer(variables, f"{theirs}.model.0.conv", f"{ours}/stem/conv")
    for index in range(downs):
        yield from layer(variables, f"{theirs}.model.{index + 1}.conv", f"{ours}/down_{index}/conv")
    for block, index in np.ndindex(blocks, 2):
        inner = f"{theirs}.model.{downs + 1}.model.{block}.model.{index}"
        yield from layer(variables, f"{inner}.conv", f"{ours}/block_{block}/conv_{index}/conv")


def style_names(variables: PyTree, theirs: str, ours: str = "style") -> Named:
    """Yield the names of a style encoder, which is FUNIT's too."""
    downs = numbered(variables["params"][ours], "down_")
    yield from layer(variables, f"{theirs}.model.0.conv", f"{ours}/stem/conv")
    for index in range(downs):
        yield from layer(variables, f"{theirs}.model.{index + 1}.conv", f"{ours}/down_{index}/conv")
    # The mean over the image has a number of its own.
    yield from layer(variables, f"{theirs}.model.{downs + 2}", f"{ours}/code/conv")


def decoder_names(variables: PyTree, theirs: str, ours: str = "decoder", *, adaptive: bool = True) -> Named:
    """Yield the names of a decoder, which is FUNIT's and TUNIT's too, and of the perceptron that reads its style.

    Args:
      adaptive: whether norms where it enlarges that have no weights of their own take them of the style.
    """
    params = variables["params"][ours]
    ups = numbered(params, "up_")
    for block, index in np.ndindex(numbered(params, "block_"), 2):
        inner = f"{theirs}.model.0.model.{block}.model.{index}"
        yield from _normed(variables, inner, f"{ours}/block_{block}/conv_{index}/conv")
    for index in range(ups):
        norm, theirs_up = f"norm_{index}" if f"norm_{index}" in params else "", f"{theirs}.model.{2 * index + 2}"
        if norm or adaptive:
            yield from _normed(variables, theirs_up, f"{ours}/up_{index}/conv", norm)
        else:
            yield from layer(variables, f"{theirs_up}.conv", f"{ours}/up_{index}/conv")
    yield from layer(variables, f"{theirs}.model.{2 * ups + 1}.conv", f"{ours}/image/conv")
    for index in range(numbered(variables["params"], "mlp_")):
        yield from layer(variables, f"mlp.model.{index}.fc", f"mlp_{index}", LINEAR)


def _normed(variables: PyTree, theirs: str, ours: str, norm: str = "") -> Named:
    """Yield a convolution and the norm behind it: a layer norm of ours, or an adaptive one with its unread buffers."""
    path = ours.split("/")
    features = at(variables["params"], path)["kernel"].shape[-1]
    if norm:
        for leaf in ("gamma", "beta"):
            yield f"{theirs}.norm.{leaf}", Entry(("params", path[0], norm, leaf), SAME)
    else:
        yield f"{theirs}.norm.running_mean", np.zeros(features, np.float32)
        yield f"{theirs}.norm.running_var", np.ones(features, np.float32)
    yield from layer(variables, f"{theirs}.conv", ours)


def _generator_names(variables: PyTree) -> Named:
    yield from style_names(variables, "enc_style")
    yield from encoder_names(variables, "enc_content")
    yield from decoder_names(variables, "dec")


def _discriminator_names(variables: PyTree) -> Named:
    params = variables["params"]
    for scale in range(numbered(params, "logits_")):
        layers = numbered(params, f"conv_{scale}_")
        for index in range(layers):
            yield from layer(variables, f"cnns.{scale}.{index}.conv", f"conv_{scale}_{index}/conv")
        yield from layer(variables, f"cnns.{scale}.{layers}", f"logits_{scale}/conv")


def _names(network: str, variables: PyTree) -> Named:
    return (_generator_names if network.startswith("gen") else _discriminator_names)(variables)


# --- in and out ---


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, _names(network, like), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    return state_dicts.give(_names(network, variables), variables)


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state; the others and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    return state_dicts.begun(state, networks(tensors), LEARNERS, import_network)


def export_state(state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks: "gen_a", "gen_b", "dis_a" and "dis_b"."""
    return {network: export_network(network, state.learners[name].variables) for network, name in LEARNERS.items()}
