"""Contrastive, label-free image-to-image translation in JAX."""

__version__ = "0.2.0"
