"""What the methods share that learn from unpaired images of two domains."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from uit_jax.method import LARGEST_SIDE, Method, Phase, Side
from uit_jax.methods.opposed import Opposed
from uit_jax.settings import changed, setting
from uit_jax.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairMethod(Opposed):
    """A method that learns from unpaired images of two domains, a and b, in random crops.

    Class attributes:
      opposites: pairs of names in the tree of weights, of what is A's and the same of B; () where one way is learned.
    """

    opposites: ClassVar[tuple[tuple[str, str], ...]] = ()

    image_size: int = changed(Method, "image_size", 256)
    target_channels: int = setting(0, "channels of domain B; 0: as many as A", low=0, owner="data")
    load_size: int = setting(
        286, "side to which images are resized before cropping; 0: their own size", low=0, high=LARGEST_SIDE
    )
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)

    def rules(self):
        """Yield what of the settings does not go together."""
        if 0 < self.load_size < self.image_size:
            yield "load_size", f"must be 0 or at least the crop's data.image_size={self.image_size}"
        if self.image_size % self.multiple:
            yield "image_size", f"must be a multiple of {self.multiple}"

    @property
    def out_channels(self) -> int:
        """Channels of domain B, and of translations."""
        return self.target_channels or self.channels

    @property
    def sides(self) -> tuple[Side, ...]:
        return Side("a", self.channels), Side("b", self.out_channels)

    def phase(self, step: int) -> Phase:
        return Phase("train", load_size=self.load_size)

    def exchanged(self, variables: PyTree) -> "tuple[PairMethod, PyTree] | None":
        if not self.opposites:
            return None
        changes = {"channels": self.out_channels, "target_channels": self.channels}
        turned = self if self.out_channels == self.channels else dataclasses.replace(self, **changes)
        return turned, _renamed(variables, {a: b for pair in self.opposites for a, b in (pair, pair[::-1])})


def _renamed(tree: PyTree, names: Mapping[str, str]) -> PyTree:
    """Return a tree of mappings with other names, wherever in it."""
    if not isinstance(tree, Mapping):
        return tree
    return {names.get(name, name): _renamed(part, names) for name, part in tree.items()}
