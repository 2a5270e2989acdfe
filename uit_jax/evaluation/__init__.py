"""Evaluators: one file each, over metrics."""
