"""The verbs of the `uit` command, one a file."""
