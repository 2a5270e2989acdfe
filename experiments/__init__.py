"""Rows of tables as data, the command that runs one, and the report that sets ours beside the paper's."""
