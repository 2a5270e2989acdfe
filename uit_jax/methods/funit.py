"""FUNIT: Few-Shot Unsupervised Image-to-Image Translation (Liu et al., ICCV 2019, arXiv:1905.01723).

Its generator is MUNIT's of all classes in one. `fewshot.py` has the rest, the paper's iteration with it.
"""

import dataclasses
from typing import Any

from uit_jax.method import Phase, Stream
from uit_jax.methods.fewshot import FewShot
from uit_jax.nn import munit
from uit_jax.settings import setting


@dataclasses.dataclass(frozen=True)
class GeneratorShape:
    """The size of the generator, the encoders of content and class included."""

    width: int = setting(64, "first width", low=1)
    downs: int = setting(3, "halvings on the way to a content", low=1, high=12)
    blocks: int = setting(2, "residual blocks behind them, and as many in the decoder", low=1, high=1000)
    style_downs: int = setting(4, "halvings on the way to a class code", low=1, high=12)
    mlp_width: int = setting(256, "width of the perceptron that reads the class code", low=1)
    mlp_layers: int = setting(3, "its layers", low=2, high=1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FUNIT(FewShot):
    """FUNIT's hyper-parameters; the defaults are the published code's, those of its Animal Faces."""

    labelled_share: float = setting(1.0, "of each class, the share of images that are learnt from", above=0, high=1)
    generator: GeneratorShape = GeneratorShape()

    def phase(self, step: int) -> Phase:
        return Phase("train", Stream("labelled", self.labelled_share), load_size=self.load_size)

    @property
    def smallest(self) -> int:
        return munit.smallest(self.generator.downs, self.generator.style_downs)

    @property
    def auto_encoder(self) -> tuple[Any, tuple[Any, ...]]:
        shape = vars(self.generator)
        generator = munit.AutoEncoder(self.channels, self.style_dim, **shape, norm="instance", dtype=self.dtype)
        return generator, (self.example(),)
