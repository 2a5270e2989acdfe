"""Sources of images and the batches drawn from them; TensorFlow is imported only where files are decoded with it."""

from uit_jax.data.batches import Batches, batches
from uit_jax.data.decoding import Unreadable, decode
from uit_jax.data.opening import open_source, open_test, splits, stored_shape
from uit_jax.data.sources import Source, examples

__all__ = [
    "Batches",
    "Source",
    "Unreadable",
    "batches",
    "decode",
    "examples",
    "open_source",
    "open_test",
    "splits",
    "stored_shape",
]
