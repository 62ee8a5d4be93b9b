"""Failures of workers that end a run, and those that do not."""

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from medhmp.refusal import Refusal
from medhmp.storage import Folder, Stamp, Unusable
from medhmp.train import checkpoint
from medhmp.train.checkpoint import Checkpoint, Position
from medhmp.train.pretrain.failures import IN_VAIN, Failures


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path))


def save(folder, step):
    at = Checkpoint(Position(0, step), {}, {"state": {}}, [], [], {})
    checkpoint.save(folder, at, "{}", Stamp({}, {}), keep=2)


def fail(failures, error):
    failures.after_exception(None, {1: error})


def lost(preempted):
    return WorkerHealthCheckFailedError("lost", RayActorError(preempted=preempted))


@pytest.mark.parametrize(
    "error",
    [
        lost(preempted=False),
        RuntimeError("connection closed"),
    ],
)
def test_a_run_goes_on_while_it_gets_on(folder, error):
    goes_on_while_it_gets_on(folder, error)


def test_a_disk_that_cannot_be_written_to_ends_it_at_once(folder):
    with pytest.raises(Unusable, match="cannot write under"):
        fail(Failures(folder, quiet=True), Unusable(f"cannot write under '{folder}'"))


def goes_on_while_it_gets_on(folder, error):
    failures = Failures(folder, quiet=True)
    for step in range(1, 5):
        save(folder, step)
        for _ in range(IN_VAIN):
            fail(failures, error)
    with pytest.raises(RuntimeError, match=f"failed {IN_VAIN + 1} times at the same checkpoint"):
        fail(failures, error)


def test_a_node_that_is_taken_away_is_no_failure(folder):
    failures = Failures(folder, quiet=True)
    for _ in range(10 * IN_VAIN):
        fail(failures, lost(preempted=True))


def test_a_refusal_ends_it_at_once(folder):
    error = RuntimeError("of a worker")
    error.__cause__ = Refusal("nothing to read; give it something")
    with pytest.raises(Refusal, match="nothing to read"):
        fail(Failures(folder, quiet=True), error)


def test_who_failed_is_said_and_no_more(folder, capsys):
    save(folder, 3)
    fail(Failures(folder, quiet=False), ValueError("patient 17"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "worker 1 (ValueError) failed; the newest checkpoint is epoch-00000-step-000003"
    )
