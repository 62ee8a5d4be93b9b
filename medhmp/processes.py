"""Processes of this machine as Linux's /proc tells of them; of none elsewhere."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
KILLED_S: Final = 2.0
"""Seconds that killed processes may take to end."""

Key = tuple[int, int]
"""The identity of a process: its id, which can be given again, and its start in ticks."""


@dataclass(frozen=True)
class Process:
    """A line of /proc/<pid>/stat."""

    key: Key
    parent: int
    session: int
    ticks: int  # of CPU, user and system
    resident: int  # bytes, what is shared included
    gone: bool  # a zombie: it has ended, and its line still tells its CPU


def processes() -> dict[int, Process]:
    """Every process of this machine, by id."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    found = (process_of(int(name)) for name in names if name.isdigit())
    return {process.key[0]: process for process in found if process}


def process_of(pid: int) -> Process | None:
    """The process with an id, None if there is none."""
    line = read(f"/proc/{pid}/stat")
    if not line:
        return None
    # The second field, in brackets, is the program's name and may hold anything.
    fields = line.rpartition(b")")[2].split()
    gone = fields[0] in (b"Z", b"X")
    parent, session, user, system, start, pages = (int(fields[i]) for i in (1, 3, 11, 12, 19, 21))
    return Process((pid, start), parent, session, user + system, pages * PAGE, gone)


def is_running(key: Key) -> bool:
    process = process_of(key[0])
    return process is not None and process.key == key and not process.gone


def read(path: str) -> bytes:
    """The bytes of a file in /proc, none where the process has gone or is somebody else's."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def carries(pid: int, variable: str) -> bool:
    """True if a process was started with this variable (``NAME=value``) in its environment."""
    return variable.encode() in read(f"/proc/{pid}/environ").split(b"\0")


def descendants(root: int) -> set[Key]:
    """The running processes below one, which is not among them."""
    every = processes()
    children: dict[int, list[Process]] = {}
    for process in every.values():
        children.setdefault(process.parent, []).append(process)
    found, waiting = set[Key](), list(children.get(root, []))
    while waiting:
        process = waiting.pop()
        waiting += children.get(process.key[0], [])
        if not process.gone:
            found.add(process.key)
    return found


def kill_descendants(variable: str = "") -> None:
    """Kills every process below this one, and those that carry a variable (``NAME=value``), whose
    parents may have gone; returns when they have ended.

    They are stopped first, all of them, so that none starts another meanwhile.
    """
    stopped = set[Key]()
    while fresh := _below(variable) - stopped:
        stopped |= fresh
        _signal(fresh, signal.SIGSTOP)
    _signal(stopped, signal.SIGKILL)
    deadline = time.monotonic() + KILLED_S
    while any(map(is_running, stopped)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _below(variable: str) -> set[Key]:
    found = descendants(os.getpid())
    if variable:
        every: Mapping[int, Process] = processes()
        found |= {
            process.key
            for pid, process in every.items()
            if pid != os.getpid() and not process.gone and carries(pid, variable)
        }
    return found


def _signal(keys: set[Key], number: signal.Signals) -> None:
    for pid, _ in keys:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
