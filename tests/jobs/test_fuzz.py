"""A few hundred damaged files, of the outputs of a real run and of raw tables of every source."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medhmp.run import Run


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it forks, and may have begun no thread before."""
    command = [sys.executable, "-m", "jobs.benchmark", "fuzz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


@pytest.mark.ray
def test_every_reader_refuses_damaged_files_or_reads_the_same(tuned: Run, tmp_path: Path) -> None:
    """A mutation by its number is the same again."""
    place = ("--out", str(tmp_path), "--run-root", tuned.out)
    ended = fuzz("--mutations", "300", *place)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["mutations"] == 300
    assert found["refused"] > 100
    assert fuzz("--only", "7", *place).returncode == 0
    lines = map(json.loads, (tmp_path / "seed-0.jsonl").read_text().splitlines())
    first, again = [{**line, "seconds": 0} for line in lines if line["index"] == 7]
    assert first == again
