"""Refusals and failures, each told in one sentence wherever in a job it is found: input that is
bad, a machine that cannot go on."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a limit that has no room left."""
DENIED: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of a place that turns read-only."""
BROKEN: Final = (errno.EIO, errno.ESTALE, errno.ENODEV)
"""Errors of a disk that fails or goes away."""


class Refusal(ValueError):  # noqa: N818
    """A wrong argument or input: the thing, the value, the remedy, in one sentence.

    A job prints it without a traceback and exits with status 2. It never quotes a note, an
    identifier or a credential.
    """


class Failure(Exception):  # noqa: N818
    """Something that the machine could not do: the place, the cause, the remedy, in one sentence.

    A job prints it without a traceback and exits with status 1: its arguments are right, and the
    same command goes on once the cause is gone.
    """


def find_refusal(error: BaseException | None) -> Refusal | None:
    """The Refusal inside an exception, also where Ray has wrapped it on its way from a worker."""
    return next((e for e in _inside(error) if isinstance(e, Refusal)), None)


def find_failure(error: BaseException | None, out: str = "") -> Failure | None:
    """The Failure inside an exception, or one made of an error of a disk; None for a fault of ours.

    ``out`` is the place that the job writes to, named where the error itself names none.
    """
    errors = list(_inside(error))
    if told := next((e for e in errors if isinstance(e, Failure)), None):
        return told
    for found in errors:
        if type(found).__name__ == "OutOfDiskError":  # of Ray: it could not spill
            return Failure(
                "Ray has no room to spill objects to: the disk of its temporary folder"
                f"{_room(os.environ.get('RAY_TMPDIR', tempfile.gettempdir()))} is full; free some "
                "space there, or set RAY_TMPDIR to a folder on another disk, and run the same "
                "command again"
            )
        if isinstance(found, OSError) and found.errno in (*FULL, *DENIED, *BROKEN):
            return write_failure(found, str(found.filename or ""), out)
    return None


def write_failure(error: OSError, place: str, out: str = "", size: int | None = None) -> Failure:
    """The Failure of a disk's error.

    Args:
        error: what the system said.
        place: the file, where it is known.
        out: where a job writes to, if ``place`` is empty.
        size: bytes of the file that had been given to it.
    """
    why = os.strerror(error.errno or errno.EIO)
    wanted = "" if size is None else f", at {size:,} bytes of it"
    near = place or out
    where = f"'{place}'" if place else "a file" + (f" of '{out}' or" if out else "")
    if not place:
        where += f" of the temporary folder '{tempfile.gettempdir()}'"
    does = "write" if error.errno in (*FULL, errno.EROFS) else "read or write"
    if error.errno == errno.EFBIG:
        remedy = "raise the limit (ulimit -f)"
    elif error.errno in FULL:
        remedy = f"free some space there{_room(near)}, or raise the quota"
    elif error.errno in DENIED:
        remedy = f"check that you may {does} it"
    else:
        remedy = "check the disk"
    return Failure(
        f"cannot {does} {where} ({why}{wanted}); {remedy}, and run the same command again"
    )


def _room(place: str) -> str:
    """Free space of the disk that a place is or would be on, in parentheses; empty if unknown."""
    place = os.path.abspath(os.path.expanduser(place)) if "://" not in place else ""
    while place and not os.path.exists(place):
        place = os.path.dirname(place)
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return ""
    return f" ({usage.free:,} of {usage.total:,} bytes are free)"


def _inside(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those in it: its causes, and what Ray has wrapped."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        inner = getattr(current, "cause", None)  # RayTaskError
        if isinstance(inner, BaseException):
            waiting.append(inner)
        else:
            yield current
        failures = getattr(current, "worker_failures", None)  # Train's WorkerGroupError
        controller = getattr(current, "controller_failure", None)  # Train's ControllerError
        waiting += [*(failures or {}).values(), controller, current.__cause__, current.__context__]


def counted(n: int, what: str) -> str:
    """``1 row``, ``1,234 rows``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
