"""The cost of a command and of every process below it, read from Linux's /proc while it runs.

CPU seconds are those of each process when it was last seen, so that processes which have ended
count too. At most ``INTERVAL`` of each is missed: what it spends after its last sample. Memory is
the sum of PSS (smaps_rollup), which counts pages that processes share once. PSS is expensive to
read: a process's is read again when its resident memory has changed, and every process's when one
has come or gone. The sampler runs outside the tree; its CPU is counted apart.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from medhmp.processes import Key, Process, processes, read

INTERVAL: Final = 0.2
"""Seconds between two samples."""
LINGER: Final = 10.0
"""Seconds for which processes that outlive the command are still sampled."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
CHANGED: Final = 1 << 20
"""Bytes of resident memory that count as a change."""


@dataclass(frozen=True)
class Cost:
    """The cost of a command."""

    seconds: float  # from its start to its end
    cpu_seconds: float  # of all processes, user and system
    peak: int  # bytes: the largest sum of PSS
    processes: int  # that were seen
    sampling: float  # CPU seconds of the sampling


class Tree:
    """A process and its descendants, including those whose parents have ended."""

    def __init__(self, root: int) -> None:
        self.peak, self._root = 0, root
        self._ticks: dict[Key, int] = {}
        self._memory: dict[Key, tuple[int, int]] = {}  # resident and PSS when last asked for

    @property
    def cpu_seconds(self) -> float:
        return sum(self._ticks.values()) / TICKS

    @property
    def processes(self) -> int:
        return len(self._ticks)

    def sample(self) -> int:
        """Reads the tree once; returns the number of its running processes."""
        running = [process for process in self._members(processes()) if not process.gone]
        if self._memory.keys() != {process.key for process in running}:
            self._memory = {}
        for process in running:
            then, _ = self._memory.get(process.key, (-CHANGED, 0))
            if abs(process.resident - then) >= CHANGED:
                self._memory[process.key] = process.resident, _pss(process.key[0])
        self.peak = max(self.peak, sum(pss for _, pss in self._memory.values()))
        return len(running)

    def _members(self, every: Mapping[int, Process]) -> list[Process]:
        """Processes of the tree: the root, those known from before, and all their children."""
        children: dict[int, list[Process]] = {}
        for process in every.values():
            children.setdefault(process.parent, []).append(process)
        known = [process for process in every.values() if process.key in self._ticks]
        if not self._ticks and self._root in every:
            known = [every[self._root]]
        found: dict[Key, Process] = {}
        while known:
            process = known.pop()
            if process.key not in found:
                found[process.key] = process
                known += children.get(process.key[0], [])
        self._ticks |= {key: process.ticks for key, process in found.items()}
        return list(found.values())


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command to its end and returns its cost. Its output is shown only if it fails."""
    spent, begun = time.process_time(), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        root = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        tree = Tree(root.pid)
        tree.sample()
        while not _has_ended(root.pid):
            time.sleep(INTERVAL)
            tree.sample()
        seconds = time.perf_counter() - begun
        tree.sample()  # the root is a zombie: its line tells all that it has spent
        if root.wait():
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with status {root.returncode}:\n{_tail(said)}")
        deadline = time.perf_counter() + LINGER
        while tree.sample() and time.perf_counter() < deadline:
            time.sleep(INTERVAL)
    sampling = time.process_time() - spent
    return Cost(seconds, tree.cpu_seconds, tree.peak, tree.processes, sampling)


def _has_ended(pid: int) -> bool:
    """True if a child has ended; it stays a zombie."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _tail(said: IO[bytes]) -> str:
    return said.read().decode(errors="replace")[-4000:]


def _pss(pid: int) -> int:
    """PSS of a process in bytes: its own memory and its part of shared pages; 0 if it has ended."""
    _, found, after = read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")
    return int(after.split()[0]) << 10 if found else 0
