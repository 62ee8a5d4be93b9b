"""Every stage under signals, second drivers, full disks and folders that turn read-only.

Each moment is one run of ``jobs.all tiny``, disturbed once and begun again. In the end it must have
the results of a run alone. A moment is drawn from the seed, its kind and its number, so it can be
repeated by itself; one that held is recorded and not repeated.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from medhmp.benchmark.processes import ONE_THREAD
from medhmp.layout import PREDICTIONS, REPORT, RESULTS, WEIGHTS
from medhmp.lease import FOLDER as LEASES
from medhmp.processes import processes

JOBS: Final = (
    *("synthesize", "featurize", "embed_notes", "pretrain_stay", "pretrain_admission"),
    *("tune", "finetune", "report", "all"),
)
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
ENDS_S: Final = 5.0
"""Seconds in which a signal ends a job."""
LONGEST_S: Final = 900.0
"""Seconds after which a job counts as hung."""
ROOM: Final = 1 << 30
"""Bytes of a disk that is large enough."""
COMMAND: Final = "python -m jobs.benchmark soak-faults"

Record = dict[str, Any]


class Fault(Exception):  # noqa: N818
    """What a moment has shown that it must not."""


class Ended(NamedTuple):
    """A job that has ended."""

    status: int
    lines: list[str]  # on stderr


@dataclass(frozen=True)
class SoakFaults:
    """Disturbs every stage at random moments and writes what came of it to a table.

    Exits with status 1 if a moment did not hold. Disks need Linux and the right to mount; without
    it they are left out, which the table says.
    """

    signals: int = 20  # runs ended by SIGINT or SIGTERM
    pairs: int = 20  # runs that a second driver joins
    disks: int = 10  # sizes of a disk that is too small
    read_only: int = 3  # runs whose folder turns read-only
    seed: int = 0  # of the moments
    place: str = "runs/soak"  # folder of all outputs and of the records
    table: str = "docs/soak.md"  # where the results are written

    def run(self) -> dict[str, float]:
        place = Path(self.place).absolute()
        place.mkdir(parents=True, exist_ok=True)
        alone = _alone(place)
        kinds: dict[str, tuple[int, Callable[[random.Random, int], Record]]] = {
            "signal": (self.signals, lambda rng, n: _signalled(place, alone, rng, n)),
            "second driver": (self.pairs, lambda rng, n: _joined(place, alone, rng, n)),
        }
        if _can_mount():
            share = {n: (n + 0.5) / self.disks for n in range(self.disks)}
            kinds |= {
                "full disk": (self.disks, lambda rng, n: _filled(alone, share[n])),
                "read-only": (self.read_only, lambda rng, n: _closed(alone, rng)),
            }
        records = Records(place / "moments.jsonl", self.seed)
        for kind, (count, work) in kinds.items():
            for number in range(count):
                records.make(kind, number, work)
        found = [one for kind, (n, _) in kinds.items() for one in records.of(kind, n)]
        Path(self.table).write_text(_table(found, self.seed, alone.seconds))
        faults = [one for one in found if one["fault"]]
        print(f"{len(found)} moments, {len(faults)} with a fault; {self.table}", flush=True)
        if faults:
            raise SystemExit(1)
        return {"moments": float(len(found)), "alone_s": alone.seconds}


class Records:
    """The moments that have been made, a line of JSON each; of one repeated, the last counts."""

    def __init__(self, file: Path, seed: int) -> None:
        self._file, self._seed = file, seed

    def of(self, kind: str, count: int) -> list[Record]:
        """The records of the first ``count`` moments of a kind."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        every = [json.loads(line) for line in lines]
        own = {
            one["number"]: one for one in every if (one["seed"], one["kind"]) == (self._seed, kind)
        }
        return [own[number] for number in sorted(own) if number < count]

    def make(self, kind: str, number: int, work: Callable[[random.Random, int], Record]) -> None:
        """Makes a moment, unless it is recorded without a fault."""
        if any(one["number"] == number and not one["fault"] for one in self.of(kind, number + 1)):
            return
        rng, begun = random.Random(f"{self._seed} {kind} {number}"), time.perf_counter()
        try:
            told = {**work(rng, number), "fault": ""}
        except Fault as fault:
            told = {"fault": str(fault)}
        seconds = round(time.perf_counter() - begun, 1)
        record = {"seed": self._seed, "kind": kind, "number": number, "took_s": seconds, **told}
        with open(self._file, "a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


@dataclass(frozen=True)
class Alone:
    """A run alone: its results, its length, its size."""

    results: Mapping[str, str]
    seconds: float
    bytes: int


def _alone(place: Path) -> Alone:
    """Makes the run alone, or finds it."""
    out, record = place / "alone", place / "alone.json"
    if not record.exists():
        shutil.rmtree(out, ignore_errors=True)
        begun = time.perf_counter()
        with _Job("all", out) as job:
            job.succeeds()
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        record.write_text(json.dumps({"seconds": time.perf_counter() - begun, "bytes": size}))
    return Alone(results_in(out), **json.loads(record.read_text()))


@dataclass
class _Job:
    """A job in a session of its own."""

    name: str
    out: Path
    _process: "subprocess.Popen[str]" = field(init=False)
    _said: IO[str] = field(init=False)

    def __enter__(self) -> "_Job":
        command = [sys.executable, "-m", f"jobs.{self.name}", "tiny", "--quiet"]
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*command, "--out", str(self.out)],
            env=ONE_THREAD,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    def left(self) -> list[int]:
        """Ids of its running processes."""
        every = processes().items()
        return [pid for pid, one in every if one.session == self._process.pid and not one.gone]

    def runs_for(self, seconds: float) -> bool:
        """Waits; False if it has ended meanwhile."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is None

    def send(self, number: signal.Signals, to_all: bool = False) -> None:
        """Sends a signal to the driver, or, as a terminal does, to its process group."""
        (os.killpg if to_all else os.kill)(self._process.pid, number)

    def ended(self, seconds: float = LONGEST_S) -> Ended:
        if self.runs_for(seconds):
            raise Fault(f"jobs.{self.name} still runs after {seconds:.0f} s")
        self._said.seek(0)
        return Ended(self._process.returncode, self._said.read().splitlines())

    def succeeds(self) -> None:
        status, lines = self.ended()
        if status:
            raise Fault(f"jobs.{self.name} ended with status {status}: {' / '.join(lines[-3:])}")

    def fails(self, statuses: tuple[int, ...], names: str) -> str:
        """Its one sentence, which must have a status of these and name something."""
        status, lines = self.ended()
        if status not in statuses or len(lines) != 1 or names not in lines[0]:
            said = " / ".join(lines[-3:])
            raise Fault(f"jobs.{self.name}: status {status}, {len(lines)} lines: {said}")
        return lines[0]


def _signalled(place: Path, alone: Alone, rng: random.Random, number: int) -> Record:
    """SIGINT or SIGTERM, to the driver or to all of its group, then the same command."""
    out, chosen, to_all = place / "signalled", rng.choice(SIGNALS), rng.random() < 0.5
    shutil.rmtree(out, ignore_errors=True)
    moment = rng.uniform(0.02, 0.95) * alone.seconds
    with _Job("all", out) as job:
        if not job.runs_for(moment):
            raise Fault(f"the job ended before {moment:.0f} s")
        at, sent = _stage_of(out), time.perf_counter()
        job.send(chosen, to_all)
        job.fails((128 + chosen,), chosen.name)
        took = time.perf_counter() - sent
        if took > ENDS_S:
            raise Fault(f"{chosen.name} in {at} took {took:.1f} s")
        if left := job.left():
            raise Fault(f"{len(left)} processes are left after {chosen.name} in {at}")
    _again(out, alone)
    who = "its group" if to_all else "the driver"
    return {"what": f"{chosen.name} to {who} after {at}", "seconds": round(took, 2)}


def _joined(place: Path, alone: Alone, rng: random.Random, number: int) -> Record:
    """A second driver, of any job; every other first one is killed, and its retry takes over."""
    out, second = place / "joined", rng.choice(JOBS)
    shutil.rmtree(out, ignore_errors=True)
    with _Job("all", out) as first:
        while not (out / LEASES).exists():
            if not first.runs_for(0.1):
                raise Fault("the first ended before it had the lease")
        if not first.runs_for(rng.uniform(0, 0.7) * alone.seconds):
            raise Fault("the first ended before the second began")
        at = _stage_of(out)
        with _Job(second, out) as job:
            job.fails((2,), "works in")
        if number % 2:
            first.send(signal.SIGKILL)
            first.ended()
            _again(out, alone)  # beside what is left of the first
        else:
            first.succeeds()
            _same(out, alone)
    fate = "killed, taken over" if number % 2 else "went on"
    return {"what": f"jobs.{second} after {at}; the first {fate}"}


def _filled(alone: Alone, share: float) -> Record:
    """A disk that holds this share of the outputs, then one that holds them."""
    size = max(1 << 16, int(share * alone.bytes))
    with _disk(size) as disk:
        with _Job("all", disk / "out") as job:
            said = job.fails((1, 2), str(disk))
        at = _stage_of(disk / "out")
        _mount("-o", f"remount,size={ROOM}", str(disk))
        _again(disk / "out", alone)
    return {"what": f"{size >> 10:,} KiB, full after {at}", "said": said.replace(str(disk), "DISK")}


def _closed(alone: Alone, rng: random.Random) -> Record:
    """A disk that turns read-only, as after an error, then one that can be written."""
    with _disk(ROOM) as disk:
        with _Job("all", disk / "out") as job:
            if not job.runs_for(rng.uniform(0.1, 0.8) * alone.seconds):
                raise Fault("the job ended before its folder turned read-only")
            while not _mount("-o", "remount,ro", str(disk)):  # busy while a file is being written
                if not job.runs_for(0.05):
                    raise Fault("the folder could not be turned read-only")
            at = _stage_of(disk / "out")
            said = job.fails((1, 2), str(disk))
        _mount("-o", "remount,rw", str(disk))
        _again(disk / "out", alone)
    return {"what": f"read-only after {at}", "said": said.replace(str(disk), "DISK")}


def _again(out: Path, alone: Alone) -> None:
    """The same command goes on and ends with the results of a run alone."""
    with _Job("all", out) as job:
        job.succeeds()
    _same(out, alone)


def _same(out: Path, alone: Alone) -> None:
    found = results_in(out)
    names = found.keys() | alone.results.keys()
    if other := sorted(name for name in names if found.get(name) != alone.results.get(name)):
        raise Fault(f"{len(other)} results differ from those of a run alone, {other[0]} first")
    if (out / LEASES).exists():
        raise Fault("a lease is left")


def results_in(out: Path) -> dict[str, str]:
    """SHA-256 of each file of results; of the report, of its rows."""
    found = {}
    for path in sorted((out / "shards").rglob("*.parquet")) + [
        path for name in (WEIGHTS, PREDICTIONS) for path in sorted(out.rglob(name))
    ]:
        if not {".work", "checkpoints"} & {*path.parts}:
            found[str(path.relative_to(out))] = _sha(path.read_bytes())
    if (results := out / REPORT / RESULTS).exists():
        rows = json.loads(results.read_text())["rows"]
        found[RESULTS] = _sha(json.dumps(rows, sort_keys=True).encode())
    return found


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stage_of(out: Path) -> str:
    """The stage that was published last, for the table."""
    whole = [path for path in out.rglob("complete.json") if "checkpoints" not in path.parts]
    newest = max(whole, key=lambda path: path.stat().st_mtime_ns, default=None)
    return str(newest.parent.relative_to(out)) if newest else "the start"


@contextlib.contextmanager
def _disk(size: int) -> Iterator[Path]:
    """A disk of so many bytes, in memory."""
    with tempfile.TemporaryDirectory() as place:
        if not _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place):
            raise Fault("no disk could be mounted")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "-l", place], check=False)


def _can_mount() -> bool:
    try:
        with _disk(1 << 20):
            return True
    except Fault:
        return False


def _mount(*arguments: str) -> bool:
    try:
        return not subprocess.run(["mount", *arguments], stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        return False


def _table(found: list[Record], seed: int, seconds: float) -> str:
    """The results as Markdown."""
    kinds = list(dict.fromkeys(one["kind"] for one in found))
    lines = [
        "# What a run survives",
        "",
        f"Written by `{COMMAND} --seed {seed}` (`make soak`). Each moment is a run of "
        f"`jobs.all tiny` ({seconds:.0f} s alone), disturbed once; begun again, it must end with "
        "the results of a run alone, byte for byte.",
        "",
        "| what | moments | held | slowest end |",
        "|---|---|---|---|",
    ]
    for kind in kinds:
        own = [one for one in found if one["kind"] == kind]
        held = sum(not one["fault"] for one in own)
        slowest = max((one["seconds"] for one in own if "seconds" in one), default=None)
        took = "" if slowest is None else f"{slowest:.1f} s"
        lines.append(f"| {kind} | {len(own)} | {held} | {took} |")
    lines += ["", "| moment | what | what came of it |", "|---|---|---|"]
    for one in found:
        came = one["fault"] or one.get("said") or "the same results"
        cell = str(came).replace("|", "/")
        lines.append(f"| {one['kind']} {one['number']} | {one.get('what', '')} | {cell} |")
    return "\n".join(lines) + "\n"
