"""What an epoch cost and what it reached: rows/s, waiting for data, loss and its terms.

Under ``torch.distributed`` a rank's loss is its share: the loss is the mean over the ranks.
"""

import time
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from medhmp.model.contrast import world_size


class Meter:
    """Adds up one epoch. Loss terms stay on the device until ``summary``, so a step never waits."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._rows = 0
        self._steps = 0
        self._sums: dict[str, Tensor] = {}

    def waiting(self, batches: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """Passes batches on and times how long each took to arrive."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def step(self, rows: int, loss: Tensor, report: dict[str, Tensor]) -> None:
        self._rows += rows
        self._steps += 1
        for name, value in {"loss": loss, **report}.items():
            total = value.detach().to(torch.float64)
            self._sums[name] = self._sums[name] + total if name in self._sums else total

    def summary(self) -> dict[str, float]:
        """Means over steps and ranks of the loss and its terms; rows/s of all ranks together; this
        rank's steps, seconds, and share of them spent waiting. Every rank has to call it."""
        seconds = time.perf_counter() - self._start
        rate = {"rows_per_s": torch.tensor(self._rows / seconds, dtype=torch.float64)}
        totals = _sum_over_ranks({**self._sums, **rate})
        means = {name: totals[name] / (self._steps * world_size()) for name in self._sums}
        return {
            **means,
            "steps": float(self._steps),
            "rows_per_s": totals["rows_per_s"],
            "wait_share": self._waited / seconds,
            "seconds": seconds,
        }


def _sum_over_ranks(terms: dict[str, Tensor]) -> dict[str, float]:
    """Scalars (float64), the same names on every rank -> their sums, in one message."""
    device = next(iter(terms.values())).device
    vector = torch.stack([term.to(device) for term in terms.values()])
    if world_size() > 1:
        dist.all_reduce(vector)
    return dict(zip(terms, vector.tolist(), strict=True))
