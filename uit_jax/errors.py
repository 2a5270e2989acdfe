"""The error a user can act on."""


class UserError(ValueError):
    """Bad input, in one line that names the file or key and says what to do; the command prints it and exits 2.

    What cannot be printed in names of the user's, such as a line break, is escaped.
    """

    def __init__(self, told: str):
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(told)))
