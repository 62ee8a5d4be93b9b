"""Refusals: bad input told in one sentence, wherever in a job it is found."""

from typing import Any


class Refusal(ValueError):  # noqa: N818
    """A wrong argument or input: the thing, the value, the remedy, in one sentence.

    A job prints it without a traceback and exits with status 2. It never quotes a note, an
    identifier or a credential.
    """


def find_refusal(error: BaseException | None) -> Refusal | None:
    """The Refusal inside an exception, also where Ray has wrapped it on its way from a worker."""
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
        elif isinstance(current, Refusal):
            return current
        failures = getattr(current, "worker_failures", None)  # Train's WorkerGroupError
        controller = getattr(current, "controller_failure", None)  # Train's ControllerError
        waiting += [*(failures or {}).values(), controller, current.__cause__, current.__context__]
    return None


def counted(n: int, what: str) -> str:
    """``1 row``, ``1,234 rows``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
