"""Lines on the console about a job's work, unless ``--quiet``."""

import os
import sys
import time
from dataclasses import dataclass
from typing import Final

import rich

SILENCE: Final = 30.0
"""Seconds after which long work says a line again, in a plain log too."""


@dataclass(frozen=True)
class Progress:
    """Tells people of the work."""

    quiet: bool = False

    def say(self, text: str, style: str | None = None) -> None:
        """Prints one line about the work. Never an identifier, a note or a credential.

        ``style``: rich's name of a look of the whole line, such as ``dim``.
        """
        if not self.quiet:
            # A path stays on one line, and brackets and colons in it are no markup.
            console = rich.get_console()
            console.print(text, style=style, soft_wrap=True, markup=False, emoji=False)

    @property
    def is_watched(self) -> bool:
        """True where somebody follows the output: a terminal or a job server's log, unless
        ``--quiet``."""
        return not self.quiet and (sys.stdout.isatty() or is_submitted())

    def pace(self) -> "Pace":
        """The pace of the lines of one long work."""
        return Pace(self.quiet, self.is_watched)


class Pace:
    """Decides when long work says a line: each of its milestones where somebody watches, else one
    whenever ``SILENCE`` seconds have passed without any.

    Silence counts from the first question. The driver makes a pace, since it alone knows its
    console; a worker may keep it.
    """

    def __init__(self, quiet: bool, watched: bool) -> None:
        self._quiet, self._watched = quiet, watched
        self._last: float | None = None  # seconds on this process's clock

    def is_due(self, milestone: bool = False) -> bool:
        """True if a line is to be said now. ``milestone``: the end of an epoch, of a trial."""
        now = time.monotonic()
        last = self._last = now if self._last is None else self._last
        if self._quiet or not ((milestone and self._watched) or now - last >= SILENCE):
            return False
        self._last = now
        return True

    def say(self, text: str) -> None:
        """Prints a line, from any process. Not by ``print``, which Ray Train says twice."""
        if not self._quiet:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


def is_submitted() -> bool:
    """True if Ray's job server has started this job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
