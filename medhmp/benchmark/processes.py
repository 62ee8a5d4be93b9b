"""Jobs as processes of their own, with the Ray that each starts: begun, killed, waited for."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from medhmp.benchmark import meter
from medhmp.benchmark.featurize import ENVIRONMENT
from medhmp.storage import Folder

ONE_THREAD = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
"""Sums are of the same bits only with the same number of threads, wherever a worker runs."""
GONE_S = 120.0
"""Seconds that killed processes, and those that live by them, may take to end."""


class Job:
    """A job in a session of its own, which tells all of its processes."""

    def __init__(
        self, name: str, out: Folder, *arguments: str, environment: Mapping[str, str] = ONE_THREAD
    ) -> None:
        command = [sys.executable, "-m", f"jobs.{name}", "smoke", "--quiet", "--out", str(out)]
        self._process = subprocess.Popen(
            [*command, *arguments],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def finish(self) -> None:
        """Waits for a job that must not fail."""
        if status := self._process.wait():
            raise SystemExit(f"{self._process.args} ended with status {status}")

    def processes(self) -> dict[str, list[int]]:
        """Ids by what could be lost; *everything*: the driver, its Ray and all workers."""
        workers = train_workers(self._process.pid)
        return {
            "the driver": [self._process.pid],
            "workers": workers,
            "everything": _members(self._process.pid),
        }

    def kill(self, victims: list[int]) -> None:
        """At once, by SIGKILL; then waits until they are gone, and if the driver is, all others:
        workers go on until Ray sees that, other processes a little longer."""
        _kill(victims)
        if self._process.pid not in victims:
            return wait_until(lambda: not set(victims) & set(self.processes()["workers"]))
        self._process.wait()
        wait_until(lambda: not self.processes()["workers"])
        _kill(self.processes()["everything"])


def flags(stage: str, **settings: int) -> list[str]:
    """The settings of a stage of pretraining as a command's arguments."""
    found = []
    for field, value in settings.items():
        name = f"{stage}.{field}".replace("_", "-")
        found += [f"--{name}", str(value)]
    return found


def _kill(victims: list[int]) -> None:
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def train_workers(session: int) -> list[int]:
    """Ids of the training workers of a session."""
    return [pid for pid in _members(session) if is_train_worker(pid)]


def is_train_worker(pid: int) -> bool:
    """Whether a process is there and one."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayTrainWorker")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _members(session: int) -> list[int]:
    """Ids of the running processes of a session."""
    return [
        pid for pid, one in meter.processes().items() if one.session == session and not one.gone
    ]


def wait_until(is_so: Callable[[], bool], seconds: float = GONE_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:.0f} s in vain for processes or a checkpoint")
        time.sleep(0.01)
