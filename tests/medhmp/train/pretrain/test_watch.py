"""Times at which checkpoints are begun, and that a run continued from any of them ends the same.

Run as a program this file is one of several ranks: ``test_watch.py FOLDER RANK``.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.layout import MEASURED
from medhmp.train.checkpoint import Position
from medhmp.train.loop import train
from medhmp.train.meter import Meter
from medhmp.train.pretrain.guard import Guard
from medhmp.train.pretrain.state import TrainingState
from medhmp.train.pretrain.watch import Pulse, Rhythm, Watch, of_all_ranks

STEPS, EPOCHS = 10, 3


class Noisy(torch.nn.Module):
    """A weight drawn to the batches, which are drawn from the epoch and step."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(4))

    def forward(self, batch):
        loss = ((self.w - batch["x"]) ** 2).mean()
        return loss, {"half": loss.detach() / 2}


def batches(epoch, first=0):
    for step in range(first, STEPS):
        drawn = torch.Generator().manual_seed(100 * epoch + step)
        yield {"x": torch.randn(4, generator=drawn), "subject_id": torch.arange(2)}


def run(interval=8, begun=None, leaving=None):
    """Trains as launch does; returns the weights, the rows, every checkpoint begun, and where of
    these it was due."""
    objective, saved, due = Noisy(), {}, []
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.1)
    state = TrainingState(objective, optimizer, begun)

    def save(at, meters, is_due):
        saved[at] = state.checkpoint(at, meters)
        if is_due:
            due.append(at)

    rhythm = Rhythm(STEPS, EPOCHS, interval)
    watch = Watch(rhythm, state.guard, save, is_leaving=leaving or bool)

    def after_epoch(epoch, summary):
        state.metrics.append({"epoch": epoch, **summary})
        watch.after_epoch(epoch)
        return True

    epochs, midway = range(state.start.epoch, EPOCHS), state.midway(0)
    train(objective, optimizer, batches, epochs, after_epoch, None, watch.after_step, midway)
    rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in state.metrics]
    return objective.w.detach(), rows, saved, due


def test_checkpoints_are_begun_every_half_interval_and_offered_at_epochs_ends():
    _, _, saved, due = run(interval=8)
    assert [at.epoch * STEPS + at.step for at in saved] == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    assert [at.epoch * STEPS + at.step for at in saved if at not in due] == [10]
    assert str(due[-1]) == "epoch-00003-step-000000"


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 99), st.data())
def test_a_whole_one_is_less_than_the_interval_old(steps, epochs, interval, data):
    """Whenever the run is lost: the one before is whole, as the next is begun only then."""
    rhythm = Rhythm(steps, epochs, interval)
    every = [Position(*divmod(done, steps)) for done in range(1, steps * epochs + 1)]
    begun = [0, *(done for done, at in enumerate(every, 1) if rhythm.is_due(at))]
    lost = data.draw(st.integers(0, steps * epochs))
    reached = [done for done in begun if done <= lost]
    whole = reached[-2] if len(reached) > 1 else 0
    assert lost - whole < max(interval, 2)


def test_a_run_that_goes_on_from_any_checkpoint_ends_the_same_bit_for_bit():
    weights, rows, saved, _ = run(interval=2)
    assert len(saved) == STEPS * EPOCHS
    for at, begun in saved.items():
        if at < Position(EPOCHS):
            again, rows_again, *_ = run(interval=2, begun=begun)
            assert torch.equal(again, weights)
            assert rows_again == rows


def test_when_a_node_is_to_go_there_is_a_checkpoint_at_every_beat():
    asked = []

    def leaving():
        asked.append(True)
        return len(asked) > 1

    _, _, saved, due = run(interval=10_000, leaving=leaving)
    extra = [at for at in saved if at not in due and at.step]
    assert extra
    assert len(extra) <= len(asked) - 1


def test_while_losses_explode_nothing_is_saved():
    saved = []
    watch = Watch(Rhythm(100, 1, 2), Guard(), lambda at, *_: saved.append(at.step))
    for step, loss in enumerate([*[1.0] * 8, 99.0, 99.0, 1.0], 1):
        meter = Meter()
        meter.step(1, torch.tensor(loss), {})
        watch.after_step(0, step, torch.tensor(loss), meter)
    assert saved == [*range(1, 9), 11]


def test_the_pulse_is_as_rank_0_says():
    pulse = Pulse(agree=lambda steps: 5)
    assert [pulse.beats() for _ in range(12)] == [
        True,
        *[False] * 4,
        True,
        *[False] * 4,
        True,
        False,
    ]


def test_the_pulse_slows_down_where_steps_are_fast():
    pulse = Pulse(agree=lambda steps: steps)
    assert sum(pulse.beats() for _ in range(10_000)) < 20


def process(folder: Path, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    meter = Meter()
    for loss in (0.1, 0.2):
        meter.step(3, torch.tensor(loss + rank), {})
    states = of_all_ranks(meter.state())
    own, other = (Meter() for _ in range(2))
    own.resume(states[rank])
    assert own.state()["sums"].tolist() == meter.state()["sums"].tolist()
    other.resume(states[1 - rank])
    guard = Guard()
    guard.step(0, 0, torch.tensor(float("nan") if rank else 1.0))
    try:
        guard.check()
        said = ""
    except ValueError as error:
        said = str(error)
    sums = [state["sums"].tolist() for state in states]
    found = {"sums": sums, "rows": [state["rows"] for state in states], "said": said}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_ranks_hold_each_others_meters_and_judge_alike(tmp_path, run_ranks):
    run_ranks(__file__, 2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["rows"] == [6, 6]
    assert first["sums"][0] == pytest.approx([0.3], rel=1e-6)
    assert first["sums"][1] == pytest.approx([2.3], rel=1e-6)
    assert "at step 0 of epoch 0 is nan" in first["said"]


if __name__ == "__main__":
    process(Path(sys.argv[1]), int(sys.argv[2]))
