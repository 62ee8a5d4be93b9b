"""Damaged files: every reader gets the same result, or refuses in one sentence.

Each mutation changes one file of a small run, or of small raw tables of each source, and reads it
in a forked child. Which file changes, and how, follows from the seed and the mutation's number.
"""

import ctypes
import gc
import json
import os
import random
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from medhmp.benchmark.mutations import mutate
from medhmp.benchmark.readers import Case, cases_of, write_inputs
from medhmp.refusal import Refusal

TINY: Final = shlex.split("""
    tiny --quiet --tune.models medhmp logistic_regression --tune.starts none
    --tune.search medhmp.batch_size=16 medhmp.learning_rate=1e-2,1e-3
""")
"""The run whose outputs are damaged."""
FINE: Final = ("same", "refused", "made again", "another result")
"""Outcomes that are none of a fault; the last of files whose checksum nobody knows."""
GIB: Final = 2**30
IDLE: Final = 4
"""Limits of CPU seconds that may pass on the clock: a crowded machine is no hang."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation."""

    index: int
    case: str
    file: str
    kind: str  # of the change
    outcome: str
    said: str  # the refusal, or where an error was raised
    seconds: float


@dataclass(frozen=True)
class Fuzz:
    """Exits with status 1 if a reader fails otherwise than by a refusal, or takes other content
    where a checksum is known."""

    mutations: int = 10_000
    first: int = 0  # number of the first mutation
    seed: int = 0
    only: int | None = None  # this mutation alone, with its traceback
    run_root: str = ""  # root of a run whose outputs are damaged, its copy; none: one is made
    # folder where the run and a line for each mutation are kept, to go on with; none: temporary
    out: str = ""
    seconds: float = 20.0  # limit of one mutation, of CPU; on the clock, four times as many
    gib: float = 3.0  # the same of its resident memory
    at_once: int = 2

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(self.out or scratch)
            place.mkdir(parents=True, exist_ok=True)
            for stale in (*place.glob("mutated-*"), *place.glob("whole-*")):  # of a killed start
                shutil.rmtree(stale)
            cases = self._cases(place)
            expected = self._expected(cases, place)
            numbers = range(self.first, self.first + self.mutations)
            if self.only is not None:
                numbers = range(self.only, self.only + 1)
            begun = time.perf_counter()
            journal = place / f"seed-{self.seed}.jsonl"
            found = self._done(journal, numbers)
            left = [index for index in numbers if index not in {one.index for one in found}]
            with journal.open("a") as lines:
                for one in self._all(cases, expected, place, left):
                    found.append(one)
                    lines.write(json.dumps(asdict(one)) + "\n")
                    lines.flush()
            seconds = time.perf_counter() - begun
        _print_table(found)
        failed = [one for one in found if one.outcome not in FINE]
        for one in failed:
            print(f"{one.index}: {one.case} {one.file} ({one.kind}): {one.outcome}: {one.said}")
        if failed:
            raise SystemExit(f"{len(failed)} of {len(found)} mutations were not refused")
        counts = Counter(one.outcome.replace(" ", "_") for one in found)
        return {**counts, "mutations": len(found), "per_s": len(left) / seconds}

    def _done(self, journal: Path, numbers: range) -> list[Outcome]:
        """The mutations that an earlier start has made; none where one alone is asked for."""
        if self.only is not None or not journal.exists():
            return []
        lines = [json.loads(line) for line in journal.read_text().splitlines() if line[-1:] == "}"]
        return [Outcome(**line) for line in lines if line["index"] in numbers]

    def _cases(self, place: Path) -> list[Case]:
        """Makes what is damaged, in processes of their own: a forked child must find the thread
        pools of its parent unused."""
        root = place / "run"
        if not root.exists():
            if self.run_root:
                shutil.copytree(self.run_root, root)
            else:
                job = [sys.executable, "-m", "jobs.all", *TINY, "--out", f"{place}/making"]
                subprocess.run(job, check=True, stdout=subprocess.DEVNULL)
                os.replace(f"{place}/making", root)
        inputs = place / "inputs"
        if not inputs.exists():
            making = place / "inputs.making"
            shutil.rmtree(making, ignore_errors=True)
            result = _Child(partial(_written, making), 120, 8 * GIB).wait()
            if result["outcome"] != "read":
                raise SystemExit(f"the inputs could not be written: {result['said']}")
            os.replace(making, inputs)
        return cases_of(root, inputs)

    def _expected(self, cases: list[Case], place: Path) -> dict[str, Mapping[str, str]]:
        """The result of each case's undamaged files."""
        found = {}
        for case in cases:
            tree = Path(tempfile.mkdtemp(prefix="whole-", dir=place))
            _link(case.root, tree)
            result = _Child(lambda case=case, tree=tree: case.read(tree), 60, 8 * GIB).wait()
            shutil.rmtree(tree)
            if result["outcome"] != "read":
                raise SystemExit(f"{case.name} cannot be read undamaged: {result['said']}")
            found[case.name] = result["result"]
        return found

    def _all(
        self,
        cases: list[Case],
        expected: Mapping[str, Mapping[str, str]],
        place: Path,
        numbers: Sequence[int],
    ) -> Iterator[Outcome]:
        gc.freeze()  # what children share with their parent stays shared
        running: list[tuple[Any, ...]] = []
        left = iter(numbers)
        more = True
        while more or running:
            while more and len(running) < self.at_once:
                index = next(left, None)
                if index is None:
                    more = False
                    break
                running.append(self._begin(cases, place, index))
            for item in list(running):
                index, case, file, kind, tree, child = item
                if child.is_done(0.002):
                    running.remove(item)
                    shutil.rmtree(tree, ignore_errors=True)
                    result = child.wait()
                    outcome = _judged(case, result, expected[case.name])
                    said = result["said"].replace(str(tree), "TREE")  # the same next time
                    yield Outcome(index, case.name, file, kind, outcome, said, child.seconds)

    def _begin(self, cases: list[Case], place: Path, index: int) -> tuple[Any, ...]:
        draw = random.Random(f"{self.seed}:{index}")
        case = draw.choice(cases)
        file = draw.choice(case.files)
        kind, changed = mutate(file, (case.root / file).read_bytes(), draw)
        tree = Path(tempfile.mkdtemp(prefix="mutated-", dir=place))
        _link(case.root, tree)
        (tree / file).unlink()
        if changed is not None:
            (tree / file).write_bytes(changed)
        loud = self.only is not None
        child = _Child(lambda: case.read(tree), self.seconds, self.gib * GIB, loud)
        return index, case, file, kind, tree, child


