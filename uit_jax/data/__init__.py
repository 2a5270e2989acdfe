"""Sources of images and the batches drawn from them; TensorFlow is imported only where files are decoded with it."""

from uit_jax.data.batches import Batches, batches
from uit_jax.data.labels import of_training, relabelled
from uit_jax.data.opening import check_there, open_source, open_test, rooted, splits, stored_form
from uit_jax.data.reading import examples
from uit_jax.data.side_batches import SideBatches, side_batches
from uit_jax.data.sides import (
    Sources,
    Wanted,
    check_enough,
    check_same,
    describe,
    fingerprint,
    open_last_side,
    open_sides,
    open_test_sides,
    repeated,
)
from uit_jax.data.sources.base import Form, Source
from uit_jax.images.decode import Unreadable, decode

__all__ = [
    "Batches",
    "Form",
    "SideBatches",
    "Source",
    "Sources",
    "Unreadable",
    "Wanted",
    "batches",
    "check_enough",
    "check_same",
    "check_there",
    "decode",
    "describe",
    "examples",
    "fingerprint",
    "of_training",
    "open_last_side",
    "open_sides",
    "open_source",
    "open_test",
    "open_test_sides",
    "relabelled",
    "repeated",
    "rooted",
    "side_batches",
    "splits",
    "stored_form",
]
