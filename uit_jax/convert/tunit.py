"""TUNIT's networks under the names and layouts of the published PyTorch code, both ways.

The published checkpoint holds the state_dicts of C (guiding network), G, D and the averages C_EMA and G_EMA.
"""

import re
from collections.abc import Mapping

import numpy as np

from uit_jax.convert import munit, state_dicts
from uit_jax.convert.state_dicts import LINEAR, PER_MAP, Entry, Named, Tensors, batch_norm, layer, numbered
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"C": "guide", "G": "generator", "D": "discriminator"}
AVERAGES = {"C": "C_EMA", "G": "G_EMA"}
STAGES = (1, 1, 2, 2, 2)
BLOCKS_PER_STAGE = 2
ROOTS = {"features": "C", "disc": "C", "cont": "C", "cnt_encoder": "G", "decoder": "G", "mlp": "G", "main": "D"}


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "C", "G", "D", "C_EMA", "G_EMA" -> its state_dict.

    Takes whole checkpoints (`G_EMA_state_dict.` or `G_EMA.` before each name) and the state_dict of one network;
    the `module.` of distributed training is dropped, optimiser states are left out.

    Raises:
      UserError: there is no network of TUNIT among them.
    """
    return state_dicts.sort("TUNIT", (*LEARNERS, *AVERAGES.values()), tensors, ROOTS)


# --- what the shapes tell ---


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from the shapes of C, G and D, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    found = {name: given for name in LEARNERS if (given := found.get(name) or found.get(AVERAGES.get(name)))}
    read = state_dicts.read_settings("TUNIT", {"C": _guide, "G": _generator, "D": _discriminator}, found)
    if "G" in found and "D" in found:
        # The generator alone does not tell its bottleneck.
        read["generator"]["bottleneck"] = read["image_size"] // 2 ** _downs(found["G"])
    return read


def _guide(tensors: Tensors) -> dict:
    width, channels = tensors["features.0.weight"].shape[:2]
    return {
        "domains": len(tensors["disc.weight"]),
        "style_dim": len(tensors["cont.weight"]),
        "channels": channels,
        "guide": {"width": width, "stages": _stages(tensors)},
    }


def _generator(tensors: Tensors) -> dict:
    width, channels = tensors["cnt_encoder.model.0.conv.weight"].shape[:2]
    mlp_width, style_dim = tensors["mlp.model.0.fc.weight"].shape
    blocks = _count(tensors, r"decoder\.model\.0\.model\.(\d+)\..*")
    return {
        "image_size": 16 * 2 ** _downs(tensors),
        "channels": channels,
        "style_dim": style_dim,
        "generator": {"width": width, "bottleneck": 16, "blocks": blocks, "mlp_width": mlp_width},
    }


def _discriminator(tensors: Tensors) -> dict:
    blocks = _count(tensors, r"main\.(\d+)\.conv1\.weight")
    width, channels = tensors["main.0.weight"].shape[:2]
    return {
        "image_size": 2 ** (blocks // BLOCKS_PER_STAGE + 2),
        "channels": channels,
        "domains": len(tensors[f"main.{blocks + 4}.weight"]),
        "discriminator": {"width": width, "max_width": len(tensors[f"main.{blocks + 2}.weight"])},
    }


def _downs(generator: Tensors) -> int:
    return _count(generator, r"decoder\.model\.(\d+)\.conv\.weight") - 1


def _count(names, pattern: str) -> int:
    return len({found[1] for found in map(re.compile(pattern).fullmatch, names) if found})


def _stages(guide: Tensors) -> tuple[int, ...]:
    """Count the convolutions before each pooling, which takes a place in the sequence but has no weights."""
    places = state_dicts.places(guide, r"features\.(\d+)\.weight")
    stages = [1]
    for before, after in zip(places, places[1:], strict=False):
        stages += [1] if after - before > 3 else []
        stages[-1] += after - before <= 3
    return tuple(stages)


# --- the names ---


def _guide_names(variables: PyTree, stages: tuple[int, ...]) -> Named:
    place = index = 0
    for convolutions in stages:
        for _ in range(convolutions):
            yield from layer(variables, f"features.{place}", f"conv_{index}/conv")
            yield from batch_norm(variables, f"features.{place + 1}", f"norm_{index}")
            place, index = place + 3, index + 1
        place += 1
    yield from layer(variables, "disc", "cluster", LINEAR)
    yield from layer(variables, "cont", "style", LINEAR)


def _generator_names(variables: PyTree, stages: tuple[int, ...]) -> Named:
    yield from munit.encoder_names(variables, "cnt_encoder")
    yield from munit.decoder_names(variables, "decoder")


def _discriminator_names(variables: PyTree, stages: tuple[int, ...]) -> Named:
    params = variables["params"]
    blocks = numbered(params, "block_")
    yield from layer(variables, "main.0", "stem/conv")
    for block in range(blocks):
        theirs, ours = f"main.{block + 1}", f"block_{block}"
        for index in range(2):
            for leaf in ("tau", "gamma", "beta"):
                yield f"{theirs}.norm{index + 1}.{leaf}", Entry(("params", ours, f"norm_{index}", leaf), PER_MAP)
            yield from layer(variables, f"{theirs}.conv{index + 1}", f"{ours}/conv_{index}/conv")
        if "shortcut" in params[ours]:
            yield from layer(variables, f"{theirs}.conv1x1", f"{ours}/shortcut/conv")
    yield from layer(variables, f"main.{blocks + 2}", "patch/conv")
    yield from layer(variables, f"main.{blocks + 4}", "logits/conv")


NAMES = {"C": _guide_names, "G": _generator_names, "D": _discriminator_names}


# --- in and out ---


def import_network(network: str, tensors: Tensors, like: PyTree, *, stages: tuple[int, ...] = STAGES) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Args:
      network: "C", "G" or "D".
      like: Flax variables or their shapes, which tell depth and widths.
      stages: the guiding network's convolutions per stage.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, NAMES[network](like, stages), like)


def export_network(network: str, variables: PyTree, *, stages: tuple[int, ...] = STAGES) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    return state_dicts.give(NAMES[network](variables, stages), variables)


def import_state(tensors: Tensors, state: TrainState, *, stages: tuple[int, ...] = STAGES) -> TrainState:
    """Put a checkpoint's networks into a state; the averages fall back to the networks themselves, and they to these.

    Networks that the checkpoint lacks, the optimisers' states and the queue stay as they are.
    """
    found, learners = networks(tensors), {}
    for network, name in LEARNERS.items():
        learner, average = state.learners[name], found.get(AVERAGES.get(network))
        if given := found.get(network) or average:
            variables = import_network(network, given, learner.variables, stages=stages)
            averaged = import_network(network, average, learner.variables, stages=stages) if average else None
            learners[name] = state_dicts.started(learner, variables, averaged)
    return state.with_learners(learners)


def export_state(state: TrainState, *, stages: tuple[int, ...] = STAGES) -> dict[str, dict[str, np.ndarray]]:
    """Return the networks of a state as the published checkpoint names them: "C_state_dict" and so on."""
    found = {}
    for network, name in LEARNERS.items():
        learner = state.learners[name]
        found[f"{network}_state_dict"] = export_network(network, learner.variables, stages=stages)
        if learner.ema is not None:
            found[f"{network}_EMA_state_dict"] = export_network(network, learner.averaged, stages=stages)
    return found
