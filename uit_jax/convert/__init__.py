"""Checkpoints of the papers' published code, in and out: files, state_dicts, and one file a paper."""
