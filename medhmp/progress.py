"""What a job tells people while it works: lines on the console, unless ``--quiet``."""

import os
import sys
from dataclasses import dataclass

import rich


@dataclass(frozen=True)
class Progress:
    """Tells people of the work. Picklable: a worker's lines reach the driver's console."""

    quiet: bool = False

    def say(self, text: str) -> None:
        """Prints one line about the work. Never an identifier, a note or a credential."""
        if not self.quiet:
            rich.get_console().print(text, soft_wrap=True)  # a path must stay on one line

    @property
    def is_watched(self) -> bool:
        """Whether steady lines of progress are worth printing: not under ``--quiet``, and only to
        a terminal or to a job server's log."""
        return not self.quiet and (sys.stdout.isatty() or is_submitted())


def is_submitted() -> bool:
    """Whether Ray's job server has started this job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