def _written(place: Path) -> dict[str, str]:
    write_inputs(place)
    return {}


def _judged(case: Case, result: Mapping[str, Any], expected: Mapping[str, str]) -> str:
    if result["outcome"] != "read":
        return str(result["outcome"])
    found = result["result"]
    if found == expected:
        return "same"
    if case.may_lack and found.items() <= expected.items():
        return "made again"
    return "accepted" if case.is_published else "another result"


def _link(source: Path, target: Path) -> None:
    """Links all files of a tree into another."""
    for folder, _, files in os.walk(source):
        own = target / Path(folder).relative_to(source)
        own.mkdir(exist_ok=True)
        for name in files:
            os.link(f"{folder}/{name}", own / name)


class _Child:
    """A forked process that reads, with a limit of time and of memory."""

    def __init__(self, read: Any, seconds: float, memory: float, is_loud: bool = False) -> None:
        self._limit, self._memory = seconds, memory
        self._begun = time.monotonic()
        self._ended: str | None = None
        self._data = b""
        self._status: int | None = None
        self.seconds = 0.0
        self._from, to = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._from)
            _read_and_exit(read, to, is_loud)
        os.close(to)

    def is_done(self, patience: float) -> bool:
        """True once the child has ended, or was ended; waits ``patience`` seconds at most."""
        if self._status is not None:
            return True
        if select.select([self._from], [], [], patience)[0]:
            if data := os.read(self._from, 1 << 16):
                self._data += data
                return False
        elif not self._must_end():
            return False
        if self._ended:
            os.kill(self._pid, signal.SIGKILL)
        _, self._status = os.waitpid(self._pid, 0)
        os.close(self._from)
        self.seconds = time.monotonic() - self._begun
        return True

    def _must_end(self) -> bool:
        waited = time.monotonic() - self._begun
        if waited > self._limit and (self._busy() > self._limit or waited > IDLE * self._limit):
            self._ended = "hang"
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
            if pages * os.sysconf("SC_PAGE_SIZE") > self._memory:
                self._ended = "memory"
        return self._ended is not None

    def _busy(self) -> float:
        """Seconds of CPU of the child so far."""
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def wait(self) -> dict[str, Any]:
        """What the child found, or how it ended."""
        while not self.is_done(0.05):
            pass
        if self._ended:
            return {"outcome": self._ended, "said": f"after {self.seconds:.0f} s"}
        with suppress(ValueError):
            found: dict[str, Any] = json.loads(self._data)
            return found
        return {"outcome": "crash", "said": f"wait status {self._status}"}


def _read_and_exit(read: Any, to: int, is_loud: bool) -> None:
    """The whole life of a child."""
    said, status = {"outcome": "crash", "said": "no result"}, 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: none outlives its parent
        if not is_loud:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
        said = {"outcome": "read", "result": read(), "said": ""}
    except Refusal as refusal:
        text = str(refusal)
        is_sentence = "\n" not in text and 20 < len(text) < 2000
        said = {"outcome": "refused" if is_sentence else "no sentence", "said": text[:2000]}
    except BaseException as error:
        if is_loud:
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)
        own = [at for at in where if "/medhmp/" in at.filename][-1:] or where[-1:]
        place = f"{Path(own[0].filename).name}:{own[0].lineno}" if own else ""
        said = {"outcome": "traceback", "said": f"{type(error).__name__} at {place}: {error}"[:300]}
    finally:
        with os.fdopen(to, "wb") as pipe:
            pipe.write(json.dumps(said).encode())
        status = 0
        os._exit(status)


def _print_table(found: list[Outcome]) -> None:
    """A row for each case, a column for each outcome."""
    outcomes = sorted({one.outcome for one in found}, key=lambda o: (o not in FINE, o))
    counts = Counter((one.case, one.outcome) for one in found)
    width = max(len(one.case) for one in found)
    print(" " * width, *(f"{outcome:>14}" for outcome in outcomes))
    for case in sorted({one.case for one in found}):
        print(f"{case:{width}}", *(f"{counts[case, outcome]:14,}" for outcome in outcomes))
    totals = Counter(one.outcome for one in found)
    print(f"{'all':{width}}", *(f"{totals[outcome]:14,}" for outcome in outcomes), flush=True)
