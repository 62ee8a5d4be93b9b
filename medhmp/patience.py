"""Patience with object storage: which failures are asked again, for how long, and what is said.

A store that denies, or has no such object, has answered, and that is final at once. One that fails
(5xx, 429, a broken connection, a body cut short) is asked again, after longer and longer waits, for
``LIMIT`` seconds in which it gives no good answer.
"""

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final, TypeVar

from medhmp.refusal import Failure, Refusal
from medhmp.requests import AGAIN, count

LIMIT: Final = 120.0
"""Seconds without a good answer after which a store is given up."""
VARIABLE: Final = "MEDHMP_PATIENCE"
"""The environment's name for another number of seconds."""
FIRST: Final = 0.2
LONGEST: Final = 10.0
"""Seconds of the first wait and of the longest; each is twice the one before, less up to half of it
by chance, so that many workers do not come back at once."""
SILENT: Final = 5.0
"""Seconds of failures after which a line is said, and between two lines at least."""

T = TypeVar("T")

_limit: ContextVar[float | None] = ContextVar("limit", default=None)
_current: ContextVar["Waits | None"] = ContextVar("waits", default=None)
_said = -SILENT


@contextlib.contextmanager
def hasty(seconds: float) -> Iterator[None]:
    """Gives a store up after so many seconds, in the calls that the block makes."""
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def limit() -> float:
    """Seconds without a good answer after which a store is given up here."""
    given, text = _limit.get(), os.environ.get(VARIABLE, str(LIMIT))
    try:
        return given if given is not None else float(text)
    except ValueError:
        raise Refusal(f"{VARIABLE} is '{text}'; give a number of seconds") from None


class Waits:
    """The waits of one piece of work between the times that it asks its store again."""

    def __init__(self, place: str) -> None:
        """``place`` names the store in the lines that are said."""
        self._place, self._limit = place, limit()
        self.answered()

    def answered(self) -> None:
        """Starts anew: the store has given a good answer."""
        self._since, self._next = time.monotonic(), FIRST

    @property
    def seconds(self) -> float:
        """Seconds since the last good answer, or since the work began."""
        return time.monotonic() - self._since

    def after(self, why: str) -> float | None:
        """Seconds to wait after a failure; None if the store is to be given up."""
        left = self._limit - self.seconds
        if left <= 0:
            return None
        count(AGAIN)
        self._say(why)
        wait = min(self._next * random.uniform(0.5, 1), left)
        self._next = min(2 * self._next, LONGEST)
        return wait

    def _say(self, why: str) -> None:
        global _said
        now = time.monotonic()
        if self.seconds < SILENT or now - _said < SILENT:
            return
        _said = now
        sys.stderr.write(
            f"{self._place}: no good answer for {self.seconds:.0f} s ({why}); asking again for up "
            f"to {self._limit:.0f} s\n"
        )
        sys.stderr.flush()


def current(place: str) -> Waits:
    """The waits of the work that this request is part of."""
    return _current.get() or Waits(place)


def patiently(work: Callable[[], T], place: str, passing: Callable[[Exception], str]) -> T:
    """Calls ``work``, which asks a store, again while it fails for a reason that may pass.

    Args:
        work: may be called many times.
        place: names the store.
        passing: gives the reason of an error in a few words, or "" where it is final.

    Raises the final error, or Failure where the store is given up.
    """
    waits = Waits(place)
    token = _current.set(waits)
    try:
        while True:
            try:
                return work()
            except Exception as error:
                why = passing(error)
                if not why:
                    raise
                wait = waits.after(why)
                if wait is None:
                    raise Failure(
                        f"'{place}' gave no good answer for {waits.seconds:.0f} s ({why}); run the "
                        "same command again once the store is well"
                    ) from error
            time.sleep(wait)
    finally:
        _current.reset(token)
