"""FUNIT's networks, and SEMIT's of the same trainer, under the published names and layouts of PyTorch, both ways.

These keep the generator and its average in one file, gen_NUMBER.pt, as {"gen": state_dict, "gen_test": state_dict}, and
the discriminator in another, dis_NUMBER.pt, as {"dis": state_dict}. The names of FUNIT's generator are MUNIT's but for
the class encoder's, those of SEMIT's are in `semit.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from uit_jax.convert import munit, state_dicts
from uit_jax.convert.state_dicts import Entry, Named, Tensors, layer, numbered, places
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"gen": "generator", "dis": "discriminator"}
AVERAGE = "gen_test"
ROOTS = {"enc_class_model": "gen", "enc_content": "gen", "dec": "gen", "mlp": "gen", "cnn_f": "dis", "cnn_c": "dis"}
STRIDE = 4
"""Places of a stage in the discriminator's sequence: its two blocks, a border and a pooling."""


@dataclasses.dataclass(frozen=True)
class Published:
    """One paper's networks: "gen", "gen_test" (its average) and "dis".

    Attributes:
      paper: its name, for messages.
      read_generator: reads the settings that shape a generator from its tensors' shapes: nested.
      generator_names: yields what each published name of a generator stands for.
    """

    paper: str
    read_generator: Callable[[Tensors], dict]
    generator_names: Callable[[PyTree], Named]

    def networks(self, tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
        """Sort a file's tensors by network: "gen", "gen_test" (its average), "dis" -> its state_dict.

        Takes those of published files, `gen.`, `gen_test.` or `dis.` before each name, and the state_dict of one
        network.

        Raises:
          UserError: there is no network of the paper among them.
        """
        return state_dicts.sort(self.paper, (*LEARNERS, AVERAGE), tensors, ROOTS)

    def settings(self, found: Mapping[str, Tensors]) -> dict:
        """Read the settings that shape the networks from their shapes, as far as they are there: nested.

        Raises:
          UserError: a network is none of the published ones.
        """
        readers = {AVERAGE: self.read_generator, "gen": self.read_generator, "dis": _discriminator}
        return state_dicts.read_settings(self.paper, readers, found)

    def import_network(self, network: str, tensors: Tensors, like: PyTree) -> PyTree:
        """Turn a state_dict into Flax variables of the structure and shapes of `like`; constants are not read.

        Raises:
          UserError: keys are missing, unexpected or of another shape; the line names them.
        """
        named = list(self._names(network, like))
        unread = {name for name, entry in named if not isinstance(entry, Entry)}
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
        tensors = {name: value for name, value in tensors.items() if name not in unread}
        return state_dicts.take(network, tensors, iter(named), like)

    def export_network(self, network: str, variables: PyTree) -> dict[str, np.ndarray]:
        """Turn Flax variables into a state_dict, with the constants that the published code expects to find."""
        return state_dicts.give(self._names(network, variables), variables)

    def import_state(self, tensors: Tensors, state: TrainState) -> TrainState:
        """Put the networks that are there into a state; the average falls back to the generator itself, and it to this.

        Networks that the file lacks and the optimisers' states stay as they are.

        Raises:
          UserError: no network is found, or one does not fit.
        """
        found, learners = self.networks(tensors), {}
        averages = {"gen": AVERAGE}
        for network, name in LEARNERS.items():
            learner, average = state.learners[name], found.get(averages.get(network))
            if given := found.get(network) or average:
                variables = self.import_network(network, given, learner.variables)
                averaged = self.import_network(AVERAGE, average, learner.variables) if average else None
                learners[name] = state_dicts.started(learner, variables, averaged)
        return state.with_learners(learners)

    def export_state(self, state: TrainState) -> dict[str, dict[str, np.ndarray]]:
        """Return the state_dicts of a state's networks: "gen", "gen_test" and "dis"."""
        generator, discriminator = (state.learners[name] for name in LEARNERS.values())
        return {
            "gen": self.export_network("gen", generator.variables),
            AVERAGE: self.export_network(AVERAGE, generator.averaged),
            "dis": self.export_network("dis", discriminator.variables),
        }

    def _names(self, network: str, variables: PyTree) -> Named:
        return (_discriminator_names if network == "dis" else self.generator_names)(variables)


# --- what the shapes tell ---


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


FUNIT = Published("FUNIT", _generator, _generator_names)
