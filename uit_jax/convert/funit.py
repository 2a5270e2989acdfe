"""FUNIT's networks under the names and layouts of the published PyTorch code, both ways.

The published code keeps the generator and its average in one file, gen_NUMBER.pt, as {"gen": state_dict, "gen_test":
state_dict}, and the discriminator in another, dis_NUMBER.pt, as {"dis": state_dict}. The generator's names are MUNIT's
but for the class encoder's.
"""

from collections.abc import Mapping

import numpy as np

from uit_jax.convert import munit, state_dicts
from uit_jax.convert.state_dicts import Named, Tensors, layer, numbered, places
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"gen": "generator", "dis": "discriminator"}
AVERAGE = "gen_test"
ROOTS = {"enc_class_model": "gen", "enc_content": "gen", "dec": "gen", "mlp": "gen", "cnn_f": "dis", "cnn_c": "dis"}
STRIDE = 4
"""Places of a stage in the discriminator's sequence: its two blocks, a border and a pooling."""


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "gen", "gen_test" (its average), "dis" -> its state_dict.

    Takes those of published files, `gen.`, `gen_test.` or `dis.` before each name, and the state_dict of one network.

    Raises:
      UserError: there is no network of FUNIT among them.
    """
    return state_dicts.sort("FUNIT", (*LEARNERS, AVERAGE), tensors, ROOTS)


# --- what the shapes tell ---


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    return state_dicts.read_settings("FUNIT", {AVERAGE: _generator, "gen": _generator, "dis": _discriminator}, found)


def _generator(tensors: Tensors) -> dict:
    width, channels = tensors["enc_content.model.0.conv.weight"].shape[:2]
    mlp_width, style_dim = tensors["mlp.model.0.fc.weight"].shape
    shape = {
        "width": width,
        "downs": len(places(tensors, r"enc_content\.model\.(\d+)\.conv\.weight")) - 1,
        "blocks": len(places(tensors, r"enc_content\.model\.\d+\.model\.(\d+)\.model\.0\.conv\.weight")),
        "style_downs": len(places(tensors, r"enc_class_model\.model\.(\d+)\.conv\.weight")) - 1,
        "mlp_width": mlp_width,
        "mlp_layers": sum(name.startswith("mlp.") and name.endswith(".weight") for name in tensors),
    }
    return {"channels": channels, "style_dim": style_dim, "generator": shape}


def _discriminator(tensors: Tensors) -> dict:
    width, channels = tensors["cnn_f.0.conv.weight"].shape[:2]
    domains, max_width = tensors["cnn_c.0.conv.weight"].shape[:2]
    blocks = places(tensors, r"cnn_f\.(\d+)\.conv_0\.conv\.weight")
    shape = {"width": width, "max_width": max_width, "stages": len(blocks) // 2}
    return {"channels": channels, "domains": domains, "discriminator": shape}


# --- the names ---


def _generator_names(variables: PyTree) -> Named:
    yield from munit.style_names(variables, "enc_class_model")
    yield from munit.encoder_names(variables, "enc_content")
    yield from munit.decoder_names(variables, "dec", adaptive=False)


def _discriminator_names(variables: PyTree) -> Named:
    params = variables["params"]
    yield from layer(variables, "cnn_f.0.conv", "stem/conv")
    for block in range(numbered(params, "block_")):
        stage, second = divmod(block, 2)
        theirs, ours = f"cnn_f.{1 + STRIDE * stage + second}", f"block_{block}"
        for own, name in {"conv_0": "conv_0", "conv_1": "conv_1", "shortcut": "conv_s"}.items():
            if own in params[ours]:
                yield from layer(variables, f"{theirs}.{name}.conv", f"{ours}/{own}/conv")
    yield from layer(variables, "cnn_c.0.conv", "logits/conv")


NAMES = {"gen": _generator_names, AVERAGE: _generator_names, "dis": _discriminator_names}


# --- in and out ---


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, NAMES[network](like), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    return state_dicts.give(NAMES[network](variables), variables)


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state; the average falls back to the generator itself, and it to this.

    Networks that the file lacks and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    found, learners = networks(tensors), {}
    averages = {"gen": AVERAGE}
    for network, name in LEARNERS.items():
        learner, average = state.learners[name], found.get(averages.get(network))
        if given := found.get(network) or average:
            variables = import_network(network, given, learner.variables)
            averaged = import_network(AVERAGE, average, learner.variables) if average else None
            learners[name] = state_dicts.started(learner, variables, averaged)
    return state.with_learners(learners)


def export_state(state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks: "gen", "gen_test" and "dis"."""
    generator, discriminator = (state.learners[name] for name in LEARNERS.values())
    return {
        "gen": export_network("gen", generator.variables),
        AVERAGE: export_network(AVERAGE, generator.averaged),
        "dis": export_network("dis", discriminator.variables),
    }
