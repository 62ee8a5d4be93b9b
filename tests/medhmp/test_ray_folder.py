"""The folder of an embedded Ray: its owner's alone, short enough for sockets, gone with the job."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medhmp.ray_folder import LONGEST, OWNER, SOCKET, RayFolder
from medhmp.refusal import Refusal

HOLD = """
import sys
from medhmp.ray_folder import RayFolder
print(RayFolder.make().owned[0][0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_only_its_owner_may_enter_it_whatever_the_umask(base):
    mask = os.umask(0)
    try:
        folder = RayFolder.make()
    finally:
        os.umask(mask)
    for place, _ in folder.owned:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE((place / OWNER).stat().st_mode) == 0o600
    assert folder.spill.is_relative_to(base)
    folder.remove()
    assert not any(place.exists() for place, _ in folder.owned)


def test_a_path_too_long_for_sockets_takes_the_spilled_objects_alone(base, monkeypatch):
    long = base / ("n" * LONGEST)
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    folder = RayFolder.make()
    assert folder.spill.is_relative_to(long)
    assert len(str(folder.session)) + len(SOCKET) <= LONGEST
    folder.remove()
    assert not folder.session.parent.exists()


def test_what_a_killed_job_left_is_swept_and_what_a_living_one_holds_is_not(base):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    killed, living = (Path(job.stdout.readline().strip()) for job in jobs)
    jobs[0].send_signal(signal.SIGKILL)
    jobs[0].wait()
    assert killed.exists()
    RayFolder.make().remove()
    assert not killed.exists()
    assert living.exists()
    jobs[1].communicate("")


def test_a_folder_that_takes_none_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    with pytest.raises(Refusal, match="cannot make a folder for Ray's files in '/proc/nowhere'"):
        RayFolder.make()
