"""Jobs as processes, each with a Ray of its own: started, killed, waited for."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from medhmp.benchmark.featurize import ENVIRONMENT
from medhmp.processes import processes
from medhmp.storage import Folder

ONE_THREAD = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
"""Sums have the same bits only with the same number of threads, wherever a worker runs."""
GONE_S = 120.0
"""Seconds that killed processes, and those that depend on them, may take to end."""


class Job:
    """A job in a session of its own, by which all of its processes are found."""

    def __init__(
        self, name: str, out: Folder, *arguments: str, environment: Mapping[str, str] = ONE_THREAD
    ) -> None:
        self._name = name
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
        """Waits until the job ends; exits if it has failed."""
        if status := self._process.wait():
            raise SystemExit(f"jobs.{self._name} ended with status {status}")

    def processes(self) -> dict[str, list[int]]:
        """Process ids by victim; *everything* is the driver, its Ray and all workers."""
        workers = train_workers(self._process.pid)
        return {
            "the driver": [self._process.pid],
            "workers": workers,
            "everything": _members(self._process.pid),
        }

    def kill(self, victims: list[int]) -> None:
        """Sends SIGKILL and waits until the processes are gone. Killing the driver ends all others
        too, once Ray notices."""
        _kill(victims)
        if self._process.pid not in victims:
            return wait_until(lambda: not set(victims) & set(self.processes()["workers"]))
        self._process.wait()
        wait_until(lambda: not self.processes()["workers"])
        _kill(self.processes()["everything"])


def flags(stage: str, **settings: int) -> list[str]:
    """Command-line arguments that set fields of a stage of pretraining."""
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
    """True for the id of a running training worker."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayTrainWorker")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _members(session: int) -> list[int]:
    """Ids of the running processes of a session."""
    return [pid for pid, one in processes().items() if one.session == session and not one.gone]


def wait_until(is_so: Callable[[], bool], seconds: float = GONE_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"no process ended and no checkpoint came in {seconds:.0f} s")
        time.sleep(0.01)
