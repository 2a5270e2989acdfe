"""Losses: arrays in, an unweighted scalar out; the methods weigh them."""
