"""Sources of images and the batches drawn from them; TensorFlow is imported only where files are decoded with it."""

from uit_jax.data.batches import Batches, batches
from uit_jax.data.opening import open_source, open_test, splits, stored_form
from uit_jax.data.sides import Pair, PairBatches, open_pair, open_test_pair, pair_batches
from uit_jax.data.sources.base import Source, examples
from uit_jax.images.decode import Unreadable, decode
from uit_jax.images.encode import write

__all__ = [
    "Batches",
    "Pair",
    "PairBatches",
    "Source",
    "Unreadable",
    "batches",
    "decode",
    "examples",
    "open_pair",
    "open_source",
    "open_test",
    "open_test_pair",
    "pair_batches",
    "splits",
    "stored_form",
    "write",
]
