"""The networks; Flax lives here and nowhere else."""
