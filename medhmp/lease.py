"""One driver at a time below a root: the lease, a record that its owner renews by a heartbeat.

A driver writes a claim of its own, OUT/.lease/<id>.json, then lists all of them. It holds the lease
if no other claim is there; a held one that lives refuses it by name. Whoever claims later lists
later and so sees the earlier claim, on a disk as in a bucket, whose listings are consistent. So
this needs no conditional write, which Arrow's S3 does not have. Of two that claim at once the lower
id goes on.

A claim lives as long as its record changes: clocks of other machines are not compared. One that
has not changed for ``EXPIRED`` seconds is taken over. On the machine of its driver it is known at
once: if that process runs and has just renewed it, it lives; if the process has ended, it has not.
That is safe to say since the record names the process by boot, namespace, id and start, which no
other process ever has; and its workers, which could still write, carry the claim in their
environment, so that they are found, too, as long as they are children of this machine's Ray.

A driver that finds its claim gone, such as a laptop that slept, has lost it and ends; ``publish``
looks once more before it vouches for an output.
"""

import contextlib
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from medhmp.patience import hasty
from medhmp.processes import carries, is_running, process_of, processes, read
from medhmp.refusal import Failure, Refusal
from medhmp.storage import LEASE, LOST, Folder, Unusable

FOLDER: Final = ".lease"
HEARTBEAT: Final = 10.0
"""Seconds between two renewals: six small writes and listings a minute."""
EXPIRED: Final = 60.0
"""Seconds without a renewal after which a claim is taken over."""
LOOK: Final = 0.5
"""Seconds between two looks at the claims of others."""


