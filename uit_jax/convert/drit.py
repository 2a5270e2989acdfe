"""DRIT's networks under the names and layouts of the published PyTorch code, both ways.

The published code keeps all of its networks, and their optimisers, in one file. enc_c and enc_a encode content and
style, gen draws, disA and disB judge translations by images, disA2 and disB2 those by sampled styles, disContent judges
contents. A network of both domains here may be one of theirs, or two.
"""

from collections.abc import Mapping

import numpy as np

from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import LINEAR, TRANSPOSED, Entry, Form, Named, Tensors, layer, numbered, places
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {
    "enc_c": "content_encoder",
    "enc_a": "style_encoder",
    "gen": "generator",
    "disA": "discriminator",
    "disB": "discriminator",
    "disA2": "random_discriminator",
    "disB2": "random_discriminator",
    "disContent": "content_discriminator",
}
SIDES = {"disA": "a", "disB": "b", "disA2": "a", "disB2": "b"}
"""Of a network that is of one domain, and here a part of one, which domain it is."""

_OVER_MAPS = Form(lambda value: value[:, None, None], lambda value: value[:, 0, 0])


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "enc_c", "disA", ... -> its state_dict; its optimisers are left out.

    Raises:
      UserError: there is no network of DRIT among them.
    """
    return state_dicts.sort("DRIT", LEARNERS, tensors, {})


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    readers = {name: _discriminator for name in SIDES} | {"disContent": _content_discriminator}
    return state_dicts.read_settings("DRIT", readers | {"enc_c": _content, "enc_a": _style, "gen": _generator}, found)


def _content(tensors: Tensors) -> dict:
    width, channels = tensors["convA.0.model.1.weight"].shape[:2]
    return {"width": width, "channels": channels, "blocks": len(places(tensors, r"convA\.(\d+)\.model\.5\.weight"))}


def _style(tensors: Tensors) -> dict:
    if featurewise := "model_a.1.weight" in tensors:
        first, last = tensors["model_a.1.weight"], tensors["model_a.16.weight"]
    else:
        first, last = tensors["conv_A.1.weight"], tensors["fc_A.0.weight"]
    shape = {"width": len(first), "channels": first.shape[1], "style_dim": len(last)}
    return shape | {"styling": "featurewise" if featurewise else "concat"}


def _generator(tensors: Tensors) -> dict:
    if "mlpA.0.weight" in tensors:
        # Where nothing is shared there is one block more.
        blocks = len(places(tensors, r"decA(\d+)\.conv1\.0\.1\.weight")) - 1
        width, channels = len(tensors["decA1.conv1.0.1.weight"]), tensors[f"decA{blocks + 2}.2.weight"].shape[1]
        shape = {"style_dim": tensors["mlpA.0.weight"].shape[1], "styling": "featurewise"}
    else:
        blocks = len(places(tensors, r"decA1\.(\d+)\.model\.1\.weight"))
        width, channels = len(tensors["dec_share.0.model.1.weight"]), tensors["decA4.0.weight"].shape[1]
        shape = {"style_dim": len(tensors["decA1.0.model.1.weight"]) - width, "styling": "concat"}
    return {"width": width // 4, "blocks": blocks, "channels": channels, **shape}


def _discriminator(tensors: Tensors) -> dict:
    scales = len(places(tensors, r"Diss\.(\d+)\.0\.model\.1\.weight")) or 1
    first = "Diss.0" if scales > 1 else "model"
    width, channels = tensors[f"{first}.0.model.1.weight"].shape[:2]
    layers = len(places(tensors, first.replace(".", r"\.") + r"\.(\d+)\.model\.1\.weight"))
    return {"discriminator": {"width": width, "scales": scales, "layers": layers}, "channels": channels}


def _content_discriminator(tensors: Tensors) -> dict:
    width = len(tensors["model.0.model.1.weight"])
    return {"width": width // 4, "content_layers": len(places(tensors, r"model\.(\d+)\.model\.1\.weight")) - 1}


# --- the names ---


def _names(network: str, variables: PyTree) -> Named:
    """Yield every name of a network with the entry of `variables` it stands for."""
    if network == "disContent":
        yield from _judge_names(variables, "model", "")
    elif network in SIDES:
        scales = numbered(variables["params"], "scale_") // (numbered(variables["params"], "scale_0_"))
        for scale in range(scales):
            yield from _judge_names(variables, f"Diss.{scale}" if scales > 1 else "model", f"scale_{scale}_")
    else:
        yield from {"enc_c": _content_names, "enc_a": _style_names, "gen": _generator_names}[network](variables)


def _judge_names(variables: PyTree, theirs: str, ours: str) -> Named:
    count = numbered(variables["params"], f"{ours}conv_")
    for index in range(count):
        yield from layer(variables, f"{theirs}.{index}.model.1", f"{ours}conv_{index}/conv")
    yield from layer(variables, f"{theirs}.{count}", f"{ours}logits/conv")


def _block_names(variables: PyTree, theirs: str, ours: str) -> Named:
    for index, place in enumerate((1, 5)):
        yield from layer(variables, f"{theirs}.model.{place}", f"{ours}/conv_{index}/conv")


def _content_names(variables: PyTree) -> Named:
    yield from _block_names(variables, "conv_share.0", "shared")
    for side in "ab":
        theirs = f"conv{side.upper()}"
        for place, name in enumerate(("stem", "down_0", "down_1")):
            yield from layer(variables, f"{theirs}.{place}.model.1", f"{side}/{name}/conv")
        for index in range(numbered(variables["params"][side], "block_")):
            yield from _block_names(variables, f"{theirs}.{3 + index}", f"{side}/block_{index}")


def _style_names(variables: PyTree) -> Named:
    for side in "ab":
        upper = side.upper()
        if "code" in variables["params"][side]:
            for place, name in enumerate(("stem", "down_0", "down_1", "down_2", "down_3", "code")):
                yield from layer(variables, f"model_{side}.{3 * place + 1}", f"{side}/{name}/conv")
            continue
        yield from layer(variables, f"fc_{upper}.0", f"{side}/mean", LINEAR)
        yield from layer(variables, f"fcVar_{upper}.0", f"{side}/log_variance", LINEAR)
        yield from layer(variables, f"conv_{upper}.1", f"{side}/stem/conv")
        for index in range(3):
            for place, name in {"conv.2": "conv_0", "conv.4.1": "conv_1", "shortcut.1": "shortcut"}.items():
                yield from layer(variables, f"conv_{upper}.{2 + index}.{place}", f"{side}/block_{index}/{name}/conv")


def _generator_names(variables: PyTree) -> Named:
    params = variables["params"]
    if "shared" not in params:
        for side in "ab":
            yield from _featurewise_names(variables, f"dec{side.upper()}", side, numbered(params[side], "block_"))
        for side in "ab":
            for index in range(3):
                yield from layer(variables, f"mlp{side.upper()}.{2 * index}", f"{side}/mlp_{index}", LINEAR)
        return
    yield from _block_names(variables, "dec_share.0", "shared")
    for side in "ab":
        theirs = f"dec{side.upper()}"
        for index in range(numbered(params[side], "block_")):
            yield from _block_names(variables, f"{theirs}1.{index}", f"{side}/block_{index}")
        for index in range(2):
            yield from _up_names(variables, f"{theirs}{2 + index}.0", side, index)
        yield from layer(variables, f"{theirs}4.0", f"{side}/image/conv", TRANSPOSED)


def _featurewise_names(variables: PyTree, theirs: str, side: str, blocks: int) -> Named:
    parts = {"conv1.0.1": "conv_0", "conv2.0.1": "conv_1"}
    parts |= {f"blk{1 + i}.{2 * k}": f"mix_{i}_{k}" for i in range(2) for k in range(2)}
    for index in range(blocks):
        for place, name in parts.items():
            yield from layer(variables, f"{theirs}{1 + index}.{place}", f"{side}/block_{index}/{name}/conv")
    for index in range(2):
        yield from _up_names(variables, f"{theirs}{1 + blocks}.{index}", side, index)
    yield from layer(variables, f"{theirs}{1 + blocks}.2", f"{side}/image/conv", TRANSPOSED)


def _up_names(variables: PyTree, theirs: str, side: str, index: int) -> Named:
    yield from layer(variables, f"{theirs}.model.0", f"{side}/up_{index}", TRANSPOSED)
    for name, ours in {"weight": "scale", "bias": "bias"}.items():
        yield f"{theirs}.model.1.{name}", Entry(("params", side, f"norm_{index}", ours), _OVER_MAPS)


# --- in and out ---


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`, of a discriminator its domain's.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, _names(network, like), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables, of a discriminator those of its domain, into a state_dict."""
    return state_dicts.give(_names(network, variables), variables)


def own(network: str, params: PyTree) -> PyTree:
    """Return which of a learner's weights are a network's."""
    return params[SIDES[network]] if network in SIDES else params


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state; the others and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    for network, given in networks(tensors).items():
        name, side = LEARNERS[network], SIDES.get(network)
        params = state.learners[name].params
        found = import_network(network, given, {"params": own(network, params)})["params"]
        params = {**params, side: found} if side else found
        state = state.with_learners({name: state.learners[name].replace(params=params)})
    return state


def export_state(state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks: "enc_c", "enc_a", "gen", "disA" and so on."""
    return {
        network: export_network(network, {"params": own(network, state.learners[name].params)})
        for network, name in LEARNERS.items()
    }
