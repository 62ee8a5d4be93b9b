"""Steps to be timed: on one batch, in turn with others, in an epoch of the training loop."""

import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from medhmp.batch import HOURS, ICD
from medhmp.shards.rows import Batch
from medhmp.train.backward import backward
from medhmp.train.device import to_device
from medhmp.train.loop import train


def _batched(_: object, a: torch.Size, b: torch.Size, **__: object) -> int:
    return 2 * a.numel() * b[-1]


BATCHED = {torch.ops.aten.baddbmm_: _batched, torch.ops.aten.addbmm: _batched}
"""Products that PyTorch's counter leaves out."""


class Step:
    """A call is a step on one batch: loss, gradients, AdamW."""

    def __init__(
        self,
        objective: torch.nn.Module,
        batch: Batch,
        device: torch.device,
        chunk: int | None = None,
    ) -> None:
        self.objective, self.batch = objective.to(device), batch
        self.device, self._chunk = device, chunk
        self._optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-4, fused=True)

    def __call__(self) -> torch.Tensor:
        """The loss, unread."""
        self._optimizer.zero_grad(set_to_none=True)
        loss, _ = backward(self.objective, self.batch, self.device, self._chunk, bf16=True)
        self._optimizer.step()
        return loss

    def epoch(self, batches: Iterable[Batch]) -> dict[str, float]:
        """One epoch of the training loop over other batches: its summary."""
        summaries: list[dict[str, float]] = []
        train(
            self.objective,
            self._optimizer,
            lambda epoch, first=0: batches,
            range(1),
            lambda epoch, summary: summaries.append(summary) is None,
            self.device,
            chunk=self._chunk,
            bf16=True,
        )
        return summaries[0]

    @property
    def flops(self) -> float:
        """Multiplications and additions of a step: of its dense products, counted, and of its
        sparse ones, two of each entry and output in both directions."""
        with FlopCounterMode(display=False, custom_mapping=BATCHED) as counter:
            self()
        R = self.objective.settings.width if ICD.ids in self.batch else None
        width = R or self.objective.decoder.output.in_features
        maps = 2 * 4 if R else 2 * (4 + 1)  # the decoder's loss has products with W, too
        return counter.get_total_flops() + 2 * maps * width * self.batch[HOURS.ids].numel()


def loss_of(step: Step) -> float:
    """The loss now, of the whole batch."""
    with torch.no_grad():
        return float(step.objective(to_device(step.batch, step.device))[0])


def in_turn(
    works: Iterable[Callable[[], object]], times: int, device: torch.device
) -> list[list[float]]:
    """Seconds of each work, ``times`` times all in turn, each as in a loop of its own.

    Its first call of a turn is not timed: that pays for memory which the work before it made the
    allocator give back, as no loop of one work does.
    """
    works = list(works)
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(times):
        for work, taken in zip(works, seconds, strict=True):
            _seconds(work, device)
            taken.append(_seconds(work, device))
    return seconds


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def marking(batches: Iterable[Batch], seconds: list[float]) -> Iterator[Batch]:
    """Passes batches on; notes how long each step took from its request to the next."""
    iterator = iter(batches)
    asked = time.perf_counter()
    while (batch := next(iterator, None)) is not None:
        yield batch
        seconds.append(time.perf_counter() - asked)
        asked = time.perf_counter()
