"""What an epoch cost and what it reached: rows/s, waiting for data, loss and its terms.

Under ``torch.distributed`` a rank's loss is its share: the loss is the mean over the ranks.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from medhmp.model.contrast import world_size

MEASURED: Final = ("rows_per_s", "wait_share", "seconds")
"""Fields of a row of ``metrics.jsonl`` that a clock or the memory decides. All others are the same
whenever the run is, also where it was killed in between."""


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
            before = self._sums.get(name)
            self._sums[name] = total if before is None else before.to(total.device) + total

    def state(self) -> dict[str, Any]:
        """What a Meter needs to go on from here. Sums are left on the device and never changed:
        whoever writes them waits, not the step."""
        sums = [total.to(torch.float64) for total in self._sums.values()]
        return {
            "rows": self._rows,
            "steps": self._steps,
            "names": list(self._sums),
            "sums": torch.stack(sums) if sums else torch.zeros(0, dtype=torch.float64),
            "seconds": time.perf_counter() - self._start,
            "waited": self._waited,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state``: the summary is that of an undisturbed epoch, bit for bit, but
        for what is in ``MEASURED``."""
        self._rows, self._steps = state["rows"], state["steps"]
        self._sums = dict(zip(state["names"], state["sums"], strict=True))
        self._start = time.perf_counter() - state["seconds"]
        self._waited = state["waited"]

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
