"""Featurization killed at random moments must still lead to the same shards."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from medhmp.benchmark.featurize import ENVIRONMENT
from medhmp.run import Synthetic
from medhmp.shards.build.journal import FOLDER as WORK
from medhmp.storage import COMPLETE, Folder
from medhmp.synthetic import synthesize


@dataclass(frozen=True)
class SoakFeaturize:
    """Kills the job and its Ray with SIGKILL, again and again; the last run is left to end.

    After each kill, every file that has its final name must have the bytes of an undisturbed run;
    in the end all files must. Exits with status 1 otherwise.
    """

    kills: int = 20  # before the run that is left to end
    patients: int = 400  # of the synthetic cohort
    bucket_stays: int = 50  # small, so that there are many steps to be killed between
    seed: int = 0  # of the moments

    def run(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as place:
            synthesize(Synthetic(patients=self.patients), Folder(f"{place}/raw"))
            whole, seconds = Path(place) / "whole", time.perf_counter()
            self._start(place, whole).wait()
            seconds = time.perf_counter() - seconds
            expected = _content(whole)
            print(f"undisturbed: {len(expected)} files in {seconds:.1f} s", flush=True)
            killed = Path(place) / "killed"
            ended = self._kill(place, killed, seconds, expected)
            status = self._start(place, killed).wait()
            if status or _content(killed) != expected:
                raise SystemExit(f"the last run ended with status {status} and other bytes")
        return {"kills": self.kills, "ended_before_a_kill": ended, "undisturbed_s": seconds}

    def _kill(self, place: str, out: Path, seconds: float, expected: dict[str, str]) -> int:
        """Kills ``kills`` runs; returns the number of runs that ended before they were killed."""
        moments, kills, ended = random.Random(self.seed), 0, 0
        while kills < self.kills:
            job = self._start(place, out)
            try:
                # The first part of a run is its start-up, which changes nothing on disk.
                job.wait(moments.uniform(0.3, 1.0) * seconds)
                ended += 1
                _refuse_other(_content(out), expected)
                shutil.rmtree(out)
            except subprocess.TimeoutExpired:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
                kills += 1
                found = _content(out)
                _refuse_other(found, expected)
                steps = len(list((out / "shards" / WORK / "records").glob("*/*.json")))
                print(f"kill {kills}: {len(found)} files, {steps} steps recorded", flush=True)
        return ended

    def _start(self, place: str, out: Path) -> "subprocess.Popen[bytes]":
        job = [sys.executable, "-m", "jobs.featurize", "smoke", "--quiet", "--out", str(out)]
        more = ["--tables.sources", f"mimic3={place}/raw"]
        more += ["--shards.bucket-stays", str(self.bucket_stays)]
        return subprocess.Popen([*job, *more], env=ENVIRONMENT, start_new_session=True)


def _content(out: Path) -> dict[str, str]:
    """SHA-256 of the shards' files that have their final names and hold content alone.

    Of a ``complete.json``, which tells of the machine too, only that it is there.
    """
    root = out / "shards"
    files = [path for path in root.rglob("*") if path.is_file() and not _hidden(path, root)]
    return {
        str(path.relative_to(root)): ""
        if path.name == COMPLETE
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "featurize.json"
    }


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _refuse_other(found: dict[str, str], expected: dict[str, str]) -> None:
    wrong = sorted(name for name, sha in found.items() if expected.get(name) != sha)
    if wrong or (COMPLETE in found and found != expected):
        raise SystemExit(f"after a kill there are files of other bytes: {', '.join(wrong)}")
