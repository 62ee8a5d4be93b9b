"""Where the time of a build goes: wall and CPU seconds of its stages, one after the other."""

import time
from dataclasses import dataclass


@dataclass
class Spent:
    """What a stage took. CPU seconds are the driver's and its tasks', of all machines."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Stopwatch:
    """Runs from the first ``begin``; a stage ends where the next begins, the last with ``end``."""

    def __init__(self) -> None:
        self.stages: dict[str, Spent] = {}
        self._running: Spent | None = None
        self._since = (0.0, 0.0)

    def begin(self, stage: str) -> None:
        """Ends the stage that runs; a name given again goes on adding to its stage."""
        self.end()
        self._running = self.stages.setdefault(stage, Spent())

    def end(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._running:
            self._running.seconds += now[0] - self._since[0]
            self._running.cpu_seconds += now[1] - self._since[1]
        self._running, self._since = None, now

    def add(self, cpu_seconds: float) -> None:
        """CPU seconds that a task has spent on the stage that runs."""
        if self._running:
            self._running.cpu_seconds += cpu_seconds
