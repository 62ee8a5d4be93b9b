"""Checkpoints are written beside the steps, one at a time, and nothing that fails is lost."""

import threading

import pytest
import torch

from medhmp.train.checkpoint import Checkpoint, Position
from medhmp.train.loop import Diverged
from medhmp.train.pretrain.writer import Writer, copied

SECONDS = 30


def at(step, weight=1.0):
    optimizer = {"state": {}, "param_groups": []}
    return Checkpoint(Position(0, step), {"w": torch.tensor([weight])}, optimizer, [], [], {})


class Slow:
    """A store that takes what is written when it is told to."""

    def __init__(self):
        self.begun, self.written, self.go = threading.Semaphore(0), [], threading.Semaphore(0)

    def __call__(self, checkpoint):
        self.begun.release()
        assert self.go.acquire(timeout=SECONDS)
        self.written.append(checkpoint.position.step)


def test_the_step_goes_on_while_one_is_written():
    store = Slow()
    writer = Writer(store, last=None)
    writer.begin(at(1))
    assert store.begun.acquire(timeout=SECONDS)
    assert writer.is_busy
    assert writer.last is None
    store.go.release()
    writer.wait()
    assert not writer.is_busy
    assert writer.last == Position(0, 1)


def test_the_next_is_begun_when_the_one_before_is_whole():
    store = Slow()
    writer = Writer(store, last=None)
    writer.begin(at(1))
    threading.Timer(0.05, store.go.release).start()
    writer.begin(at(2))
    assert store.written == [1]
    store.go.release()
    writer.wait()
    assert store.written == [1, 2]


def test_an_error_is_raised_by_the_next_call_and_the_last_good_one_stays():
    def fail(checkpoint):
        if checkpoint.position.step == 2:
            raise OSError("no room")

    writer = Writer(fail, last=None)
    writer.begin(at(1))
    writer.begin(at(2))
    with pytest.raises(OSError, match="no room"):
        writer.begin(at(3))
    assert writer.last == Position(0, 1)
    writer.begin(at(4))
    writer.wait()
    assert writer.last == Position(0, 4)


def test_weights_that_are_not_finite_are_not_written():
    written = []
    writer = Writer(written.append, last=Position(0, 1))
    writer.begin(at(2, float("nan")))
    with pytest.raises(Diverged, match=r"not finite at epoch-00000-step-000002; .*-step-000001$"):
        writer.wait()
    assert not written
    assert writer.last == Position(0, 1)


def test_a_copy_does_not_change_with_what_it_is_of():
    state = {
        "state": {0: {"step": torch.tensor(1.0)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    copy = copied(state)
    state["state"][0]["step"] += 1
    assert copy == {
        "state": {0: {"step": torch.tensor(1.0)}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
