"""The lease of a root, on disk and in a bucket: refused, taken over, lost."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from medhmp import lease
from medhmp.lease import FOLDER, Claim, Lease
from medhmp.refusal import Refusal
from medhmp.storage import LEASE, Folder, LeaseLost, Stamp, publish


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.s3)])
def root(request, tmp_path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "out"))
    return Folder(request.getfixturevalue("s3")) / "out"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.2)
    monkeypatch.setattr(lease, "EXPIRED", 1.2)
    monkeypatch.setattr(lease, "LOOK", 0.05)
    yield
    assert LEASE not in os.environ  # each test releases what it has taken


def own(job: str = "jobs.tune") -> Claim:
    return Claim.of_this_process(job, alone=True)


def elsewhere(claim: Claim) -> Claim:
    """The claim as a driver on another machine would have made it."""
    return replace(claim, host="node-7", pid=4242, machine="another boot pid:[1]")


def write(root: Folder, claim: Claim) -> None:
    (root / FOLDER).write_json(claim.name, asdict(claim))


def lease_of(root: Folder, claim: Claim, lost: list[str] | None = None) -> Lease:
    return Lease(root, claim, (lost if lost is not None else []).append)


def test_a_live_one_refuses_the_second_by_name_and_is_gone_when_released(root):
    first = lease_of(root, own())
    first.take(pytest.fail)
    with pytest.raises(Refusal) as refused:
        lease_of(root, own("jobs.report")).take(pytest.fail)
    said = str(refused.value)
    assert said.startswith("jobs.tune of ")
    assert f"(pid {os.getpid()}, since 20" in said
    assert said.endswith(f"works in {root}; wait until it has ended, or give another --out")
    assert len((root / FOLDER).names()) == 1  # the second has withdrawn its claim
    first.release()
    assert (root / FOLDER).names() == []
    if root.is_local:
        assert not root.exists()  # it was made for the claim alone
    again = lease_of(root, own())
    again.take(pytest.fail)
    again.release()


def test_a_live_one_on_another_machine_is_known_by_its_heartbeat(root):
    claim, stop = replace(elsewhere(own()), held=True), threading.Event()
    write(root, claim)

    def beat() -> None:
        number = 0
        while not stop.wait(0.2):
            number += 1
            write(root, replace(claim, beat=number))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(Refusal, match=r"on node-7 \(pid 4242, since "):
            lease_of(root, own()).take(lambda line: None)
    finally:
        stop.set()
        thread.join()
    assert (root / FOLDER).names() == [claim.name]


@pytest.mark.parametrize("held", [True, False])
def test_one_that_gives_no_sign_is_taken_over_after_waiting(root, held):
    write(root, replace(elsewhere(own()), held=held))
    told: list[str] = []
    begun = time.monotonic()
    taken = lease_of(root, own())
    taken.take(told.append)
    assert time.monotonic() - begun >= 1.2
    assert told[-1].startswith("taken over from jobs.tune of ")
    assert told[-1].endswith("which has given no sign for 1 s")
    assert len((root / FOLDER).names()) == 1
    taken.release()


def test_a_damaged_record_is_taken_over_after_waiting(root):
    (root / FOLDER).write_bytes("torn.json", b'{"id": "')
    told: list[str] = []
    taken = lease_of(root, own())
    taken.take(told.append)
    assert "a driver whose record torn.json is damaged" in told[-1]
    taken.release()


def test_of_many_at_once_exactly_one_goes_on(root):
    taken, refused = [], []

    def claim() -> None:
        mine = lease_of(root, own())
        try:
            mine.take(lambda line: None)
        except Refusal as refusal:
            refused.append(refusal)
        else:
            taken.append(mine)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 5)
    taken[0].release()


def test_a_driver_that_lost_its_lease_ends_and_publishes_nothing(root):
    lost: list[str] = []
    taken = lease_of(root, own(), lost)
    taken.take(pytest.fail)
    publish(root / "first", Stamp({}, {}), [])
    for name in (root / FOLDER).names():
        (root / FOLDER).delete(name)
    with pytest.raises(LeaseLost, match="another driver has taken over"):
        publish(root / "second", Stamp({}, {}), [])
    assert not (root / "second").exists("complete.json")
    deadline = time.monotonic() + 10
    while not lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "it ends here and publishes nothing more" in lost[0]
    assert (root / FOLDER).names() == []  # the heartbeat has not written it anew
    taken.release()


DRIVER = """
import os, subprocess, sys, time
from medhmp.lease import Claim, Lease
from medhmp.storage import Folder
mine = Lease(Folder(sys.argv[1]), Claim.of_this_process("jobs.tune", sys.argv[2] == "alone"), print)
mine.take(print)
if sys.argv[3] == "worker":
    worker = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
    print(worker.pid, flush=True)
else:
    print(0, flush=True)
time.sleep(60)
"""


def killed_driver(root: Folder, *arguments: str) -> int:
    """A driver of another process that holds the lease and is killed; the id of its worker."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, root.uri, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    return worker


def test_a_killed_one_of_this_machine_is_taken_over_at_once(root, monkeypatch):
    monkeypatch.setattr(lease, "EXPIRED", 3600.0)
    killed_driver(root, "alone", "no worker")
    told: list[str] = []
    taken = lease_of(root, own())
    taken.take(told.append)
    assert told[-1].endswith("which has ended")
    taken.release()


@pytest.mark.parametrize("arguments", [("alone", "worker"), ("on a cluster", "no worker")])
def test_while_its_workers_may_write_a_killed_one_is_waited_for(tmp_path, monkeypatch, arguments):
    """Its own are found by their environment; those on a cluster cannot be."""
    monkeypatch.setattr(lease, "EXPIRED", 2.0)
    root = Folder(str(tmp_path))
    worker = killed_driver(root, *arguments)
    told: list[str] = []
    taken = lease_of(root, own())
    taken.take(told.append)
    taken.release()
    if worker:
        os.kill(worker, 9)
    assert told[-1].endswith("which has given no sign for 2 s")


def test_a_process_id_given_again_is_another_process(tmp_path):
    """The record's id runs, yet it began at another time: the driver has ended."""
    claim = own()
    assert not claim.has_ended
    assert replace(claim, process=claim.process - 1).has_ended
    assert not replace(claim, process=claim.process - 1, user="somebody").has_ended
    assert json.loads(json.dumps(asdict(claim))) == asdict(claim)
