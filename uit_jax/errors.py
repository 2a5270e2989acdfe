"""The error a user can act on."""


class UserError(ValueError):
    """Bad input, in one line that names the file or key and says what to do; the command prints it and exits 2."""
