"""Wall and CPU seconds of the stages of a build, one after the other."""

import time
from dataclasses import dataclass


@dataclass
class Spent:
    """Seconds that a stage took. CPU seconds are the driver's and its Ray tasks', on all nodes."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Stopwatch:
    """Runs from the first ``begin``; a stage ends when the next begins, the last with ``end``."""

    def __init__(self) -> None:
        self.stages: dict[str, Spent] = {}
        self._running: Spent | None = None
        self._since = (0.0, 0.0)

    def begin(self, stage: str) -> None:
        """Begins a stage, or goes on with one of that name, and ends the running one."""
        self.end()
        self._running = self.stages.setdefault(stage, Spent())

    def end(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._running:
            self._running.seconds += now[0] - self._since[0]
            self._running.cpu_seconds += now[1] - self._since[1]
        self._running, self._since = None, now

    def add(self, cpu_seconds: float) -> None:
        """Adds CPU seconds that a Ray task has spent to the running stage."""
        if self._running:
            self._running.cpu_seconds += cpu_seconds
