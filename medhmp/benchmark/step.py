"""Training steps for timing: on one batch, in turn with others, in an epoch of the loop."""

import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from medhmp.batch import HOURS
from medhmp.shards.rows import Batch
from medhmp.train.backward import backward
from medhmp.train.device import to_device
from medhmp.train.loop import train
from medhmp.train.objective import AdmissionPretraining, StayReconstruction


def _batched(_: object, a: torch.Size, b: torch.Size, **__: object) -> int:
    return 2 * a.numel() * b[-1]


BATCHED = {torch.ops.aten.baddbmm_: _batched, torch.ops.aten.addbmm: _batched}
"""Products that PyTorch's counter leaves out, with their operations."""


class Step:
    """A training step on one batch, made by calling it: loss, gradients, AdamW."""

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
        """Makes the step; the loss stays on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        loss, _ = backward(self.objective, self.batch, self.device, self._chunk, bf16=True)
        self._optimizer.step()
        return loss

    def epoch(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The summary of one epoch of the training loop over other batches."""
        summaries: list[dict[str, float]] = []

        def keep(_: int, summary: dict[str, float]) -> bool:
            summaries.append(summary)
            return True

        train(
            self.objective,
            self._optimizer,
            lambda *_: batches,
            range(1),
            keep,
            self.device,
            chunk=self._chunk,
            bf16=True,
        )
        return summaries[0]

    @property
    def flops(self) -> float:
        """Multiplications and additions of a step of either stage.

        Dense products are counted by PyTorch; a sparse one takes two operations of each entry and
        output, forward and backward.
        """
        with FlopCounterMode(display=False, custom_mapping=BATCHED) as counter:
            self()
        if isinstance(self.objective, AdmissionPretraining):
            width, maps = self.objective.settings.width, 2 * 4
        else:
            assert isinstance(self.objective, StayReconstruction)
            width = self.objective.decoder.output.in_features
            maps = 2 * (4 + 1)  # the decoder's loss has products with W, too
        dense: int = counter.get_total_flops()
        return dense + 2 * maps * width * self.batch[HOURS.ids].numel()


def loss_of(step: Step) -> float:
    """The loss of the whole batch with the weights as they are."""
    with torch.no_grad():
        return float(step.objective(to_device(step.batch, step.device))[0])


def in_turn(
    works: Iterable[Callable[[], object]], times: int, device: torch.device
) -> list[list[float]]:
    """Seconds of each work in each of ``times`` turns, in which all works follow one another.

    A work is called twice in a turn and the second call is timed. The first one pays for memory
    that the work before it made the allocator give back; a loop of one work never pays that.
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
    """Passes batches on and appends to ``seconds`` the time from each request to the next."""
    iterator = iter(batches)
    asked = time.perf_counter()
    while (batch := next(iterator, None)) is not None:
        yield batch
        seconds.append(time.perf_counter() - asked)
        asked = time.perf_counter()
