"""The exception for a user's mistake: one line, without a traceback."""


class UserError(Exception):
    """A mistake or a missing piece on the user's side.

    The message is one line: what was wrong, in which file, and what to do about it.
    """