@dataclass(frozen=True)
class Claim:
    """The record of a driver that holds the lease, or waits for it."""

    id: str
    job: str
    user: str
    host: str
    pid: int
    started: str  # UTC
    machine: str  # boot and process namespace; empty where /proc does not tell
    process: int  # start of the process in ticks since the boot
    alone: bool  # its workers are children of this machine
    held: bool = False
    beat: int = 0  # renewals
    at: float = 0.0  # seconds since the boot at the last one

    @property
    def name(self) -> str:
        return f"{self.id}.json"

    @property
    def variable(self) -> str:
        """The marker in the environment of the driver's workers."""
        return f"{LEASE}_ID={self.id}"

    def __str__(self) -> str:
        return f"{self.job} of {self.user} on {self.host} (pid {self.pid}, since {self.started})"

    @staticmethod
    def of_this_process(job: str, alone: bool) -> "Claim":
        own = process_of(os.getpid())
        return Claim(
            id=uuid.uuid4().hex,
            job=job,
            user=_user(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started=datetime.now(UTC).isoformat(" ", "seconds"),
            machine=_machine(),
            process=own.key[1] if own else 0,
            alone=alone,
            at=_since_boot(),
        )

    @property
    def is_of_this_machine(self) -> bool:
        """True if /proc tells of its process, and of that process's children."""
        return bool(self.machine) and self.machine == _machine() and self.user == _user()

    @property
    def has_ended(self) -> bool:
        """True if the driver and all of its workers are known to have ended."""
        if not (self.is_of_this_machine and self.alone) or is_running((self.pid, self.process)):
            return False
        return not any(carries(pid, self.variable) for pid in processes())

    @property
    def is_fresh(self) -> bool:
        """True if its process runs here and has renewed it lately, by the clock that both have."""
        return (
            self.is_of_this_machine
            and is_running((self.pid, self.process))
            and _since_boot() - self.at < 3 * HEARTBEAT
        )


class Lease:
    """The claim of this process below a root, renewed by a thread until ``release``."""

    def __init__(self, root: Folder, claim: Claim, lost: Callable[[str], None]) -> None:
        """``lost`` is called, from the thread, with a sentence if another driver has taken over."""
        self._root, self._claims = root, root / FOLDER
        self._claim, self._lost = claim, lost
        # Folders that exist for the claim alone.
        self._made = [self._claims, *([] if root.exists() else [root])] if root.is_local else []
        self._done, self._lock = threading.Event(), threading.Lock()
        self._write()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def take(self, tell: Callable[[str], None]) -> None:
        """Waits until no other claim is there. Refuses if one lives.

        ``tell`` receives a line if it has to wait, and one if it takes over.
        """
        rivals = Rivals(self._claims, self._claim, tell)
        try:
            while others := rivals.look():
                if winner := next(filter(self._yields_to, others), None):
                    raise Refusal(
                        f"{winner.claim} works in {self._root}; wait until it has ended, or give "
                        "another --out"
                    )
                time.sleep(LOOK)
            with self._lock:
                self._claim = replace(self._claim, held=True)
                self._write()
        except BaseException:
            self.release()
            raise
        os.environ[LEASE] = (self._claims / self._claim.name).uri
        name, _, value = self._claim.variable.partition("=")
        os.environ[name] = value

    def _yields_to(self, other: "Rival") -> bool:
        claim = other.claim
        return other.state == "lives" and (claim.held or claim.id < self._claim.id)

    def _write(self) -> None:
        record = asdict(self._claim)
        try:
            self._claims.write_json(self._claim.name, record)
        except Unusable:  # another driver may have just removed the empty folder
            self._claims.write_json(self._claim.name, record)

    def _renew(self) -> None:
        while not self._done.wait(HEARTBEAT):
            # A bucket may fail for a while, and has then not been asked for long.
            with self._lock, hasty(HEARTBEAT), contextlib.suppress(OSError, Refusal, Failure):
                if self._done.is_set():
                    return
                if not self._claims.exists(self._claim.name):
                    break
                beat = self._claim.beat + 1
                self._claim = replace(self._claim, beat=beat, at=_since_boot())
                self._write()
        else:
            return
        self._lost(LOST)

    def release(self) -> None:
        """Ends the claim."""
        self._done.set()
        for name in (LEASE, f"{LEASE}_ID"):
            os.environ.pop(name, None)
        with self._lock, hasty(HEARTBEAT), contextlib.suppress(OSError, Refusal, Failure):
            if self._claims.exists(self._claim.name):
                self._claims.delete(self._claim.name)
            for place in self._made:
                os.rmdir(place.path())  # unless there is something in it


@dataclass(frozen=True)
class Rival:
    """Another claim, and what is known of its driver."""

    claim: Claim
    state: Literal["lives", "unknown"]


class Rivals:
    """The other claims below a root, watched."""

    def __init__(self, claims: Folder, own: Claim, tell: Callable[[str], None]) -> None:
        self._claims, self._own, self._tell = claims, own, tell
        self._first: dict[str, bytes] = {}
        self._changed: dict[str, float] = {}  # when a record was first seen
        self._told = set[str]()

    def look(self) -> list[Rival]:
        """The claims that are there. Removes those whose driver has ended or gives no sign."""
        found = []
        for name in self._claims.names():
            if name == self._own.name:
                continue
            try:
                data = self._claims.read_bytes(name)
            except FileNotFoundError:
                continue  # withdrawn meanwhile
            rival = self._judge(name, data)
            if rival:
                found.append(rival)
        return found

    def _judge(self, name: str, data: bytes) -> Rival | None:
        now = time.monotonic()
        first, since = self._first.setdefault(name, data), self._changed.setdefault(name, now)
        claim = _claim_in(data)
        if claim and (claim.is_fresh or data != first):
            return Rival(claim, "lives")
        ended = claim is not None and claim.has_ended
        who = str(claim) if claim else f"a driver whose record {name} is damaged"
        if ended or now - since >= EXPIRED:
            with contextlib.suppress(OSError):
                self._claims.delete(name)
            why = "has ended" if ended else f"has given no sign for {EXPIRED:.0f} s"
            self._tell(f"taken over from {who}, which {why}")
            return None
        if name not in self._told and now - since > 2 * LOOK:
            self._told.add(name)
            self._tell(f"waiting up to {EXPIRED:.0f} s for a sign of {who}")
        return Rival(claim or self._own, "unknown")


def _claim_in(data: bytes) -> Claim | None:
    """The claim of a record, None of a damaged one."""
    try:
        return Claim(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _machine() -> str:
    """This boot of this machine, and the namespace in which its process ids hold."""
    boot = read("/proc/sys/kernel/random/boot_id").decode().strip()
    try:
        return f"{boot} {os.readlink('/proc/self/ns/pid')}" if boot else ""
    except OSError:
        return ""


def _since_boot() -> float:
    """Seconds since the boot, sleep included: a clock that all processes of a machine share."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an id without a name, as in some containers
        return str(os.getuid())
