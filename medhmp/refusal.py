"""The one exception that means "the user can mend this": status 2, one sentence, no traceback."""


class Refusal(ValueError):  # noqa: N818
    """A wrong argument or input. The text names the thing, its value and the remedy.

    It must never hold a note's text, a patient's identifier or a credential.
    """
