"""Which patches a contrastive loss compares, and what each is told from (arXiv:2007.15651, Section 3 and Figure 4)."""

import dataclasses
import functools

from uit_jax import collectives
from uit_jax.losses import contrastive
from uit_jax.memory import key_queue
from uit_jax.settings import setting
from uit_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Patches:
    """Which patches are compared, and by which codes."""

    layers: tuple[int, ...] = setting((0, 4, 8, 12, 16), "the generator's layers whose features are compared", low=0)
    count: int = setting(256, "places compared in each layer; 0: all", low=0)
    mlp: bool = setting(True, "whether an MLP makes codes of the features")
    dim: int = setting(256, "entries of the MLP's codes", low=1)
    temperature: float = setting(0.07, "of the contrastive loss", above=0)

    def rules(self):
        """Yield what of the settings does not go together."""
        if len(set(self.layers)) < len(self.layers):
            yield "layers", "names a layer twice"

    def places(self, size: tuple[int, int]) -> int:
        """Return how many places are compared in maps of a height and width."""
        return min(self.count or size[0] * size[1], size[0] * size[1])


@dataclasses.dataclass(frozen=True)
class Negatives:
    """What a patch is told from: other patches of its image (the paper's choice), of the batch, or of a queue.

    With a queue the keys come from running averages of generator and MLP, as in MoCo (arXiv:1911.05722).
    """

    kind: str = setting(
        "internal",
        "patches of its own image (internal), of all of the batch (minibatch), of a queue (external), of both",
        choices=("internal", "minibatch", "external", "both"),
    )
    queue_size: int = setting(16_384, "patches of earlier images in the queue of each layer", low=1)
    key_average: float = setting(0.999, "decay of the averages that encode the queue's keys", low=0, below=1)

    @property
    def queued(self) -> bool:
        """Whether patches of earlier images are among them."""
        return self.kind in ("external", "both")

    def loss(
        self,
        query: Array,
        key: Array,
        queue: key_queue.KeyQueue | None,
        temperature: float,
        *,
        train_keys: bool = False,
        axis_name: str | None = None,
    ) -> Array:
        """Return the contrastive loss of one layer.

        Args:
          query, key: unit codes [B, P, D] of the same places of translations and of their inputs.
          queue: of the layer; None without any.
          temperature: the divisor of all dot products.
          train_keys: whether gradients flow into the keys.
          axis_name: the device axis.
        """
        flat = (-1, query.shape[-1])
        nce = functools.partial(contrastive.patch_nce, query, key, temperature, train_keys=train_keys)
        match self.kind:
            case "internal":
                return nce()
            case "minibatch":
                return nce(candidates=collectives.gather(key, axis_name).reshape(flat))
            case "external":
                others = key_queue.negatives(queue)
                return contrastive.info_nce(query.reshape(flat), key.reshape(flat), others, temperature)
            case _:
                return nce(negatives=key_queue.negatives(queue))
