"""Batches made ready ahead of the step that takes them, by a thread of their own."""

import contextlib
import queue
import threading
import weakref
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


class Ahead(Iterator[T]):
    """Yields ``batches`` in their order; from now on a thread makes up to ``depth`` in advance.

    What making a batch raises is raised here, after the batches before it. The thread ends with
    the batches, or when this is closed or no longer held: with its loop, however that ends, and
    before whatever the batches are read with is shut down at the end of the process.
    """

    def __init__(self, batches: Iterable[T], depth: int = DEPTH) -> None:
        self._ready: queue.Queue[T | _Ended] = queue.Queue(depth)
        self._stopped = threading.Event()
        # The thread holds nothing of this object, or nobody could let go of it.
        work = (batches, self._ready, self._stopped)
        thread = threading.Thread(target=_fill, args=work, name="batches ahead", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._ready, self._stopped, thread)

    def __next__(self) -> T:
        if self._stopped.is_set():
            raise StopIteration
        batch = self._ready.get()
        if not isinstance(batch, _Ended):
            return batch
        self.close()
        raise batch.error or StopIteration

    def close(self) -> None:
        """Ends the thread; there are no more batches."""
        self._end()


def _fill(batches: Iterable[T], ready: "queue.Queue[T | _Ended]", stopped: threading.Event) -> None:
    try:
        for batch in batches:
            ready.put(batch)
            if stopped.is_set():
                return
        ready.put(_Ended(None))
    except BaseException as error:
        ready.put(_Ended(error))


def _end(
    ready: "queue.Queue[T | _Ended]", stopped: threading.Event, thread: threading.Thread
) -> None:
    stopped.set()
    with contextlib.suppress(queue.Empty):
        while True:  # so that a thread that waits for room goes on, and finds that it is over
            ready.get_nowait()
    thread.join(PATIENCE)
