"""The error a user can act on, and names as messages show them."""

import os


def shown(name: str | os.PathLike) -> str:
    """Return a name as it may be printed on one line of any terminal.

    What does not print becomes a backslash escape: newlines, escape sequences, marks of direction, and the bytes of a
    name that is not UTF-8, which Python keeps as surrogates.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(name))


class UserError(ValueError):
    """Bad input, in one line that names the file or key and says what to do; the command prints it and exits 2.

    Names of the user's in it are as `shown` has them.
    """

    def __init__(self, told: str):
        super().__init__(shown(told))


class NoSuchPart(UserError):
    """A source does not have the split or the class that was asked of it."""
