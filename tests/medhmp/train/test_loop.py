"""The loop on a model small enough to follow by hand."""

import math

import pytest
import torch

from medhmp.train.finetune.early_stop import EarlyStop
from medhmp.train.loop import Diverged, ingest, train


class Square(torch.nn.Module):
    """Loss (w - x)^2 averaged over the rows."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        loss = ((self.w - batch["x"]) ** 2).mean()
        return loss, {"w": self.w.detach()}


def batches(epoch, first=0):
    for x in ((1.0, 3.0), (2.0, 2.0)):
        yield {"x": torch.tensor(x), "subject_id": torch.arange(2)}


def test_the_loop_takes_the_optimizers_steps():
    objective, seen = Square(), []
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.25)
    train(objective, optimizer, batches, range(2, 4), lambda e, s: seen.append((e, s)) or True)
    # d/dw of both batches is 2 (w - 2): each step halves the distance to 2.
    assert objective.w.item() == pytest.approx(2 - 2 * 0.5**4)
    assert [epoch for epoch, _ in seen] == [2, 3]
    assert seen[0][1]["loss"] == pytest.approx(((0 - 1) ** 2 + (0 - 3) ** 2) / 4 + 1 / 2)
    assert seen[0][1]["steps"] == 2
    assert seen[0][1]["gradient_norm"] == pytest.approx((4 + 2) / 2)  # at w = 0, then at w = 1
    assert seen[0][1]["learning_rate"] == 0.25


def test_ingest_takes_every_batch_and_makes_no_step():
    first, second = ingest(batches, range(2))
    for summary in (first, second):
        assert summary["steps"] == 2
        assert summary["rows_per_s"] == pytest.approx(4 / summary["seconds"])
        assert 0 < summary["wait_share"] <= 1
        assert "loss" not in summary


def test_after_epoch_can_end_it():
    objective, seen = Square(), []
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    train(objective, optimizer, batches, range(9), lambda e, s: seen.append(e) or e < 1)
    assert seen == [0, 1]


def test_a_loss_that_is_not_finite_stops_the_run():
    objective = Square()
    optimizer = torch.optim.SGD(objective.parameters(), lr=math.inf)
    with pytest.raises(Diverged, match="lower the learning rate"):
        train(objective, optimizer, batches, range(3), lambda e, s: True)


def test_early_stop_waits_for_patience_and_never_takes_nan():
    stop = EarlyStop(patience=2)
    losses = [1.0, 0.5, math.nan, 0.6, 0.4]
    ended = None
    for epoch, loss in enumerate(losses):
        stop.improved(epoch, loss)
        if stop.should_stop(epoch):
            ended = epoch
            break
    assert (stop.best_epoch, ended) == (1, 3)
