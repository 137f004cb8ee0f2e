"""Why models cannot be trained as one program."""


class Unstackable(Exception):
    """The message says why, as the end of a sentence that begins with what is not stacked."""
