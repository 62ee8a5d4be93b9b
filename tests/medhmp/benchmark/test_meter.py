"""The meter on processes whose cost is known: they say themselves what they have spent."""

import subprocess
import sys
from pathlib import Path

import pytest

from medhmp.benchmark.meter import INTERVAL, Tree, measure

MIB = 1 << 20
HELPERS = """
import os, resource, subprocess, sys, time

def burn(seconds):
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass
    time.sleep(1)  # several samples before the end

"""


def program(code: str) -> list[str]:
    """A command that does this."""
    return [sys.executable, "-c", HELPERS + code]


@pytest.fixture(scope="module")
def idle() -> int:
    """Peak of an interpreter that does nothing."""
    return measure(program("time.sleep(1)")).peak


def test_cpu_of_children_and_of_theirs_counts_also_when_they_have_gone(tmp_path: Path) -> None:
    """A child burns and dies, as does its own child; what they spent, their parents are told."""
    told = tmp_path / "told"
    grandchild = program("burn(0.6)")
    child = program(f"subprocess.run({grandchild}); burn(0.5)")
    code = (
        f"subprocess.run({child})\n"
        "burn(0.4)\n"
        "own, below = (resource.getrusage(of) for of in (0, resource.RUSAGE_CHILDREN))\n"
        f"open({str(told)!r}, 'w').write(str(own.ru_utime + own.ru_stime "
        "+ below.ru_utime + below.ru_stime))"
    )
    cost = measure(program(code))
    expected = float(told.read_text())
    assert expected > 1.5
    assert cost.processes == 3
    assert abs(cost.cpu_seconds - expected) < 0.1 * expected
    assert cost.seconds > expected  # one after the other, and asleep


def test_a_process_whose_parent_has_ended_still_counts() -> None:
    orphan = program("time.sleep(2); burn(0.5)")
    middle = program(f"subprocess.Popen({orphan}); time.sleep(1)")
    cost = measure(program(f"subprocess.run({middle})"))
    assert cost.processes == 3
    assert cost.cpu_seconds > 0.5


def test_memory_is_the_highest_sum_and_what_is_shared_counts_once(idle: int) -> None:
    alone = "held = bytearray(os.urandom(1)) * (100 << 20); time.sleep(1)"
    assert measure(program(alone)).peak - idle == pytest.approx(100 * MIB, rel=0.1)
    shared = "held = b'x' * (100 << 20); pid = os.fork(); time.sleep(1); pid and os.wait()"
    assert measure(program(shared)).peak - idle == pytest.approx(100 * MIB, rel=0.2)
    twice = f"other = subprocess.Popen({program(alone)}); {alone}; other.wait()"
    assert measure(program(twice)).peak - 2 * idle == pytest.approx(200 * MIB, rel=0.1)
    in_turn = f"subprocess.run({program(alone)}); {alone}"
    assert measure(program(in_turn)).peak - idle < 130 * MIB


def test_other_processes_do_not_count() -> None:
    other = subprocess.Popen(program("burn(1)"))
    try:
        cost = measure(program("time.sleep(1)"))
    finally:
        other.kill()
        other.wait()
    assert cost.processes == 1
    assert cost.cpu_seconds < 0.5


def test_the_sampling_is_told_apart() -> None:
    cost = measure(program(f"time.sleep({5 * INTERVAL})"))
    assert 0 < cost.sampling < cost.seconds


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match=r"ended with status 3:\nbecause"):
        measure(program("print('because', flush=True); sys.exit(3)"))


def test_a_tree_without_its_root_is_empty() -> None:
    child = subprocess.Popen(program(""))
    child.wait()
    tree = Tree(child.pid)
    assert tree.sample() == tree.processes == tree.peak == 0
