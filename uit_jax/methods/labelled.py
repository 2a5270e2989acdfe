"""What translators of labelled images share: their one side, and which images they can learn from."""

import dataclasses

from uit_jax.method import Side, require
from uit_jax.methods.opposed import Opposed
from uit_jax.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(Opposed):
    """A translator that learns from images of labelled classes."""

    domains: int = setting(2, "classes of the training images, or more", low=1, high=100_000)

    @property
    def sides(self) -> tuple[Side, ...]:
        return (Side("image", self.channels, labelled=True),)

    @property
    def classes(self) -> int:
        return self.domains

    def check_images(self, name: str, count: int, classes: tuple[str, ...]) -> None:
        require(len(classes) > 0, f"{name} has no labels, but this method learns from classes: class folders give them")
        require(len(classes) <= self.domains, f"{name} has {len(classes)} classes: set method.domains to as many")
