"""Batches made ahead of the steps that take them, by a thread."""

import contextlib
import queue
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

DEPTH: Final = 2
"""Batches that may wait to be taken, beside the one being made."""
PATIENCE: Final = 5.0
"""Seconds for which a closing consumer waits for the batch being made."""


class _Ended:
    """The last item of the thread: the error that ended it, or None at the end of the batches."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Iterator[T]):
    """Yields ``batches`` in their order, of which a thread makes up to ``depth`` in advance.

    An error in making a batch is raised here, after the batches before it. The thread ends with the
    batches, or when this object is closed or garbage-collected. So it never outlives the loop that
    takes the batches, nor the libraries that they are read with.
    """

    def __init__(self, batches: Iterable[T], depth: int = DEPTH) -> None:
        self._ready: queue.Queue[T | _Ended] = queue.Queue(depth)
        self._stopped = threading.Event()
        # The thread holds no reference to this object, which would keep it alive for good.
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
        while True:  # makes room for a thread that waits, so that it finds that it is stopped
            ready.get_nowait()
    thread.join(PATIENCE)
