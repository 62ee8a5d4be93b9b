"""What an epoch cost and what it reached: rows/s, waiting for data, loss and its terms."""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


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
        """Means over the steps of the loss and its terms; rows/s; share of the time spent waiting."""
        seconds = time.perf_counter() - self._start
        means = {name: float(total) / max(self._steps, 1) for name, total in self._sums.items()}
        return {
            **means,
            "steps": float(self._steps),
            "rows_per_s": self._rows / seconds,
            "wait_share": self._waited / seconds,
            "seconds": seconds,
        }
