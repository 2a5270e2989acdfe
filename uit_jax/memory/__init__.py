"""What a training state remembers: pytrees and pure functions."""
