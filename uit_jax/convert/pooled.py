"""The networks of CycleGAN and its kin under the names and layouts of the published PyTorch code, both ways.

The published codes keep each network in a file of its own, NAME_net_G_A.pth and so on, a plain state_dict.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from uit_jax.convert import resnet, state_dicts
from uit_jax.convert.state_dicts import Named, Tensors
from uit_jax.errors import UserError
from uit_jax.state import TrainState
from uit_jax.types import PyTree

A, B = "channels", "target_channels"


@dataclasses.dataclass(frozen=True)
class Published:
    """One paper's networks.

    Attributes:
      paper: its name, for messages.
      learners: our name of each published network.
      sides: of each, which setting tells the channels of its images, of a generator's images and of its translations.
    """

    paper: str
    learners: Mapping[str, str]
    sides: Mapping[str, tuple[str, ...]]

    def networks(self, tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
        """Sort tensors by network: published name -> its state_dict.

        The name of its network stands before each tensor's, `G_A.` or `net_G_A.`: several networks have the same names,
        so that a published file does not tell which one it is.

        Raises:
          UserError: there is no network of the paper among them.
        """
        return state_dicts.sort(self.paper, self.learners, tensors, {})

    def settings(self, found: Mapping[str, Tensors]) -> dict:
        """Read the settings that shape the networks from their shapes, as far as they are there: nested.

        Raises:
          UserError: a network is none of the published ones.
        """
        readers = {network: lambda tensors, network=network: self._read(network, tensors) for network in self.learners}
        return state_dicts.read_settings(self.paper, readers, found)

    def import_network(self, network: str, tensors: Tensors, like: PyTree) -> PyTree:
        """Turn a state_dict into Flax variables of the structure and shapes of `like`.

        Statistics of instance norms, which files of old versions hold and nothing reads, are left out.

        Raises:
          UserError: keys are missing, unexpected or of another shape; the line names them.
        """
        return state_dicts.take(network, tensors, _names(network, like), like)

    def export_network(self, network: str, variables: PyTree) -> dict[str, np.ndarray]:
        """Turn Flax variables into a state_dict."""
        return state_dicts.give(_names(network, variables), variables)

    def import_state(self, tensors: Tensors, state: TrainState) -> TrainState:
        """Put the networks that are there into a state; the others and the optimisers' states stay as they are.

        Raises:
          UserError: no network is found, one does not fit, or one is there that the model has not.
        """
        learners = {}
        for network, given in self.networks(tensors).items():
            name = self.learners[network]
            if name not in state.learners:
                raise state_dicts.left_out(network)
            learner = state.learners[name]
            learners[name] = state_dicts.started(learner, self.import_network(network, given, learner.variables))
        return state.with_learners(learners)

    def export_state(self, state: TrainState) -> dict[str, dict[str, np.ndarray]]:
        """Return the state_dicts of a state's networks by their published names."""
        known = {network: state.learners.get(name) for network, name in self.learners.items()}
        return {network: self.export_network(network, own.variables) for network, own in known.items() if own}

    def _read(self, network: str, tensors: Tensors) -> dict:
        if network.startswith("G"):
            read, own = resnet.read_generator(tensors), ("generator", ("width", "blocks"))
            if read["antialias"] or read["antialias_up"]:
                raise UserError(
                    f"the checkpoint's {network} blurs where it halves or doubles, which {self.paper}'s does not: give"
                    " it alone as CUT's, which may"
                )
            sides = (read["channels"], read["target_channels"])
        else:
            read, own = resnet.read_discriminator(tensors), ("discriminator", ("width", "layers"))
            sides = (read["channels"],)
        group, names = own
        return {group: {name: read[name] for name in names}, **dict(zip(self.sides[network], sides, strict=True))}


def _names(network: str, variables: PyTree) -> Named:
    named = resnet.generator_names if network.startswith("G") else resnet.discriminator_names
    return named(variables, antialias=False)


BOTH_WAYS = {"G_A": "generator_ab", "G_B": "generator_ba", "D_A": "discriminator_b", "D_B": "discriminator_a"}
BOTH_SIDES = {"G_A": (A, B), "G_B": (B, A), "D_A": (B,), "D_B": (A,)}

CYCLEGAN = Published("CycleGAN", BOTH_WAYS, BOTH_SIDES)
"""G_A translates A to B and D_A discriminates B; G_B and D_B are those of the other direction."""

GCGAN = Published(
    "GcGAN",
    {"G_AB": "generator", "G_gc_AB": "generator_turned", "D_B": "discriminator_b", "D_gc_B": "discriminator_turned"},
    {"G_AB": (A, B), "G_gc_AB": (A, B), "D_B": (B,), "D_gc_B": (B,)},
)
"""G_gc_AB and D_gc_B are those of the turned frame; a file of G_gc_AB by the published code holds G_AB's weights."""

DISTANCEGAN = Published("DistanceGAN", BOTH_WAYS, BOTH_SIDES)
"""SelfDistance's too."""

