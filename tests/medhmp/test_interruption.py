"""Signals: a process ends with one line and its status, and everything below it does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medhmp.processes import carries, processes

HEAD = """
import signal, subprocess, sys, time
from medhmp.interruption import interruptible

def child(code="import time; time.sleep(60)", **named):
    return subprocess.Popen([sys.executable, "-c", code], **named)

with interruptible("python -m jobs.tune") as interruption:
    interruption.last = lambda: print("the last step", file=open(sys.argv[1], "a"))
"""

BODIES = {
    "waits": "time.sleep(60)",
    "has children that ignore signals, in sessions of their own": (
        "child('import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)];'"
        " 'time.sleep(60)', start_new_session=True)\n"
        "    time.sleep(0.3); print('ready', flush=True); time.sleep(60)"
    ),
    "closes what it has open for too long": (
        "try:\n        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n        time.sleep(60)"
    ),
    "has a handler of somebody else's": (
        "[signal.signal(n, lambda *_: None) for n in (2, 15)]\n"
        "    print('ready', flush=True)\n    while True: time.sleep(60)"
    ),
    "exits from a handler, as with Ray's": (
        "[signal.signal(n, lambda *_: sys.exit(0)) for n in (2, 15)]\n"
        "    print('ready', flush=True); time.sleep(60)"
    ),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("body", BODIES)
def test_one_line_a_status_and_nothing_is_left(body: str, number: int, tmp_path: Path) -> None:
    mark = f"MEDHMP_TEST={tmp_path}"
    code = BODIES[body]
    if "ready" not in code:
        code = f"print('ready', flush=True); {code}"
    job = subprocess.Popen(
        [sys.executable, "-c", f"{HEAD}    {code}", str(tmp_path / "last")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MEDHMP_TEST": str(tmp_path)},
        cwd=Path(__file__).parents[2],
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    job.send_signal(number)
    time.sleep(0.1)
    job.send_signal(number)  # impatience changes nothing
    said = job.communicate(timeout=60)[1]
    assert job.returncode == 128 + number
    assert said == (
        f"python -m jobs.tune: ended by {signal.Signals(number).name}; "
        "the same command goes on from here\n"
    )
    assert (tmp_path / "last").read_text() == "the last step\n"
    assert [pid for pid, one in processes().items() if carries(pid, mark) and not one.gone] == []


def test_a_block_that_ends_gives_the_handlers_back() -> None:
    from medhmp.interruption import interruptible

    before = signal.getsignal(signal.SIGTERM)
    with interruptible("a job"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
