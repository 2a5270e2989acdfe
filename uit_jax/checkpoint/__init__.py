"""Checkpoints: a whole run saved, and read back bit for bit.

A state has no device axis, so a checkpoint is one host copy of it: it can be restored on any number of devices,
and it stays valid when the device buffers are donated to the next step.
"""

from uit_jax.checkpoint.host import check_room
from uit_jax.checkpoint.manager import Checkpoints, rank
from uit_jax.checkpoint.reading import begun_with, of_run, restore_run, restore_variables, steps
from uit_jax.checkpoint.records import newest
from uit_jax.checkpoint.weights import check_trainable

__all__ = [
    "Checkpoints",
    "begun_with",
    "check_room",
    "check_trainable",
    "newest",
    "of_run",
    "rank",
    "restore_run",
    "restore_variables",
    "steps",
]
