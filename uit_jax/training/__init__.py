"""The training loop and what serves it: feeding, devices, records, grids."""
