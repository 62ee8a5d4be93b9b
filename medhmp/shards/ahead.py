"""Batches made ready ahead of the step that takes them, by a thread of their own."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

DEPTH: Final = 2
"""Batches that may wait: one is taken while the next is made."""
PATIENCE: Final = 5.0
"""Seconds that a consumer that stops waits for the batch being made."""


class _Ended:
    """The last thing a thread hands over: what ended it, None for the end of the batches."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(batches: Iterable[T], depth: int = DEPTH) -> Iterator[T]:
    """Yields ``batches`` in their order; a thread makes up to ``depth`` of them in advance.

    What making a batch raises is raised here, after the batches before it. The thread ends with the
    batches, or when this generator is closed: with the loop that runs it, however that ends.
    """
    ready: queue.Queue[T | _Ended] = queue.Queue(depth)
    stopped = threading.Event()

    def fill() -> None:
        try:
            for batch in batches:
                ready.put(batch)
                if stopped.is_set():
                    return
            ready.put(_Ended(None))
        except BaseException as error:
            ready.put(_Ended(error))

    thread = threading.Thread(target=fill, name="batches ahead", daemon=True)
    thread.start()
    try:
        while True:
            batch = ready.get()
            if isinstance(batch, _Ended):
                if batch.error is not None:
                    raise batch.error
                return
            yield batch
    finally:
        stopped.set()
        _drain(ready)  # so that a thread that waits for room goes on, and finds that it is over
        thread.join(PATIENCE)


def _drain(ready: "queue.Queue[T]") -> None:
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
