"""The end of a job by SIGINT or SIGTERM: within five seconds, with one line, nothing left running.

Whatever a job has done by then is on its storage, and the same command goes on from there: that
holds for SIGKILL, too. So there is nothing to save, and no library is given the time to try. A
thread hears of the signal through Python's wakeup file descriptor, which no other handler can take
away: Ray, Ray Train and Ray Tune each install their own, and native code may hold up the main
thread, in which handlers run.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from medhmp.processes import kill_descendants

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
UNWIND_S: Final = 1.5
"""Seconds in which the main thread may close what it has open, such as its temporary folders."""
LAST_S: Final = 1.0
"""Seconds that the last step may take, which gives back the lease, perhaps to a bucket."""
HEARD_S: Final = 0.1
"""Seconds after which the thread has heard of a signal."""


class Interruption:
    """What ends this process early: one line, silence, the end of all processes below it."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._lock = threading.Lock()
        self._begun, self._unwound = threading.Event(), threading.Event()
        self.marker = ""  # NAME=value in the environment of this job's processes
        self.last: Callable[[], object] = lambda: None  # called when they have ended

    def end(self, status: int, line: str) -> None:
        """Ends the process with a status, after printing one line. The first call decides.

        Called in a thread of its own, while the main thread unwinds.
        """
        with self._lock:
            if self._begun.is_set():
                return
            self._begun.set()
        _within(UNWIND_S, lambda: self._say(line))
        _silence()
        self._unwound.wait(UNWIND_S)
        kill_descendants(self.marker)
        _within(LAST_S, self.last)
        os._exit(status)

    def _say(self, line: str) -> None:
        sys.stdout.flush()
        print(f"{self._program}: {line}", file=sys.stderr, flush=True)

    def hear(self, number: int) -> None:
        """Ends the process because of a signal."""
        name = signal.Signals(number).name
        self.end(128 + number, f"ended by {name}; the same command goes on from here")

    def lost(self, line: str) -> None:
        """Ends the process because another driver has its lease."""
        threading.Timer(HEARD_S, _thread.interrupt_main).start()
        self.end(1, line)

    def await_end(self) -> None:
        """Called by the main thread once it has unwound: does not return if the end has begun."""
        if self._begun.wait(HEARD_S):
            self._unwound.set()
            threading.Event().wait()

    def handle(self) -> None:
        """Makes the signals unwind the main thread; again after Ray, which sets handlers."""
        for number in SIGNALS:
            signal.signal(number, self._unwind)

    def _unwind(self, number: int, frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, lambda *_: None)  # unwinding is not interrupted
        raise KeyboardInterrupt


@contextmanager
def interruptible(program: str) -> Iterator[Interruption]:
    """Listens for SIGINT and SIGTERM while the block runs, in the main thread alone."""
    interruption = Interruption(program)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    heard = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    interruption.handle()
    threading.Thread(target=_listen, args=(reader, interruption), daemon=True).start()
    try:
        yield interruption
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray's handlers
        interruption.await_end()
        raise
    finally:
        signal.set_wakeup_fd(heard)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)


def _listen(reader: int, interruption: Interruption) -> None:
    """Ends the process at the first signal; returns when the pipe is closed."""
    with open(reader, "rb", buffering=0) as pipe:
        while heard := pipe.read(1):
            if heard[0] in SIGNALS:
                interruption.hear(heard[0])


def _within(seconds: float, work: Callable[[], object]) -> None:
    """Calls ``work`` and waits no longer than that for it: a pipe may be full, a bucket away."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _silence() -> None:
    """Drops whatever libraries and workers still print: their end is no news."""
    nowhere: Any = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
