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


class Ahead(Iterator[T]):
    """Yields ``batches`` in their order; from now on a thread makes up to ``depth`` in advance.

    What making a batch raises is raised here, after the batches before it. The thread ends with
    the batches, or when this is closed or no longer held: with its loop, however that ends.
    """

    def __init__(self, batches: Iterable[T], depth: int = DEPTH) -> None:
        self._ready: queue.Queue[T | _Ended] = queue.Queue(depth)
        self._stopped = threading.Event()
        # The thread holds nothing of this object, or nobody could let go of it.
        work = (batches, self._ready, self._stopped)
        self._thread = threading.Thread(target=_fill, args=work, name="batches ahead", daemon=True)
        self._thread.start()

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
        self._stopped.set()
        _drain(self._ready)  # so that a thread that waits for room goes on, and finds it is over
        self._thread.join(PATIENCE)

    def __del__(self) -> None:
        self.close()


def _fill(batches: Iterable[T], ready: "queue.Queue[T | _Ended]", stopped: threading.Event) -> None:
    try:
        for batch in batches:
            ready.put(batch)
            if stopped.is_set():
                return
        ready.put(_Ended(None))
    except BaseException as error:
        ready.put(_Ended(error))


def _drain(ready: "queue.Queue[T]") -> None:
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            return
